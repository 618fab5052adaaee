"""What the Celery application really works with."""

import pytest
from celery import current_app
from celery.app import defaults
from celery.exceptions import QueueNotFound
from django.conf import settings
from django.utils.module_loading import import_string

from apps.operations.tasks import record_heartbeat


def test_django_processes_use_the_project_application() -> None:
    application = import_string(settings.TASK_APPLICATION)
    assert record_heartbeat.app is application
    assert current_app.main == application.main


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
