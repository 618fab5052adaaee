"""The processes that django-prodserver starts."""

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django_prodserver.backends.base import BaseProcessBackend, BaseServerBackend, BaseWorkerBackend
{%- if cookiecutter.hosting == "compose" %}
from django_prodserver.backends.workers.celery import CeleryWorker
{%- endif %}
from django_prodserver.management.base import BaseProcessCommand
from pytest_django import Settings

started: list[str] = []


class Server(BaseServerBackend):
    def start_server(self, *args: str) -> None:
        started.append("server")


class Worker(BaseWorkerBackend):
    def start_server(self, *args: str) -> None:
        started.append("worker")


@pytest.mark.parametrize("backend", [Server, Worker])
def test_a_process_starts_without_a_line_that_is_no_json(
    backend: type[BaseProcessBackend], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    name = backend.__name__.lower()
    settings.PRODUCTION_PROCESSES = {"it": {"BACKEND": f"{__name__}.{backend.__name__}"}}
    started.clear()
    command = load_command_class(get_commands()[name], name)
    assert isinstance(command, BaseProcessCommand)
    command.start_process("it")
    assert started == [name]
    assert capsys.readouterr().out == ""


def test_the_processes_are_those_of_the_deployment() -> None:
{%- if cookiecutter.hosting == "compose" %}
    queue_workers = [f"worker-{queue.name}" for queue in settings.CELERY_TASK_QUEUES]
{%- endif %}
    names = ["web", "worker"{% if cookiecutter.scheduler != "platform" %}, "beat"{% endif %}{% if cookiecutter.use_flower %}, "flower"{% endif %}{% if cookiecutter.hosting == "compose" %}, *queue_workers{% endif %}]
    assert list(settings.PRODUCTION_PROCESSES) == names
{%- if cookiecutter.hosting == "compose" %}


def test_a_worker_for_one_queue_differs_in_that_alone() -> None:
    processes = settings.PRODUCTION_PROCESSES
    arguments = {
        name: CeleryWorker(**processes[name]).prep_server_args()
        for name in processes
        if name.startswith("worker")
    }
    for queue in settings.CELERY_TASK_QUEUES:
        expected = [*arguments["worker"], f"--queues={queue.name}"]
        assert arguments[f"worker-{queue.name}"] == expected
{%- endif %}
