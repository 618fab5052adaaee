"""What a process says that lacks a variable, or got a wrong one."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.platforms.surroundings import FLOWER_LOGIN
from tests.processes import Stack, process_commands, python_environment
from tests.production import production_environment

pytestmark = pytest.mark.slow

REQUIRED = ("SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL", "EMAIL_HOST")
COMMANDS = {
    "manage.py": "python manage.py check",
    "release": "python manage.py release",
    **process_commands("my_project"),
}
COMPLETE = production_environment(
    "postgres://u:p@127.0.0.1:1/n", "redis://127.0.0.1:1/0", FLOWER_BASIC_AUTH=FLOWER_LOGIN
)


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with every process that there is."""
    folder = tmp_path_factory.mktemp("configuration") / "my_project"
    return Path(shutil.copytree(bake(use_flower="true"), folder))


@pytest.fixture(scope="module")
def cron_project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose processes django-prodserver starts, apart from cron's."""
    folder = tmp_path_factory.mktemp("configuration") / "my_project"
    answers = {"hosting": "dokku", "scheduler": "platform", "process_manager": "prodserver"}
    return Path(shutil.copytree(bake(**answers), folder))


def run(
    project: Path, command: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a process of the project to its end."""
    with Stack(project, environment, python_environment(project)) as stack:
        return stack.run(command.split(), timeout=60)


def assert_every_variable_is_named(result: subprocess.CompletedProcess[str], command: str) -> None:
    """Expect that a process stopped with one message: which it is, and all that it requires."""
    assert result.returncode != 0
    assert f"{command.removeprefix('python ')} can't start with" in result.stderr
    lines = [line for line in result.stderr.splitlines() if "Missing or blank" in line]
    assert len(lines) == 1, result.stderr
    assert [name for name in REQUIRED if name not in lines[0]] == []
    assert "my_project.settings.production" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("process", COMMANDS)
def test_one_message_names_every_missing_variable(project: Path, process: str) -> None:
    result = run(project, COMMANDS[process], {"DJANGO_ENVIRONMENT": "production"})
    assert_every_variable_is_named(result, COMMANDS[process])


@pytest.mark.parametrize("command", ["server web", "worker worker", "enqueue heartbeat"])
def test_so_it_does_by_the_commands_of_other_answers(cron_project: Path, command: str) -> None:
    environment = {"DJANGO_ENVIRONMENT": "production"}
    result = run(cron_project, f"python manage.py {command}", environment)
    assert_every_variable_is_named(result, f"python manage.py {command}")


@pytest.mark.parametrize(
    "command",
    [
        *(COMMANDS[process] for process in ("worker", "beat", "web")),
        # What any server of WSGI or ASGI loads, without gunicorn's configuration file.
        "gunicorn -c /dev/null my_project.wsgi:application",
        "python -m my_project.asgi",
    ],
)
def test_without_any_variable_a_process_means_production(project: Path, command: str) -> None:
    result = run(project, command, {})
    assert result.returncode != 0
    assert "my_project.settings.production" in result.stderr
    assert "Missing or blank: SECRET_KEY, ALLOWED_HOSTS, DATABASE_URL" in result.stderr


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SECRET_KEY", " ", "Missing or blank: SECRET_KEY"),
        ("DATABASE_URL", "foo", "DATABASE_URL is no URL"),
        ("DATABASE_URL", "sqlite:///db.sqlite3", "DATABASE_URL has the scheme 'sqlite'"),
        ("REDIS_URL", "http://x", "REDIS_URL can't be used"),
        ("REDIS_URL", "not a url", "REDIS_URL can't be used"),
        ("SECRET_KEY", "short", "SECRET_KEY is too weak"),
        ("ALLOWED_HOSTS", "*", "ALLOWED_HOSTS holds *"),
        ("DJANGO_ENVIRONMENT", "prod", "it must be one of development, staging, production"),
        ("DJANGO_SETTINGS_MODULE", "config.production", "there is no such module"),
    ],
)
@pytest.mark.parametrize("process", ["manage.py", "worker", "web"])
def test_a_wrong_variable_is_one_sentence(
    project: Path, process: str, variable: str, value: str, sentence: str
) -> None:
    result = run(project, COMMANDS[process], {**COMPLETE, variable: value})
    assert result.returncode != 0
    assert result.stderr.count(sentence) == 1, result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_port_is_one_sentence(project: Path) -> None:
    result = run(project, COMMANDS["web"], {**COMPLETE, "PORT": "web"})
    assert result.returncode != 0
    assert result.stderr.count("PORT is 'web'; it must be a whole number from 1.") == 1
    assert "Traceback" not in result.stderr
