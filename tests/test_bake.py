"""Every combination of answers renders, parses and lints, and shows no trace of the template."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, example, given, settings

from tests.baking import (
    PROJECT_FOLDER,
    ROOT,
    allowed,
    bake_with_cookiecutter,
    choices,
)
from tests.conftest import COMBINATIONS, Bake
from tests.hostile import allowed_answers

TEMPLATE_REMAINS = re.compile(
    r"cookiecutter\.[a-z_]|_copier_|\{%-? *(if|elif|else|endif|raw|endraw)"
)
# Question -> words by the answers, often one, that they belong to; a no and a none have none.
TRACES = {
    "scheduler": {
        "database": r"(?i)django.celery.beat|DatabaseScheduler|schedule_sync|ScheduleEntry",
        "code": r"BEAT_SCHEDULE_FILE|PersistentScheduler|celerybeat-|/var/lib/beat",
        "redbeat": r"(?i)redbeat|holding the lock|beat_lock|several beats",
        # A workflow that runs each week is no schedule of the project's.
        "platform": r"manage\.py\W+enqueue|as_cron|SCHEDULED|(?<!- )(?i:\bcron\b)(?!-job)",
        "code redbeat": r"CELERY_BEAT_SCHEDULE\b|as_celery",
        "database code redbeat": r"(?i)(?<![a-z])beat",
    },
    "process_manager": {
        "direct": r"celery\W+-A\W+\w+\W+(worker|beat)|gunicorn\W+--config",
        "prodserver": r"(?i)prodserver|PRODUCTION_PROCESSES|manage\.py\W+(server|worker)\b",
    },
    "use_flower": {"true": r"(?i)flower"},
    "ci": {"github": r"(?i)github(?!\.com/)", "gitlab": r"(?i)gitlab"},
    "email_provider": {
        "smtp": r"EMAIL_HOST|smtplib|mailpit",
        "sendgrid": r"(?i)sendgrid",
        "ses": r"(?i)\bses\b|boto|aws_|amazon(?!'s metadata)",
        "mailgun": r"(?i)mailgun",
        "postmark": r"(?i)postmark",
        "resend": r"(?i)\bresend\b",
        "brevo": r"(?i)brevo",
        "mailjet": r"(?i)mailjet",
    },
    "hosting": {
        "compose": r"(?i)compose\.production|caddy|coolify|app\.env",
        "digitalocean": r"(?i)digital.?ocean|doctl|app platform|app\.yaml",
        "dokku": r"(?i)dokku|procfile|app\.json",
        "azure": r"(?i)azure(?!'s platform services)|bicep|\bazd\b|key vault|container app",
    },
    "use_prometheus": {
        "true": r"(?i)prometheus|/metrics\b|metrics_token|grafana_pass|alertmanager|alerts\.env",
    },
}


def text_files(project: Path) -> dict[str, str]:
    """Return the text of every file in a project by its relative POSIX path."""
    return {
        path.relative_to(project).as_posix(): path.read_bytes().decode("utf-8")
        for path in sorted(project.rglob("*"))
        if path.is_file()
    }


def parse(name: str, text: str) -> None:
    """Parse a file by its ending.

    Raises:
        SyntaxError: A Python file is wrong; other formats raise their parser's error.
    """
    if name.endswith(".py"):
        ast.parse(text, name)
    elif name.endswith(".toml"):
        tomllib.loads(text)
    elif name.endswith((".yml", ".yaml")):
        list(yaml.safe_load_all(text))
    elif name.endswith(".json"):
        json.loads(text)


@pytest.mark.parametrize("answers", COMBINATIONS)
def test_every_file_parses(bake: Bake, answers: dict[str, str]) -> None:
    for name, text in text_files(bake(**answers)).items():
        parse(name, text)


@pytest.mark.parametrize("answers", COMBINATIONS)
def test_no_file_shows_that_it_was_a_template(bake: Bake, answers: dict[str, str]) -> None:
    for name, text in text_files(bake(**answers)).items():
        if not name.endswith(".html"):  # Django's own tags
            assert not TEMPLATE_REMAINS.search(text), name
        assert "cookiecutter." not in text, name
        if text:
            assert not text.startswith(("\n", " \n")), f"{name} starts with a blank line"
            assert text.endswith("\n"), f"{name} does not end in a line break"
            assert not text.endswith("\n\n"), f"{name} ends in a blank line"
        if not name.endswith((".py", ".md", "LICENSE")):  # Python has two, also in documents
            assert "\n\n\n" not in text, f"{name} has two blank lines in a row"
        for number, line in enumerate(text.splitlines(), start=1):
            assert line == line.rstrip(), f"{name}:{number} has trailing white space"


@pytest.mark.parametrize(
    "answers",
    [
        *COMBINATIONS,
        # Import order and line lengths hang on the slug.
        pytest.param({"project_slug": "a"}, id="slug-before-apps"),
        pytest.param({"project_slug": "z" * 40}, id="slug-of-40-characters"),
    ],
)
@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff_has_nothing_to_say(bake: Bake, answers: dict[str, str], command: str) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "ruff", *command.split(), "--no-cache", "."],
        cwd=bake(**answers),
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize("answers", COMBINATIONS)
def test_only_the_files_of_the_answers_are_there(bake: Bake, answers: dict[str, str]) -> None:
    project = bake(**answers)

    assert (project / ".github").exists() == (answers["ci"] == "github")
    assert (project / ".gitlab-ci.yml").exists() == (answers["ci"] == "gitlab")
    assert (project / "LICENSE").exists() == (answers["license"] != "Proprietary")
    assert not (project / ".copier-answers.yml").exists()
    for folder in filter(Path.is_dir, project.rglob("*")):
        assert any(folder.iterdir()), f"{folder} is empty"


def picks(question: str) -> list[dict[str, str]]:
    """Return each answer to a question, with each hosting if its files tell how processes start."""
    if question not in ("scheduler", "process_manager") and not question.startswith("use_"):
        return [{question: answer} for answer in choices()[question]]
    found = (
        {"hosting": hosting, question: answer}
        for hosting in choices()["hosting"]
        for answer in choices()[question]
    )
    return [answers for answers in found if allowed(answers)]


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        pytest.param(
            question,
            answers,
            id="-".join(answers.values()),
            # With one hosting in the fast run, with all in every other.
            marks=pytest.mark.slow
            if question != "hosting" and answers.get("hosting", "compose") != "compose"
            else (),
        )
        for question in TRACES
        for answers in picks(question)
    ],
)
def test_no_trace_of_an_answer_that_was_not_picked(
    bake: Bake, question: str, answers: dict[str, str]
) -> None:
    assert set(" ".join(TRACES[question]).split()) == set(choices()[question]) - {"false", "none"}
    files = text_files(bake(**answers))
    for others, words in TRACES[question].items():
        found = {name: m[0] for name, text in files.items() if (m := re.search(words, text))}
        assert bool(found) == (answers[question] in others.split()), found or words


def test_table_of_conditional_paths_names_existing_paths() -> None:
    hook = ast.parse((ROOT / "hooks" / "post_gen_project.py").read_text(encoding="utf-8"))
    (table,) = (
        node.value
        for node in ast.walk(hook)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
    )
    assert isinstance(table, ast.Dict)

    for key in table.keys:
        assert isinstance(key, ast.Constant)
        assert (ROOT / PROJECT_FOLDER / str(key.value)).exists()


@pytest.mark.parametrize(
    ("license_", "title", "last_words"),
    [
        ("MIT", "MIT License", "OTHER DEALINGS IN THE\nSOFTWARE."),
        ("BSD-3-Clause", "BSD 3-Clause License", "ADVISED OF THE POSSIBILITY OF SUCH DAMAGE."),
        ("Apache-2.0", "Apache License", "limitations under the License."),
    ],
)
def test_licence_is_whole_and_names_its_holder_but_no_year(
    bake: Bake, license_: str, title: str, last_words: str
) -> None:
    text = (bake(license=license_) / "LICENSE").read_text(encoding="utf-8")

    assert text.strip().startswith(title)
    assert text.strip().endswith(last_words)
    assert re.search(r"^ *Copyright (\(c\) )?Your Name$", text, re.MULTILINE)


@pytest.mark.skipif(not shutil.which("sh"), reason="the CI files are written for sh")
@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_ci_says_in_one_line_that_the_lock_is_missing(bake: Bake, tmp_path: Path, ci: str) -> None:
    if ci == "github":
        workflow = yaml.safe_load((bake() / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
        (command,) = (
            step["run"]
            for step in workflow["jobs"]["check"]["steps"]
            if "uv.lock" in step.get("run", "")
        )
    else:
        pipeline = yaml.safe_load((bake(ci=ci) / ".gitlab-ci.yml").read_text(encoding="utf-8"))
        command = pipeline["check"]["before_script"][0]

    missing = subprocess.run(
        ["sh", "-ec", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    (tmp_path / "uv.lock").touch()
    there = subprocess.run(
        ["sh", "-ec", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert missing.returncode == 1
    assert missing.stdout.endswith("uv.lock is missing: run `uv lock` and commit it\n")
    assert (there.returncode, there.stdout) == (0, "")


def test_workflow_has_least_privileges_and_pins_actions_by_hash(bake: Bake) -> None:
    text = (bake() / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)

    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 30
    uses = re.findall(r"uses: (.+)", text)
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


@pytest.mark.slow
# Whole projects; the nightly run makes many more.
@settings(max_examples=10)
@given(answers=allowed_answers())
@example(
    answers={
        "project_slug": "shop_1",
        "project_name": "- 'Zoë' \"& Söhne\" \\ # : $x %s \U0001f600",
        "author_name": "@\\\"'{}",
        "author_email": "!#$%&'*+/=?^_`{|}~-@example.com",
        "description": "''' \"\"\" \\",
        "license": "MIT",
    }
)
def test_any_printable_text_ends_in_files_that_parse(
    template: Path, answers: dict[str, str]
) -> None:
    assume(all(len(text) <= 200 for text in answers.values()))

    with tempfile.TemporaryDirectory() as folder:
        project = bake_with_cookiecutter(template, Path(folder, "out"), answers)
        files = text_files(project)

    for name, text in files.items():
        parse(name, text)
    pyproject = tomllib.loads(files["pyproject.toml"])["project"]
    assert pyproject["description"] == answers["description"]
    assert pyproject["authors"][0]["name"] == answers["author_name"]
    assert pyproject["authors"][0]["email"] == answers["author_email"]
    if answers["license"] != "Proprietary":
        assert re.search(
            rf"Copyright (\(c\) )?{re.escape(answers['author_name'])}\n", files["LICENSE"]
        )
