"""A baked project under production settings, with real servers around it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.processes import Response, Stack, http_get, python_environment, wait_until
from tests.users import add_notes_app, add_trial_app, quicken_alerts, quicken_schedule

HOST = "www.example.com"
SECRET_KEY = "Fh3kLw-9sQzR0vXbT7nYpC2mGdJ5aUeK8iHoNq1WcZr4tBxV6y"
METRICS_TOKEN = "metrics-token-0123456789-0123456789"

# What the proxy in front of the web process adds to a request.
PROXY_HEADERS = {"X-Forwarded-Proto": "https"}

# Bytecode by content: a test may change a file within the second in which it was compiled.
BUILD = """
import compileall, py_compile, re
from django.core.management import call_command
call_command("makemigrations", {apps})
call_command("collectstatic", interactive=False)
by_content = py_compile.PycInvalidationMode.CHECKED_HASH
compileall.compile_dir(".", quiet=1, rx=re.compile("/tests/"), invalidation_mode=by_content)
"""


def production_environment(database_url: str, redis_url: str, **more: str) -> dict[str, str]:
    """Return the variables that production needs.

    Args:
        database_url: where PostgreSQL is.
        redis_url: where the broker is.
        more: further variables; they win.
    """
    return {
        "DJANGO_ENVIRONMENT": "production",
        "SECRET_KEY": SECRET_KEY,
        "ALLOWED_HOSTS": HOST,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "METRICS_TOKEN": METRICS_TOKEN,
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_USE_TLS": "false",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


@contextmanager
def production(
    project: Path, environment: Mapping[str, str], *, timeout: float = 60
) -> Iterator[Stack]:
    """Yield a released project whose processes can be started.

    Args:
        project: folder of the project.
        environment: all variables of all its processes.
        timeout: seconds for the release.
    """
    with Stack(project, environment, python_environment(project)) as stack:
        release = stack.manage("release", timeout=timeout)
        assert release.returncode == 0, release.stdout + release.stderr
        yield stack


def add_administrator(stack: Stack, password: str) -> None:
    """Add the user `admin`, who may do everything.

    Args:
        stack: the project, released.
        password: of the user.
    """
    result = stack.manage(
        "createsuperuser",
        "--noinput",
        DJANGO_SUPERUSER_USERNAME="admin",
        DJANGO_SUPERUSER_EMAIL="admin@example.com",
        DJANGO_SUPERUSER_PASSWORD=password,
    )
    assert result.returncode == 0, result.stderr


def visit(stack: Stack, path: str, *, timeout: float = 5.0) -> Response:
    """Get a page as a visitor does, through the proxy that ends TLS.

    Args:
        stack: the project, whose web process runs.
        path: the page's path.
        timeout: seconds for the connection and for each read.
    """
    return http_get(stack.url + path, host=HOST, headers=PROXY_HEADERS, timeout=timeout)


def prepare(project: Path) -> Path:
    """Add the apps that the tests use, their migrations, a quick schedule and the static files.

    Args:
        project: folder of a project that may be changed.

    Returns:
        The same folder.
    """
    add_notes_app(project)
    add_trial_app(project)
    quicken_schedule(project)
    quicken_alerts(project)
    return build(project, "notes", "trial")


def build(project: Path, *apps: str) -> Path:
    """Make the migrations of apps that were added, collect the static files, and compile.

    Args:
        project: folder of a project that may be changed.
        apps: labels of the apps.

    Returns:
        The same folder.
    """
    command = BUILD.format(apps=", ".join(map(repr, apps)))
    development = {"PYTHONDONTWRITEBYTECODE": "1"}
    with Stack(project, development, python_environment(project)) as stack:
        # One process, because starting it takes most of the time.
        result = stack.manage("shell", "--command", command)
        assert result.returncode == 0, result.stdout + result.stderr
    return project


def query(database_url: str, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query.

    Args:
        database_url: the database to ask.
        statement: SQL.
    """
    with psycopg.connect(database_url) as connection:
        return connection.execute(statement).fetchall()


def effects(database_url: str, name: str) -> list[str]:
    """Return what the tasks of the trial app recorded under a name, oldest first."""
    rows = query(database_url, f"SELECT detail FROM trial_effect WHERE name = '{name}' ORDER BY id")
    return [str(detail) for (detail,) in rows]


def wait_for_effect(database_url: str, name: str, detail: str, timeout: float) -> None:
    """Wait until a task of the trial app has recorded something.

    Args:
        database_url: the database to ask.
        name: the record's name.
        detail: the record's detail.
        timeout: seconds.

    Raises:
        AssertionError: the time is over.
    """
    wait_until(lambda: detail in effects(database_url, name), timeout, f"{name}: {detail}")


def call(stack: Stack, task: str, *arguments: Any, **options: Any) -> None:
    """Enqueue a task from a process of its own, as a cron job or a shell would.

    Args:
        stack: the project.
        task: name of a function in `apps/trial/tasks.py`.
        arguments: the task's arguments.
        options: options of `apply_async`.
    """
    code = f"from apps.trial import tasks; tasks.{task}.apply_async({arguments!r}, **{options!r})"
    result = stack.manage("shell", "--command", code)
    assert result.returncode == 0, result.stderr
