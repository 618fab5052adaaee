"""The list of periodic tasks."""

{% if cookiecutter.scheduler in ("code", "redbeat") -%}
from datetime import timedelta

{% endif -%}
from celery import current_app
{%- if cookiecutter.scheduler != "database" %}
from celery.schedules import crontab
{%- endif %}
from django.conf import settings
{%- if cookiecutter.scheduler != "database" %}

from apps.operations.schedule import PeriodicTask
{%- endif %}


def test_names_are_unique() -> None:
    names = [entry.name for entry in settings.PERIODIC_TASKS]
    assert len(set(names)) == len(names)


def test_every_task_exists_and_its_queue_is_declared() -> None:
    current_app.loader.import_default_modules()
    for entry in settings.PERIODIC_TASKS:
        assert entry.task in current_app.tasks
        current_app.amqp.router.route({"queue": entry.queue} if entry.queue else {}, entry.task)
{%- if cookiecutter.scheduler in ("code", "redbeat") %}


def test_beat_gets_every_entry() -> None:
    assert set(settings.CELERY_BEAT_SCHEDULE) == {entry.name for entry in settings.PERIODIC_TASKS}


def test_an_entry_says_all_that_beat_needs() -> None:
    entry = PeriodicTask(
        name="report",
        task="apps.operations.tasks.record_heartbeat",
        schedule=timedelta(minutes=5),
        args=("report",),
        kwargs={"full": True},
        queue="maintenance",
        expires=timedelta(minutes=4),
    )
    assert entry.as_celery() == {
        "task": "apps.operations.tasks.record_heartbeat",
        "schedule": timedelta(minutes=5),
        "args": ("report",),
        "kwargs": {"full": True},
        "options": {
            "headers": {"periodic_task_name": "report"},
            "queue": "maintenance",
            "expires": 240.0,
        },
    }
{%- endif %}
{%- if cookiecutter.scheduler != "database" %}


def test_an_entry_says_no_more_than_it_was_told() -> None:
    entry = PeriodicTask(name="report", task="report", schedule=crontab())
    assert entry.options() == {"headers": {"periodic_task_name": "report"}}
{%- endif %}
