"""azure.yaml and infra/: every process is there, and gets every variable that it needs."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

PROJECT = Path(settings.BASE_DIR)
COMMANDS = """\
web: {{ cookiecutter.__web_command }}
worker: {{ cookiecutter.__worker_command }}
{%- if cookiecutter.scheduler == "platform" %}
schedule: python manage.py enqueue
{%- else %}
beat: {{ cookiecutter.__beat_command }}
{%- endif %}
{%- if cookiecutter.use_flower %}
flower: {{ cookiecutter.__flower_command }}
{%- endif %}
release: {{ cookiecutter.__release_command }}
"""
PROCESSES = dict(line.split(": ", 1) for line in COMMANDS.splitlines())
START = """
from {{ cookiecutter.project_slug }}.environment import start
start("production")
"""


def infra(name: str) -> str:
    """Return a file of infra/ without its comments."""
    text = (PROJECT / "infra" / name).read_text("utf-8")
    return re.sub(r"(?m)(^|\s)//.*$", "", text)


@pytest.fixture
def manifest() -> Any:
    """What azd reads."""
    return yaml.safe_load((PROJECT / "azure.yaml").read_text("utf-8"))


def test_the_release_comes_first(manifest: Any) -> None:
    services = manifest["services"]
    assert set(services) == set(PROCESSES)
    assert services["release"]["hooks"]["postdeploy"]["run"] == "sh infra/release.sh"
    waiting = {name for name, service in services.items() if "release" in service.get("uses", [])}
    assert waiting == set(PROCESSES) - {"release"}


def test_azd_applies_the_whole_file_of_each_process(manifest: Any) -> None:
    [services] = re.findall("for service in (.*); do", manifest["hooks"]["predeploy"]["run"])
    assert services.lower().split() == list(manifest["services"])


@pytest.mark.parametrize("process", PROCESSES)
def test_each_process_has_its_command(process: str) -> None:
    [command] = re.findall(r"command: \[(.*)\]", infra(f"{process}.bicep"))
    assert re.findall("'([^']*)'", command) == PROCESSES[process].split()


@pytest.mark.parametrize("process", PROCESSES)
def test_each_process_takes_its_own_image_and_the_shared_settings(process: str) -> None:
    lines = [line.strip() for line in infra(f"{process}.bicep").splitlines()]
    assert "env: settings.outputs.environment" in lines
    assert "secrets: settings.outputs.secrets" in lines
    parameters = json.loads(infra(f"{process}.parameters.json"))["parameters"]
    assert parameters["image"]["value"] == f"${{ '{{' }}SERVICE_{process.upper()}_IMAGE_NAME{{ '}}' }}"


{% if cookiecutter.scheduler == "platform" -%}
def test_every_entry_of_the_schedule_has_a_job_at_its_times() -> None:
    text = infra("schedule.bicep")
    jobs = re.findall(r"(?m)^    name: '(.*)'\n    cron: '(.*)'$", text)
    assert len(jobs) == text.count("cron: "), (
        "infra/schedule.bicep has an entry without a name, or of another form"
    )
    assert "'enqueue', entry.name]" in text
    for entry in settings.PERIODIC_TASKS:
        assert jobs.count((entry.name, entry.as_cron())) == 1, (
            f"{entry.name} is not in infra/schedule.bicep as it is in schedule.py: give `schedule` "
            f"one entry with name: '{entry.name}' and cron: '{entry.as_cron()}'"
        )
    entries = {entry.name for entry in settings.PERIODIC_TASKS}
    for name, _ in jobs:
        assert name in entries, (
            f"{name} is in infra/schedule.bicep and not in schedule.py: take it out there, and "
            f"delete the job cron-{name} after the next deployment (docs/deploy.md)"
        )


def test_azure_accepts_the_name_of_every_job() -> None:
    for entry in settings.PERIODIC_TASKS:
        job = f"cron-{entry.name}"
        assert re.fullmatch("(?!.*--)cron-[a-z0-9-]{,25}[a-z0-9]", job), (
            f"{job} can't be the name of a job: give the entry one of at most 26 lower-case "
            "letters and digits, with single hyphens between them"
        )


def test_azure_reads_the_times_as_the_schedule_means_them() -> None:
    assert settings.TIME_ZONE == "UTC", (
        "Azure starts the jobs of infra/schedule.bicep in UTC: keep TIME_ZONE at UTC, and write "
        "the times of schedule.py in UTC"
    )


def test_azd_finds_one_job_of_the_schedule() -> None:
    [tagged] = re.findall(r"tags: entry.name == '(.*)' \?", infra("schedule.bicep"))
    assert tagged in {entry.name for entry in settings.PERIODIC_TASKS}, (
        f"{tagged} is gone: give the tag in infra/schedule.bicep to another entry"
    )
{%- elif cookiecutter.scheduler == "redbeat" -%}
def test_there_is_always_a_beat() -> None:
    [minimum] = re.findall(r"minReplicas: (\d+)", infra("beat.bicep"))
    assert int(minimum) >= 1
{%- else -%}
def test_there_is_exactly_one_beat() -> None:
    assert re.findall(r"(?:min|max)Replicas: (\d+)", infra("beat.bicep")) == ["1", "1"]
{%- endif %}


{% if cookiecutter.use_flower -%}
def test_flower_is_asked_by_https_where_it_listens() -> None:
    text = infra("flower.bicep")
    assert "allowInsecure: false" in text
    assert set(re.findall(r"(?:targetPort|port): (\d+)", text)) == {"5555"}


{% endif -%}
def test_the_settings_hold_what_production_requires() -> None:
    command = [sys.executable, "-c", START]
    result = subprocess.run(  # noqa: S603 (this file's own code)
        command, cwd=PROJECT, env={}, capture_output=True, text=True, check=False
    )
    missing = re.search(r"Missing or blank: (.*)\.", result.stderr)
    assert missing, result.stderr
    given = set(re.findall("'([A-Z][A-Z0-9_]*)'", infra("settings.bicep")))
    for name in missing[1].split(", "):
        assert name in given, f"no process gets {name}: name it in infra/settings.bicep"


def test_every_variable_has_a_value_in_the_key_vault() -> None:
    [variables] = re.findall(r"(?s)var variables = \[(.*?)\n\]", infra("settings.bicep"))
    stored = set(re.findall(r"(?m)^ +([A-Z][A-Z0-9_]*): ", infra("platform.bicep")))
    for name in re.findall(r"'(\w+)'", variables):
        assert name in stored, f"{name} has no value: give it one in infra/platform.bicep"


def test_the_values_of_parameters_come_from_azd() -> None:
    for path in (PROJECT / "infra").glob("*.parameters.json"):
        parameters = json.loads(path.read_text("utf-8"))["parameters"]
        assert [name for name, item in parameters.items() if item["value"][0] != "$"] == []
