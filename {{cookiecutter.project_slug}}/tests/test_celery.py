"""What the Celery application really works with."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Task, current_app
from celery.app import defaults
from celery.canvas import Signature
from celery.contrib.django.task import DjangoTask
from celery.exceptions import QueueNotFound, Reject, Retry
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError as BrokerError

from apps.operations.application import DATABASE_RETRIES, LONGEST_DATABASE_DELAY, ProjectTask
from apps.operations.tasks import record_heartbeat


def test_django_processes_use_the_project_application() -> None:
    application = import_string(settings.TASK_APPLICATION)
    assert record_heartbeat.app is application
    assert current_app.main == application.main


def test_a_worker_leaves_the_checks_to_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr("django.core.checks.run_checks", lambda: ran.append("checks"))
    fixup = import_string("celery.fixups.django.DjangoWorkerFixup")
    fixup(current_app).validate_models()
    assert ran == []


def test_a_message_is_acknowledged_when_its_task_has_ended() -> None:
    assert current_app.conf.task_acks_late
    assert current_app.conf.worker_prefetch_multiplier == 1


def test_only_json_is_accepted() -> None:
    assert current_app.conf.accept_content == ["json"]
    assert current_app.conf.task_serializer == current_app.conf.result_serializer == "json"


def test_a_task_comes_back_only_after_it_must_have_ended() -> None:
    visibility = current_app.conf.broker_transport_options["visibility_timeout"]
    assert visibility > current_app.conf.task_time_limit


def test_a_queue_that_is_not_declared_raises() -> None:
    with pytest.raises(QueueNotFound):
        current_app.amqp.router.route({"queue": "notificatoins"}, record_heartbeat.name)


class Unique(ProjectTask):
    """A kind of tasks that an app may have."""


@pytest.mark.parametrize("base", [None, DjangoTask, Unique])
def test_every_task_is_one_of_this_project(base: type[Task[..., Any]] | None) -> None:
    def nothing() -> None:
        """Do nothing."""

    make: Any = current_app.task
    task = make(nothing, name="tests.nothing", base=base)
    task()
    assert isinstance(current_app.tasks.pop(task.name), Unique if base is Unique else ProjectTask)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A task as a worker calls it."""
    task: Any = current_app.tasks[record_heartbeat.name]
    monkeypatch.setattr(task, "run", lambda: "done")
    task.push_request(called_directly=False, is_eager=False, id="1", args=(), kwargs={}, retries=2)
    yield task
    task.pop_request()


def test_what_a_task_returns_is_passed_on(task: Any) -> None:
    assert task() == "done"


@pytest.mark.parametrize("error", [InterfaceError("closed"), OperationalError("gone")])
def test_a_task_without_its_database_is_tried_again(
    task: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def run() -> None:
        raise error

    sent: list[Any] = []
    monkeypatch.setattr(task, "run", run)
    monkeypatch.setattr(Signature, "apply_async", lambda signature: sent.append(signature))
    with pytest.raises(Retry):
        task()
    [signature] = sent
    assert signature.options["retries"] == 3
    assert 0 <= signature.options["countdown"] <= LONGEST_DATABASE_DELAY
    assert not hasattr(task, "override_max_retries")
    task.request.retries = DATABASE_RETRIES
    with pytest.raises(type(error)):
        task()


def test_a_retry_that_the_broker_does_not_take_puts_the_message_back(
    task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any) -> None:
        raise BrokerError("away")

    monkeypatch.setattr(Signature, "apply_async", refuse)
    with pytest.raises(Reject) as rejection:
        task.retry(countdown=1)
    assert vars(rejection.value)["requeue"]


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("apps.notifications.tasks.send_email", "notifications"),
        ("apps.notifications.tasks.send_webhook", "notifications"),
        ("apps.operations.tasks.record_heartbeat", "maintenance"),
        ("apps.elsewhere.tasks.task", "default"),
    ],
)
def test_tasks_go_to_their_queue(task: str, queue: str) -> None:
    assert current_app.amqp.router.route({}, task)["queue"].name == queue


def test_the_settings_reach_celery_under_its_own_names() -> None:
    """A setting that Celery does not know would be ignored without a word."""
    known = {f"CELERY_{name.upper()}" for name in defaults.DEFAULTS}
    ours = {name for name in dir(settings) if name.startswith("CELERY_")}
    assert ours <= known
