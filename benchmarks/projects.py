"""Baked projects with something to measure in them, and what they stand beside."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.harness import Effort
from tests.baking import bake_with_cookiecutter, copy_template
from tests.processes import Process, Stack, free_port, python_environment
from tests.production import build, production, production_environment
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis
from tests.users import add_app, replace_once

COUNTERPARTS = Path(__file__).parent / "counterparts"

MODELS = """
from django.db import models


class Row(models.Model):
    text = models.CharField(max_length=200)
"""
TASKS = """
import time

from celery import shared_task

from apps.bench.models import Row


@shared_task
def nothing():
    pass


@shared_task
def write_row():
    Row.objects.create(text="row")


@shared_task
def wait(seconds):
    time.sleep(seconds)
"""
VIEWS = """
import time

from django.http import HttpResponse, JsonResponse

from apps.bench.models import Row
from apps.bench.tasks import nothing


def enqueue(request):
    started = time.perf_counter()
    nothing.delay()
    return JsonResponse({"seconds": time.perf_counter() - started})


def count(request):
    return HttpResponse(Row.objects.count())
"""
# As many entries as a variable says, none of which is due before the next new year.
ENTRIES = """
SCHEDULE += tuple(
    PeriodicTask(
        name=f"entry-{number}",
        task="apps.bench.tasks.nothing",
        schedule=crontab(minute="0", hour="0", day_of_month="1", month_of_year="1"),
    )
    for number in range(int(os.environ.get("ENTRIES", "0")))
)
"""
# What `gunicorn.conf.py` sets, apart from the address and the log, which is no JSON.
READ_GUNICORN = """
import json, runpy
from gunicorn.config import KNOWN_SETTINGS
names = {setting.name for setting in KNOWN_SETTINGS} - {"bind", "logconfig_dict"}
found = runpy.run_path("gunicorn.conf.py")
values = {name: found[name] for name in names & found.keys() if not callable(found[name])}
print(json.dumps(values))
"""


@dataclass
class Lab:
    """Where things are measured: a folder, servers, and how much effort there is.

    Attributes:
        folder: an empty folder.
        effort: how much.
    """

    folder: Path
    effort: Effort
    _open: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Stop the servers."""
        self._open.close()

    @cached_property
    def postgres(self) -> Postgres:
        """A PostgreSQL server."""
        return self._open.enter_context(Postgres())

    @cached_property
    def redis(self) -> Redis:
        """A Redis server."""
        return self._open.enter_context(Redis())

    @cached_property
    def template(self) -> Path:
        """A clean copy of the template."""
        return copy_template(self.folder / "template")

    @cached_property
    def project(self) -> Path:
        """The project of the default answers."""
        return self.bake("default")

    def bake(self, name: str, **answers: str) -> Path:
        """Bake a project and add the app that is measured.

        Args:
            name: of a new folder.
            answers: those that differ from the defaults.
        """
        project = bake_with_cookiecutter(self.template, self.folder / name, answers)
        files = {"models.py": MODELS, "tasks.py": TASKS, "views.py": VIEWS}
        routes = {"bench/enqueue/": "enqueue", "bench/count/": "count"}
        add_app(project, "bench", {n: textwrap.dedent(t) for n, t in files.items()}, routes)
        schedule = project / project.name / "schedule.py"
        replace_once(schedule, "from datetime import", "import os\nfrom datetime import")
        schedule.write_text(schedule.read_text("utf-8") + ENTRIES, encoding="utf-8")
        leave_out_tools(project)
        build(project, "bench")
        with Stack(project, {}, python_environment(project)) as stack:
            # As the image does.
            result = stack.run(["python", "-m", "compileall", "-q", "."])
            assert result.returncode == 0, result.stdout + result.stderr
        return project

    def environment(self, **more: str) -> dict[str, str]:
        """Return the variables of production, with a new database.

        Args:
            more: further variables; they win.
        """
        url = self.postgres.create_database()
        return production_environment(url, self.redis.url(), **more)

    def released(self, project: Path, **more: str) -> AbstractContextManager[Stack]:
        """Return the context of a project that is released into a new database.

        Args:
            project: its folder.
            more: variables that differ.
        """
        return production(project, self.environment(**more), timeout=120)


def leave_out_tools(project: Path) -> None:
    """Take the development tools out of a project's dependencies, as the image does."""
    file = project / "pyproject.toml"
    text, count = re.subn(r"\ndev = \[\n.*?\n\]", "", file.read_text("utf-8"), flags=re.DOTALL)
    assert count == 1, f"{file} has no single group of development tools"
    file.write_text(text, encoding="utf-8")


def gunicorn_settings(stack: Stack) -> str:
    """Return what the project's own configuration of gunicorn sets, but its hooks, as JSON."""
    result = stack.run(["python", "-c", READ_GUNICORN])
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


@contextmanager
def counterpart(stack: Stack, module: str) -> Iterator[tuple[Process, str]]:
    """Run a bare application under the project's own settings of gunicorn.

    Args:
        stack: the project.
        module: of `counterparts`.

    Yields:
        The process and the address of the application, which does not have to answer yet.
    """
    port = free_port()
    variables = {
        **counterpart_variables(stack),
        "PORT": str(port),
        "GUNICORN_SETTINGS": gunicorn_settings(stack),
        "SECRETS": json.dumps(
            [stack.environment["SECRET_KEY"], stack.environment["METRICS_TOKEN"]]
        ),
    }
    command = ["gunicorn", "--config", "gunicorn.conf.py", f"{module}:application"]
    with Process(command, folder=COUNTERPARTS, environment=variables, name=module) as process:
        yield process, f"http://127.0.0.1:{port}"


def counterpart_variables(stack: Stack) -> dict[str, str]:
    """Return the variables with which a counterpart runs in the project's virtual environment."""
    kept = ("PATH", "REDIS_URL", "DATABASE_URL", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    return {name: stack.environment[name] for name in kept} | {"PYTHONPATH": str(stack.project)}
