"""Files that other programs read, checked by linters and schemas that know those programs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.baking import allowed, choices
from tests.conftest import Bake

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the linters are for Unix"),
]

PROGRAMS = Path(sys.executable).parent
HOSTINGS = choices()["hosting"]
# Every hosting with every scheduler that it may have.
PLACES = [
    (hosting, scheduler)
    for hosting in HOSTINGS
    for scheduler in choices()["scheduler"]
    if allowed({"hosting": hosting, "scheduler": scheduler})
]


def passes(project: Path, program: str, *arguments: str) -> None:
    """Run a linter in a project; it must find nothing."""
    result = subprocess.run(
        [PROGRAMS / program, *arguments], cwd=project, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def files(project: Path, *patterns: str) -> list[str]:
    """Return the files of a project that match one of the patterns."""
    found = [path for pattern in patterns for path in sorted(project.glob(pattern))]
    return [path.relative_to(project).as_posix() for path in found]


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
@pytest.mark.parametrize("process_manager", choices()["process_manager"])
def test_hadolint_accepts_the_dockerfile(bake: Bake, scheduler: str, process_manager: str) -> None:
    project = bake(hosting="dokku", scheduler=scheduler, process_manager=process_manager)
    passes(project, "hadolint", "Dockerfile")


def test_no_failure_is_swallowed_while_the_image_is_built(bake: Bake) -> None:
    """As by `collectstatic || true`, after which the files are missing in production."""
    dockerfile = (bake() / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    steps = re.findall(r"^RUN (.+)", dockerfile, re.MULTILINE)
    assert any(step.endswith("&& python manage.py collectstatic --noinput") for step in steps)
    for step in steps:
        parts = re.sub(r" \|\| { .+; exit 1; }$", "", step)
        assert not re.search(r"\|\||;", parts), step


@pytest.mark.parametrize("hosting", HOSTINGS)
def test_github_accepts_the_workflows(bake: Bake, hosting: str) -> None:
    project = bake(hosting=hosting)
    workflows = files(project, ".github/workflows/*.yml")
    passes(project, "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    dependabot = ".github/dependabot.yml"
    passes(project, "check-jsonschema", "--builtin-schema", "vendor.dependabot", dependabot)
    passes(project, "zizmor", "--offline", "--quiet", ".github")


@pytest.mark.skipif(not shutil.which("actionlint"), reason="there is no actionlint on PATH")
@pytest.mark.parametrize("hosting", HOSTINGS)
def test_actionlint_accepts_the_workflows(bake: Bake, hosting: str) -> None:
    passes(bake(hosting=hosting), str(shutil.which("actionlint")))


@pytest.mark.parametrize("hosting", HOSTINGS)
def test_gitlab_accepts_the_pipeline(bake: Bake, hosting: str) -> None:
    schema = ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")
    passes(bake(hosting=hosting, ci="gitlab"), "check-jsonschema", *schema, ".gitlab-ci.yml")


@pytest.mark.parametrize(("hosting", "scheduler"), PLACES)
def test_compose_accepts_its_files(bake: Bake, hosting: str, scheduler: str) -> None:
    project = bake(hosting=hosting, scheduler=scheduler, use_prometheus="true")
    compose = files(project, "compose*.yml")
    passes(project, "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *compose)


@pytest.mark.parametrize("hosting", HOSTINGS)
def test_shellcheck_accepts_the_scripts(bake: Bake, hosting: str) -> None:
    project = bake(hosting=hosting, use_prometheus="true")
    if scripts := files(project, "**/*.sh"):
        passes(project, "shellcheck", "--shell", "sh", *scripts)
    # Cookiecutter and Copier keep the mode.
    assert all((project / script).stat().st_mode & 0o111 for script in scripts)


@pytest.mark.parametrize("hosting", HOSTINGS)
def test_files_are_for_their_owner_to_change_and_only_programs_can_be_run(
    bake: Bake, hosting: str
) -> None:
    project = bake(hosting=hosting, use_flower="true", use_prometheus="true")
    for path in project.rglob("*"):
        mode = path.stat().st_mode
        assert not mode & 0o6002, f"{path} gives rights away"
        program = path.is_dir() or path.suffix == ".sh" or path.read_bytes().startswith(b"#!")
        assert program or not mode & 0o111, f"{path} can be run"


@pytest.mark.parametrize("flower", ["false", "true"])
def test_only_what_runs_gets_into_an_image(bake: Bake, flower: str) -> None:
    text = (bake(use_flower=flower) / ".dockerignore").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    named = {line[1:] for line in lines if line.startswith("!")}
    code = {"apps/", "my_project/", "static/", "templates/"}
    files = {"gunicorn.conf.py", "manage.py", "pyproject.toml", "uv.lock"}
    assert named == code | files | ({"flower.conf.py"} if flower == "true" else set())
    assert "**/.env*" in lines[-2:]


@pytest.mark.parametrize(("hosting", "scheduler"), PLACES)
def test_what_the_page_says_to_paste_is_shell(bake: Bake, hosting: str, scheduler: str) -> None:
    docs = bake(hosting=hosting, scheduler=scheduler, use_prometheus="true") / "docs"
    page = "".join((docs / name).read_text("utf-8") for name in ("deploy.md", "metrics.md"))
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 10
    for indent, block in blocks:
        lines = [line.removeprefix(indent) for line in block.splitlines()]
        shell = subprocess.run(
            ["sh", "-n"], input="\n".join(lines), capture_output=True, text=True, check=False
        )
        assert (shell.returncode, shell.stderr) == (0, ""), block
        # A command that asks would take the next line of the block for the answer.
        for line in lines[:-1]:
            assert not re.search(r"\bread -|createsuperuser", line), block


def test_a_linter_that_finds_something_fails(bake: Bake, tmp_path: Path) -> None:
    project = Path(shutil.copytree(bake(), tmp_path / "project"))
    with (project / "Dockerfile").open("a", encoding="utf-8") as dockerfile:
        dockerfile.write("RUN cd /tmp && sudo true\n")
    with pytest.raises(AssertionError, match="DL30"):
        passes(project, "hadolint", "Dockerfile")
