"""The first steps of a user and of a contributor: what both README files say, done."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import uv

from tests.baking import ROOT
from tests.processes import Process, free_port, http_get, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("first-steps")]

# Run below; `uvx` would fetch the published template, so the engines' own tests stand for it, and
# test_updates.py for what follows the template.
TEMPLATE_COMMANDS = [
    "uvx cookiecutter gh:ORG/cookiecutter-django-celery",
    "uvx copier copy gh:ORG/cookiecutter-django-celery my_project",
    "cd my_project",
    "uv sync",
    "uv run manage.py migrate",
    "uv run manage.py runserver",
    "make project",
    "make test",
]
PROJECT_COMMANDS = [
    "uv sync",
    "uv run manage.py migrate",
    "uv run manage.py createsuperuser",
    "uv run manage.py runserver",
    "docker compose up --build",
    "uv run ruff check",
    "uv run ruff format --check",
    "uv run mypy .",
    "uv run pytest",
    "uvx copier update --skip-answered",
]


def commands(readme: Path) -> list[str]:
    """Return the commands that a README shows."""
    blocks = re.findall(r"```sh\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def clean_environment() -> dict[str, str]:
    """Return an environment without this test run's own tools: a fresh machine's."""
    path = os.environ["PATH"].split(os.pathsep)
    own = str(Path(sys.executable).parent)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "DATABASE_URL"}
    }
    return kept | {"PATH": os.pathsep.join(part for part in path if part != own)}


def run(command: str, folder: Path, **environment: str) -> str:
    """Run a command in a folder and return its output; it must succeed."""
    result = subprocess.run(
        command.split(),
        cwd=folder,
        env=clean_environment() | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, f"{command}:\n{result.stdout}{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a clone would have it, with the changes of the working tree."""
    folder = tmp_path_factory.mktemp("clone")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listing.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def project(clone: Path) -> Path:
    """What `make project` makes, with Python and pip alone."""
    base_python = getattr(sys, "_base_executable", sys.executable)
    output = run("make project", clone, PYTHON=base_python)
    assert "uv sync" in output
    return clone / "my_project"


def test_the_readme_shows_no_command_that_is_not_tested() -> None:
    assert commands(ROOT / "README.md") == TEMPLATE_COMMANDS


def test_the_readme_of_a_project_shows_no_command_that_is_not_tested(project: Path) -> None:
    assert commands(project / "README.md") == PROJECT_COMMANDS


def test_a_new_project_is_installed_tested_migrated_and_served(project: Path) -> None:
    uv_program = uv.find_uv_bin()
    assert not (project / "uv.lock").exists()
    run(f"{uv_program} sync", project)
    assert (project / "uv.lock").exists()
    for command in ("ruff check", "ruff format --check", "mypy .", "pytest -q"):
        run(f"{uv_program} run {command}", project)
    run(f"{uv_program} run manage.py migrate", project)
    run(
        f"{uv_program} run manage.py createsuperuser --noinput --username a --email a@example.com",
        project,
        DJANGO_SUPERUSER_PASSWORD="a pass phrase",
    )
    port = free_port()
    server = [uv_program, "run", "manage.py", "runserver", "--noreload", str(port)]
    with Process(server, folder=project, environment=clean_environment()):
        wait_until(lambda: serves(port), 60, "the home page")


def serves(port: int) -> bool:
    """Return whether the home page of a development server is there."""
    try:
        return "My Project" in http_get(f"http://127.0.0.1:{port}/").text
    except OSError:
        return False


def test_make_lists_its_targets(clone: Path) -> None:
    output = run("make", clone)
    for target in ("project", "test", "test-fast", "lint"):
        assert re.search(rf"^{target} ", output, re.MULTILINE)
