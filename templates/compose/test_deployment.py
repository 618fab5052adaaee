"""compose.production.yml and docs/deploy.md fit the project."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

PROJECT = Path(__file__).parent.parent
COMPOSE = (PROJECT / "compose.production.yml").read_text("utf-8")
PAGE = (PROJECT / "docs" / "deploy.md").read_text("utf-8")
README = (PROJECT / "README.md").read_text("utf-8")
COMMANDS = dict(
    re.findall(r"^\| (web|worker|beat{{ "|flower" if cookiecutter.use_flower }}|release)\b[^|]*\| `(.+)` \|$", README, re.MULTILINE)
)
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
IMAGE = SERVICES["release"]["image"]
PROCESSES = [name for name, service in SERVICES.items() if service["image"] == IMAGE]


def page_variables(file: str) -> set[str]:
    """Return the names of the variables that docs/deploy.md writes into a file."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    [block] = [block for block in blocks if f"> {file})" in block]
    return set(re.findall(r'echo "([A-Z_]+)=', block))


@pytest.fixture(scope="module")
def required() -> set[str]:
    """The variables without which the production settings do not load."""
    result = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=PROJECT,
        env={"DJANGO_ENVIRONMENT": "production"},
        capture_output=True,
        text=True,
        check=False,
    )
    missing = re.search(r"Missing or blank: (.+)\.", result.stderr)
    assert missing, result.stderr
    return set(missing[1].split(", "))


def test_every_process_of_the_readme_runs_by_its_command() -> None:
    assert set(COMMANDS) == {"web", "worker", "beat", {% if cookiecutter.use_flower %}"flower", {% endif %}"release"}
    assert {process: SERVICES[process]["command"] for process in COMMANDS} == COMMANDS


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_gets_every_required_variable(process: str, required: set[str]) -> None:
    service = SERVICES[process]
    given = set(service["environment"])
    for file in service.get("env_file", []):
        given |= page_variables(file["path"])
    missing = sorted(required - given)
    assert not missing, (
        f"{process} lacks {missing}: write them into app.env in docs/deploy.md and on the server, "
        "or add them to `environment` in compose.production.yml"
    )


{% if cookiecutter.scheduler != "redbeat" -%}
def test_beat_runs_exactly_once() -> None:
    beats = [name for name in PROCESSES if " beat" in SERVICES[name]["command"]]
    assert beats == ["beat"]
    assert "scale" not in SERVICES["beat"]
    assert "replicas" not in SERVICES["beat"]["deploy"]


{% endif -%}
def test_the_release_succeeds_before_the_processes_start() -> None:
    assert SERVICES["release"]["restart"] == "no"
    for process in set(PROCESSES) - {"release"}:
        condition = SERVICES[process]["depends_on"]["release"]["condition"]
        assert condition == "service_completed_successfully", process


def test_every_queue_can_have_a_worker_of_its_own() -> None:
    found = {name: SERVICES[name]["command"] for name in PROCESSES if name.startswith("worker-")}
    names = [queue.name for queue in settings.CELERY_TASK_QUEUES]
{%- if cookiecutter.process_manager == "prodserver" %}
    assert found == {f"worker-{name}": f"{COMMANDS['worker']}-{name}" for name in names}
{%- else %}
    assert found == {f"worker-{name}": f"{COMMANDS['worker']} --queues {name}" for name in names}
{%- endif %}


def test_the_page_writes_every_variable_that_the_file_needs() -> None:
    needed = set(re.findall(r"\$\{([A-Z_]+):\?", COMPOSE))
    assert needed <= page_variables(".env")


def test_nothing_but_the_proxy_is_open_to_the_world() -> None:
{%- if cookiecutter.use_flower or cookiecutter.use_prometheus %}
    open_to_all = {
        name
        for name, service in SERVICES.items()
        for port in service.get("ports", ())
        if not port.startswith("127.0.0.1:")
    }
    assert open_to_all == {"caddy"}
{%- else %}
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["caddy"]
{%- endif %}
