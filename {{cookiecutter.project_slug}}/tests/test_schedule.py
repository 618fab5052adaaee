"""The list of periodic tasks."""

from dataclasses import replace
{%- if cookiecutter.scheduler in ("code", "redbeat") %}
from datetime import timedelta
{%- endif %}
from typing import Any

import pytest
from celery.schedules import crontab
{%- if cookiecutter.scheduler in ("code", "redbeat") %}
from django.conf import settings as django_settings
{%- endif %}
from pytest_django import Settings

from apps.operations.schedule import PeriodicTask
from apps.operations.system_checks import check_entries


def test_the_schedule_has_no_mistake() -> None:
    assert check_entries() == []


ENTRY = PeriodicTask(
    name="digest", task="apps.operations.tasks.send_failure_digest", schedule=crontab()
)


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"schedule": "0 8 * * *"}, "digest has the schedule '0 8 * * *': write crontab(...)"),
        ({"queue": "reports"}, "digest is for the queue reports; declared are default, "),
        ({"args": (object(),)}, "digest has arguments that are no JSON (Object of type object"),
        (
            {"task": "apps.operations.tasks.send_failure_digst"},
            "which is no task: is it apps.operations.tasks.send_failure_digest?",
        ),
        ({"task": "nothing.like.it"}, "digest runs nothing.like.it, which is no task."),
        ({"args": (1,)}, "with other arguments than it takes"),
    ],
)
def test_a_mistake_in_the_schedule_is_named(
    settings: Settings, changes: dict[str, Any], mistake: str
) -> None:
    settings.PERIODIC_TASKS = (replace(ENTRY, **changes),)
    assert mistake in check_entries()[0].msg


def test_two_entries_of_one_name_are_named(settings: Settings) -> None:
    settings.PERIODIC_TASKS = (ENTRY, ENTRY)
    assert [message.msg for message in check_entries()] == [
        "SCHEDULE: 2 entries have the name digest: each needs one of its own."
    ]
{%- if cookiecutter.scheduler in ("code", "redbeat") %}


def test_beat_gets_every_entry() -> None:
    names = {entry.name for entry in django_settings.PERIODIC_TASKS}
    assert set(django_settings.CELERY_BEAT_SCHEDULE) == names


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
