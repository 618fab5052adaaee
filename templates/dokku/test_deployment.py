"""Procfile and app.json: every process is there, and gets every variable that it needs."""

import json
import re
import subprocess
import sys
{%- if cookiecutter.scheduler == "platform" %}
from collections import Counter
{%- endif %}
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

PROCFILE = """\
web: {{ cookiecutter.__web_command }}
worker: {{ cookiecutter.__worker_command }}
{%- if cookiecutter.scheduler != "platform" %}
beat: {{ cookiecutter.__beat_command }}
{%- endif %}
{%- if cookiecutter.use_flower %}
flower: {{ cookiecutter.__flower_command }}
{%- endif %}
release: {{ cookiecutter.__release_command }}
"""
START = """
from {{ cookiecutter.project_slug }}.environment import start
start("production")
"""


def read(name: str) -> str:
    """Return a file of the project."""
    return (Path(settings.BASE_DIR) / name).read_text("utf-8")


@pytest.fixture
def app() -> Any:
    """What app.json says."""
    return json.loads(read("app.json"))


def test_each_process_has_its_command() -> None:
    assert set(PROCFILE.splitlines()) <= set(read("Procfile").splitlines())


def test_no_command_needs_a_shell() -> None:
    """Dokku starts processes without one, and replaces an unknown $NAME by nothing."""
    assert re.findall(r".*[$&|;<>`].*", read("Procfile")) == []


def test_every_process_runs{{ "_and_beat_exactly_once" if cookiecutter.scheduler in ("database", "code") }}(app: Any) -> None:
    processes = re.findall(r"^([\w-]+):", read("Procfile"), re.MULTILINE)
    quantities = {name: process["quantity"] for name, process in app["formation"].items()}
    # A process that app.json does not list runs zero times; the release is none.
    assert {*quantities, "release"} == set(processes)
    assert min(quantities.values()) >= 1
{%- if cookiecutter.scheduler in ("database", "code") %}
    assert quantities["beat"] == 1
{%- endif %}
{%- if cookiecutter.scheduler == "platform" %}


def test_cron_starts_what_the_schedule_lists_and_nothing_else(app: Any) -> None:
    wanted = Counter(
        (f"python manage.py enqueue {entry.name}", entry.as_cron())
        for entry in settings.PERIODIC_TASKS
    )
    found = Counter((task["command"], task["schedule"]) for task in app["cron"])
    assert found == wanted, (
        f"cron in app.json lacks {sorted(wanted - found)} of SCHEDULE, "
        f"and SCHEDULE lacks {sorted(found - wanted)} of app.json"
    )


def test_a_run_of_cron_that_hangs_is_not_joined_by_others(app: Any) -> None:
    assert {task["concurrency_policy"] for task in app["cron"]} == {"forbid"}
{%- endif %}


def test_every_process_gets_what_production_settings_require(app: Any) -> None:
    """What is in app.json is in the environment of all processes, or Dokku does not deploy."""
    command = [sys.executable, "-c", START]
    result = subprocess.run(  # noqa: S603 (this file's own code)
        command, cwd=settings.BASE_DIR, env={}, capture_output=True, text=True, check=False
    )
    missing = re.search(r"Missing or blank: (.*)\.", result.stderr)
    assert missing, result.stderr
    for name in missing[1].split(", "):
        assert name in app["env"], f"no process gets {name}: add it to env in app.json"
        assert app["env"][name].get("required", True), f"a process may start without {name}"


def test_app_json_holds_no_secret(app: Any) -> None:
    secrets = [name for name in app["env"] if re.search("AUTH|KEY|PASSWORD|SECRET|TOKEN|URL", name)]
    assert [name for name in secrets if "value" in app["env"][name]] == []
