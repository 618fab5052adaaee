"""A project follows the template: own edits survive updates, through the engines' command lines.

The template is a git repository with two versions, at the address that the documents name; git
gets it from a folder and may use no network.
"""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from packaging.version import InvalidVersion, Version

from tests.baking import PROJECT_FOLDER, ROOT, Answers, copy_template, tree
from tests.conftest import Bake

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("git"), reason="updates need git"),
]

Edit = Callable[[Path], None]
Files = dict[str, tuple[int, bytes]]

PAGE = (ROOT / "docs" / "updates.md").read_text(encoding="utf-8")
NAME = "ORG/cookiecutter-django-celery"
FIRST, NEXT = "0.1.0", "999.0.0"
ANSWERS = {
    "project_name": 'Zoë\'s "shop" \\ {x} # : $HOME %s \U0001f600',
    "project_slug": "shop",
    "description": "''' \"\"\" \\n &amp; <b>",
    "author_name": "- @nobody: \\\"' \U0001f600",
}
SETTINGS = "{{cookiecutter.project_slug}}/settings/base.py"
# What stands for the first release until there is one: path -> (what it has now, what it had).
EARLIER = {
    SETTINGS: [
        ("CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000", "CELERY_WORKER_MAX_TASKS_PER_CHILD = 500"),
        ('"connect_timeout": 5,', '"connect_timeout": 10,'),
    ],
    "{{cookiecutter.project_slug}}/schedule.py": [('crontab(hour="6", ', 'crontab(hour="7", ')],
    "{{cookiecutter.project_slug}}/urls.py": [("What the site answers to", "What the site shows")],
    ".env.example": [("# At least 50 random characters:", "# A long random text:")],
    ".github/workflows/ci.yml": [("timeout-minutes: 15", "timeout-minutes: 10")],
    "Dockerfile": [('"uv~=0.13.0"', '"uv~=0.9.0"')],
    "README.md": [("## Where things are", "## What is where")],
    "compose.production.yml": [("max-size: 10m", "max-size: 5m")],
    "docs/alerts.md": [("# ", "# About ")],
    "docs/sentry.md": [("# ", "# About ")],
    "static/site.css": [("max-width: 60rem", "max-width: 50rem")],
    "pyproject.toml": [('"whitenoise~=6.12"', '"whitenoise~=6.9"')],
    "templates/base.html": [("<main>", '<main id="main">')],
}
NEW_FILE = "docs/results.md"
MOVED = "static/css/site.css"
MOVED_BY_THE_TEMPLATE = ("docs/logging.md", "docs/logs.md")


def change(file: Path, *replacements: tuple[str, str]) -> None:
    """Replace texts in a file, each of which must be there, where they are first."""
    text = file.read_text(encoding="utf-8")
    for before, after in replacements:
        assert before in text, f"{file} has no {before!r}"
        text = text.replace(before, after, 1)
    file.write_text(text, encoding="utf-8")


def stand_in(destination: Path) -> str:
    """Write a template of which the working tree could be the next version.

    Returns:
        The version's name.
    """
    project = copy_template(destination) / PROJECT_FOLDER
    for name, replacements in EARLIER.items():
        change(project / name, *replacements)
    (project / NEW_FILE).unlink()
    before, after = MOVED_BY_THE_TEMPLATE
    (project / after).rename(project / before)
    return FIRST


def first_release(checkout: Path, destination: Path) -> str | None:
    """Write the template as the first release had it.

    Returns:
        The release's tag, or nothing if the checkout knows none, as a shallow one.
    """
    tags = subprocess.run(
        ["git", "tag", "--list"], cwd=checkout, capture_output=True, text=True, check=False
    ).stdout.split()
    versions = []
    for tag in tags:
        try:
            versions.append((Version(tag), tag))
        except InvalidVersion:
            continue
    releases = [(version, tag) for version, tag in versions if not version.is_prerelease]
    if not releases:
        return None
    _, tag = min(releases)
    archive = subprocess.run(
        ["git", "archive", tag], cwd=checkout, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(destination, filter="data")
    return tag


def add_app(project: Path) -> None:
    """Add an app of one's own."""
    app = project / "apps" / "billing"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "models.py").write_text('"""What customers owe."""\n', encoding="utf-8")
    change(
        project / "shop/settings/base.py",
        ('    "apps.accounts",\n', '    "apps.accounts",\n    "apps.billing",\n'),
    )


def change_setting(project: Path) -> None:
    """Give a setting of the template another value."""
    change(
        project / "shop/settings/base.py",
        ("CELERY_TASK_SOFT_TIME_LIMIT = 25 * 60", "CELERY_TASK_SOFT_TIME_LIMIT = 20 * 60"),
    )


def add_queue(project: Path) -> None:
    """Declare a queue."""
    change(
        project / "shop/settings/base.py",
        ('Queue("maintenance")]', 'Queue("maintenance"), Queue("billing")]'),
    )


def add_dependencies(project: Path) -> None:
    """Need one more package, and one more for development."""
    change(
        project / "pyproject.toml",
        ('    "httpx~=', '    "httpcore~=1.0",\n    "httpx~='),
        ('    "pytest~=', '    "playwright~=1.55",\n    "pytest~='),
    )


def add_variable(project: Path) -> None:
    """Explain a variable of one's own."""
    file = project / ".env.example"
    with file.open("a", encoding="utf-8") as lines:
        lines.write("\n# The shop's key at the parcel service\nPARCEL_KEY=\n")


def add_schedule_entry(project: Path) -> None:
    """Run a task of one's own each night."""
    entry = (
        '    PeriodicTask(\n        name="bill",\n        task="apps.billing.tasks.bill",\n'
        '        schedule=crontab(hour="1", minute="0"),\n    ),\n'
    )
    change(project / "shop/schedule.py", ("SCHEDULE = (\n", f"SCHEDULE = (\n{entry}"))


def add_url(project: Path) -> None:
    """Serve pages of one's own."""
    change(
        project / "shop/urls.py",
        (
            '    path("accounts/"',
            '    path("bills/", include("apps.billing.urls")),\n    path("accounts/"',
        ),
    )


def change_page(project: Path) -> None:
    """Link to one's own pages, and write the home page anew."""
    change(project / "templates/base.html", ("<nav ", '<a href="/bills/">Bills</a>\n      <nav '))
    (project / "templates/home.html").write_text("<h1>Welcome</h1>\n", encoding="utf-8")


def change_readme(project: Path) -> None:
    """Say more at the top and at the end."""
    change(project / "README.md", ("\n## Run\n", "\nAsk Zoë first.\n\n## Run\n"))
    with (project / "README.md").open("a", encoding="utf-8") as lines:
        lines.write("\n## Who\n\nZoë and friends.\n")


def change_dockerfile(project: Path) -> None:
    """Install a package of the system."""
    change(
        project / "Dockerfile",
        ("RUN groupadd ", "RUN apt-get update && apt-get install --yes gettext\nRUN groupadd "),
    )


def move_file(project: Path) -> None:
    """Keep a file elsewhere, and change it there."""
    (project / MOVED).parent.mkdir()
    (project / "static/site.css").rename(project / MOVED)
    change(project / MOVED, (":root {", ":root {\n  accent-color: teal;"))
    change(project / "templates/base.html", ("'site.css'", "'css/site.css'"))


def delete_file(project: Path) -> None:
    """Do without a page that the next version changes."""
    (project / "docs/sentry.md").unlink()


def change_deployment(project: Path) -> None:
    """Give the worker more memory and set a variable in the deployment file."""
    change(
        project / "compose.production.yml",
        ("        memory: 1g\n", "        memory: 3g\n"),
        (
            "    DJANGO_ENVIRONMENT: production\n",
            "    DJANGO_ENVIRONMENT: production\n    TZ: UTC\n",
        ),
    )


def change_what_will_go(project: Path) -> None:
    """Write into a page that the next version has elsewhere."""
    change(project / MOVED_BY_THE_TEMPLATE[0], ("\n\n", "\n\nAsk Zoë first.\n\n"))


def change_ci(project: Path) -> None:
    """Add a step of one's own."""
    change(
        project / ".github/workflows/ci.yml",
        ("      - run: uv run mypy .\n", "      - run: uv run mypy .\n      - run: make docs\n"),
    )


EDITS: list[Edit] = [
    add_app,
    change_setting,
    add_queue,
    add_dependencies,
    add_variable,
    add_schedule_entry,
    add_url,
    change_page,
    change_readme,
    change_dockerfile,
    move_file,
    delete_file,
]
EDITS_OF_FILES_OF_AN_ANSWER: list[Edit] = [change_deployment, change_ci]


def call(command: list[str], folder: Path) -> str:
    """Run one of the engines that this environment has, expect success, return what it prints."""
    process = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout + process.stderr


def run(command: str, folder: Path, *more: str) -> str:
    """Run a command of the page about updates, without `uvx`, which would fetch the engine.

    Args:
        command: As the page has it.
        folder: The working directory.
        more: Arguments that answer what the command would ask.

    Returns:
        What it prints.
    """
    assert command in PAGE
    uvx, *words = shlex.split(command)
    assert uvx == "uvx"
    return call([*words, *more], folder)


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, expect success, and return what it prints."""
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def commit(folder: Path, message: str) -> None:
    """Commit everything, in a repository that is made when there is none."""
    if not (folder / ".git").exists():
        git(folder, "init", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--message", message)


def publish(folder: Path, earlier_version: Callable[[Path], str]) -> str:
    """Make the template's repository, with an earlier version and the working tree as the next.

    Args:
        folder: Gets the repository, and a configuration by which git takes it for that on GitHub.
        earlier_version: Writes the earlier version's files and returns its name.

    Returns:
        The earlier version's name.
    """
    repository = folder / "cookiecutter-django-celery.git"
    (folder / "gitconfig").write_text(
        f'[url "{folder.as_uri()}/"]\n\tinsteadOf = https://github.com/ORG/\n', encoding="utf-8"
    )
    earlier = earlier_version(repository)
    commit(repository, f"Version {earlier}")
    git(repository, "tag", earlier)
    history = (repository / ".git").rename(folder / "history")
    shutil.rmtree(repository)
    copy_template(repository)
    history.rename(repository / ".git")
    commit(repository, "The working tree")
    git(repository, "tag", NEXT)
    return earlier


@pytest.fixture(scope="module", autouse=True)
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A user with an empty home and without network, for whom the template has been published."""
    folder = tmp_path_factory.mktemp("github")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for role in ("AUTHOR", "COMMITTER"):
            monkeypatch.setenv(f"GIT_{role}_NAME", "Nobody")
            monkeypatch.setenv(f"GIT_{role}_EMAIL", "nobody@example.com")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(folder / "gitconfig"))
        monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
        monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        monkeypatch.setenv("PYTHONUTF8", "1")
        publish(folder, stand_in)
        yield


def make(engine: str, folder: Path, answers: Answers, version: str = FIRST) -> Path:
    """Make a project from a version of the published template and commit it.

    Args:
        engine: `copier`, `cookiecutter` or `cruft`.
        folder: Where the project's folder goes.
        answers: The answers that differ from the defaults.
        version: The template's tag.

    Returns:
        The project's folder.
    """
    folder.mkdir(exist_ok=True)
    if engine == "copier":
        command = ["copier", "copy", "--defaults", "--vcs-ref", version, *data(answers)]
        call([*command, f"gh:{NAME}", "shop"], folder)
    elif engine == "cookiecutter":
        pairs = [f"{name}={answer}" for name, answer in answers.items()]
        run(f"uvx cookiecutter --checkout {version} gh:{NAME}", folder, "--no-input", *pairs)
    else:
        more = ["--no-input", "--checkout", version, "--extra-context", json.dumps(answers)]
        run(f"uvx cruft create https://github.com/{NAME}", folder, *more)
    commit(folder / "shop", "Start")
    return folder / "shop"


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that Copier made; do not change it."""
    return make("copier", tmp_path_factory.mktemp("copier"), ANSWERS)


@pytest.fixture
def project(untouched: Path, tmp_path: Path) -> Path:
    """A project that Copier made, to be changed."""
    return Path(shutil.copytree(untouched, tmp_path / "shop"))


def data(answers: Answers) -> list[str]:
    """Return answers as arguments for Copier."""
    return [argument for pair in answers.items() for argument in ("--data", "=".join(pair))]


def make_edits(project: Path, edits: Sequence[Edit]) -> None:
    """Do what a user does, and commit it."""
    for edit in edits:
        edit(project)
    commit(project, "Mine")


def files(project: Path) -> Files:
    """Return a project's files and folders without git's and without the engines' notes."""
    notes = {".git", ".copier-answers.yml", ".cruft.json"}
    return {name: file for name, file in tree(project).items() if name.split("/")[0] not in notes}


def made_anew(bake: Bake, answers: Answers, edits: Sequence[Edit]) -> Files:
    """Return the files of a project that the working tree makes and that gets the same edits."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(shutil.copytree(bake(**answers), Path(folder, "shop")))
        for edit in edits:
            edit(project)
        return files(project)


def assert_equal(found: Files, expected: Files) -> None:
    """Compare names first, then modes and bytes, so that a failure names the files."""
    assert sorted(found) == sorted(expected)
    assert [name for name in found if found[name] != expected[name]] == []


def set_line(value: str) -> Edit:
    """Return the edit that sets the line which the next version sets too."""
    line = "CELERY_WORKER_MAX_TASKS_PER_CHILD = {}\n"

    def edit(project: Path) -> None:
        file = project / "shop/settings/base.py"
        text = file.read_text(encoding="utf-8")
        file.write_text(
            re.sub(line.format(r"\d+"), value if "\n" in value else line.format(value), text),
            encoding="utf-8",
        )

    return edit


def test_own_edits_survive_copier_update_and_only_what_both_sides_changed_is_marked(
    bake: Bake, project: Path
) -> None:
    edits = EDITS + EDITS_OF_FILES_OF_AN_ANSWER
    make_edits(project, [*edits, set_line("200")])
    moved = files(project)[MOVED]

    assert NEXT in run("uvx copier check-update", project)
    run("uvx copier update --skip-answered", project)

    (conflict,) = re.findall(r"```\n(<<<<.*?)```", PAGE, re.DOTALL)
    expected = made_anew(bake, ANSWERS, [*edits, set_line(conflict)])
    # What the template changed in a file that was moved does not reach it.
    assert_equal(files(project), expected | {MOVED: moved})
    unmerged = git(project, "diff", "--name-only", "--diff-filter=U").split()
    assert unmerged == ["shop/settings/base.py"]
    notes = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert notes["_commit"] == NEXT
    assert {name: notes[name] for name in ANSWERS} == ANSWERS


def test_own_edits_survive_the_way_from_the_first_release(
    bake: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = first_release(ROOT, tmp_path / "cookiecutter-django-celery.git")
    if release is None:
        pytest.skip("nothing was released yet, or this checkout is without tags")
    shutil.rmtree(tmp_path / "cookiecutter-django-celery.git")
    publish(tmp_path, lambda repository: first_release(ROOT, repository) or "")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    edits = EDITS + EDITS_OF_FILES_OF_AN_ANSWER
    project = make("copier", tmp_path / "work", ANSWERS, release)
    make_edits(project, edits)
    moved = files(project)[MOVED]

    run("uvx copier update --skip-answered", project)

    assert_equal(files(project), made_anew(bake, ANSWERS, edits) | {MOVED: moved})


def test_the_first_release_is_the_lowest_version_that_is_no_prerelease(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for number, tag in enumerate(["0.2.0rc1", "0.10.0", "0.2.0", "words"]):
        (checkout / "file").write_text(f"{number}", encoding="utf-8")
        commit(checkout, tag)
        git(checkout, "tag", tag)

    assert first_release(checkout, tmp_path / "found") == "0.2.0"
    assert (tmp_path / "found" / "file").read_text(encoding="utf-8") == "2"
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--depth", "1", "--no-tags", checkout.as_uri(), str(shallow))
    assert first_release(shallow, tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            {"hosting": "compose", "ci": "github", "license": "MIT"},
            {"hosting": "azure", "ci": "gitlab", "license": "Proprietary"},
            id="places",
        ),
        pytest.param(
            {"scheduler": "code", "process_manager": "direct"},
            {"scheduler": "database", "process_manager": "prodserver"},
            id="processes",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_other_answers_give_the_project_that_they_would_have_made(
    bake: Bake, tmp_path: Path, before: dict[str, str], after: dict[str, str]
) -> None:
    """Together with an update; own edits of files that go with it are in git's history alone."""
    edits = [edit for edit in EDITS if edit is not move_file]
    project = make("copier", tmp_path, ANSWERS | before)
    make_edits(project, [*edits, *EDITS_OF_FILES_OF_AN_ANSWER, change_what_will_go])

    run("uvx copier update --skip-answered", project, *data(after))

    kept = edits if "hosting" in after else [*edits, *EDITS_OF_FILES_OF_AN_ANSWER]
    assert_equal(files(project), made_anew(bake, ANSWERS | after, kept))
    assert "TZ: UTC" in git(project, "show", "HEAD:compose.production.yml")


def test_an_answer_changes_without_an_update(project: Path) -> None:
    make_edits(project, EDITS)

    run("uvx copier update --skip-answered --vcs-ref :current: --data hosting=azure", project)

    notes = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert (notes["_commit"], notes["hosting"]) == (FIRST, "azure")
    changed = git(project, "status", "--porcelain", "--untracked-files=no").split()
    assert {"azure.yaml", "infra"} <= {path.name for path in project.iterdir()}
    assert not (project / "compose.production.yml").exists()
    assert not {"pyproject.toml", "shop/settings/base.py", "shop/schedule.py"} & set(changed)


def small_template(destination: Path) -> str:
    """Write the template with all its questions and no more than two files, which is fast.

    Returns:
        The version's name.
    """
    project = copy_template(destination) / PROJECT_FOLDER
    for path in project.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in {".copier-answers.yml", "pyproject.toml"}:
            path.unlink()
    return FIRST


def test_a_later_version_may_ask_a_new_question_that_decides_about_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "releases.md").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"`(\{% if use_search .*? %\})`", page)
    publish(tmp_path, small_template)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    project = make("copier", tmp_path / "work", ANSWERS)
    repository = tmp_path / "cookiecutter-django-celery.git"
    git(repository, "reset", "--hard", FIRST)
    (repository / PROJECT_FOLDER / "search").write_text("found\n", encoding="utf-8")
    change(
        repository / "copier.yml",
        ("_message_after_copy:", f'  - "{pattern}"\n_message_after_copy:'),
        ("\n# The name under which", "\nuse_search:\n  type: bool\n\n# The name under which"),
    )
    commit(repository, "Ask about search")
    git(repository, "tag", "1000.0.0")

    run("uvx copier update --skip-answered", project, "--data", "use_search=true")

    changed = git(project, "status", "--porcelain").splitlines()
    assert changed == [" M .copier-answers.yml", "?? search"]


def test_a_project_of_cookiecutter_moves_to_copier_with_one_command(
    bake: Bake, tmp_path: Path
) -> None:
    project = make("cookiecutter", tmp_path, ANSWERS)
    edits = [edit for edit in EDITS if edit is not move_file]
    make_edits(project, edits)
    command = (
        f"uvx copier copy --vcs-ref {FIRST} --exclude '*' --exclude '!.copier-answers.yml' "
        f"gh:{NAME} ."
    )
    (replay,) = Path(os.environ["HOME"], ".cookiecutter_replay").iterdir()
    assert f"~/.cookiecutter_replay/{replay.name}" in PAGE
    answers = json.loads(replay.read_text(encoding="utf-8"))["cookiecutter"]

    run(command, project, "--defaults", *data({name: answers[name] for name in ANSWERS}))

    assert git(project, "status", "--porcelain") == "?? .copier-answers.yml\n"
    commit(project, "Follow the template")
    run("uvx copier recopy --skip-answered --overwrite --vcs-ref :current:", project)
    touched = {line[3:] for line in git(project, "status", "--porcelain").splitlines()}
    mine = git(project, "diff", "--name-only", "--no-renames", "HEAD~2", "HEAD~1").splitlines()
    assert touched == {name for name in mine if not name.startswith("apps/billing/")}
    git(project, "restore", ".")
    git(project, "clean", "-fd")
    run("uvx copier update --skip-answered", project)
    assert_equal(files(project), made_anew(bake, ANSWERS, edits))


def test_own_edits_survive_cruft_update(bake: Bake, tmp_path: Path) -> None:
    edits = EDITS + EDITS_OF_FILES_OF_AN_ANSWER
    project = make("cruft", tmp_path, ANSWERS)
    make_edits(project, edits)
    moved = files(project)[MOVED]

    run("uvx cruft update", project, "--skip-apply-ask")

    assert_equal(files(project), made_anew(bake, ANSWERS, edits) | {MOVED: moved})


def test_a_project_of_cookiecutter_is_linked_to_cruft_and_changes_an_answer(
    bake: Bake, tmp_path: Path
) -> None:
    edits = [edit for edit in EDITS if edit is not move_file]
    project = make("cookiecutter", tmp_path, ANSWERS)
    make_edits(project, [*edits, change_deployment])
    mine = files(project)["compose.production.yml"]
    command = f"uvx cruft link --checkout {FIRST} https://github.com/{NAME}"
    run(command, project, "--no-input", "--extra-context", json.dumps(ANSWERS))
    assert git(project, "status", "--porcelain") == "?? .cruft.json\n"
    commit(project, "Follow the template")

    command = """uvx cruft update --variables-to-update '{"hosting": "azure"}'"""
    run(command, project, "--skip-apply-ask")

    assert_equal(
        files(project),
        made_anew(bake, ANSWERS | {"hosting": "azure"}, edits) | {"compose.production.yml": mine},
    )


def test_cruft_refuses_the_same_answers(tmp_path: Path) -> None:
    bad = {"project_slug": "django", "domain_name": "localhost"}
    create = ["create", f"https://github.com/{NAME}", "--no-input", "--extra-context"]

    process = subprocess.run(
        [sys.executable, "-m", "cruft", *create, json.dumps(bad)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode != 0
    assert "project_slug 'django' is taken" in process.stdout + process.stderr
    assert not list(tmp_path.iterdir())
