"""What the hosting's cron runs."""

import logging
from datetime import timedelta
from typing import Any

import pytest
from celery.schedules import crontab
from django.core import mail
from django.core.management import CommandError, call_command
from pytest_django import Settings

from apps.operations import tasks
from apps.operations.management.commands import enqueue
from apps.operations.models import Heartbeat, ScheduledRun
from apps.operations.overdue import expect_runs
from apps.operations.schedule import PeriodicTask

looks: list[str] = []


@pytest.fixture(autouse=True)
def _look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks.clear()
    monkeypatch.setattr(enqueue, "alert_overdue", looks.append)


@pytest.mark.django_db
def test_an_entry_is_sent_by_its_name_and_the_run_is_recorded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    expect_runs()
    call_command("enqueue", "heartbeat")
    assert Heartbeat.objects.get().name == "cron"
    assert ScheduledRun.objects.get(name="heartbeat").finished_at
    assert "sent heartbeat" in caplog.text
    assert looks == ["cron"]


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(CommandError, match=r"invalid choice: 'hartbeat'.*heartbeat.*clear-expired"):
        call_command("enqueue", "hartbeat")


@pytest.mark.django_db
def test_an_entry_that_can_not_be_sent_is_an_error_and_alerted(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("refused")

    settings.ALERT_RECIPIENTS = ["operator@example.com"]
    monkeypatch.setattr(tasks.record_heartbeat, "apply_async", refuse)
    with pytest.raises(CommandError, match="heartbeat could not be sent to the broker: refused"):
        call_command("enqueue", "heartbeat")
    [alert] = mail.outbox
    assert alert.subject.endswith("heartbeat could not be sent")


@pytest.mark.django_db
def test_an_entry_is_sent_whether_or_not_the_look_at_the_others_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: str) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(enqueue, "alert_overdue", fail)
    call_command("enqueue", "heartbeat")
    assert Heartbeat.objects.exists()
    assert "can't look for overdue tasks: ConnectionError" in caplog.text


def test_an_entry_says_all_that_a_message_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, Any] = {}
    monkeypatch.setattr(
        tasks.record_heartbeat,
        "apply_async",
        lambda args, kwargs, **options: sent.update(options, args=args, kwargs=kwargs),
    )
    entry = PeriodicTask(
        name="report",
        task="apps.operations.tasks.record_heartbeat",
        schedule=crontab(minute="*/5", hour="8-17", day_of_week="mon-fri"),
        args=("report",),
        kwargs={"full": True},
        queue="maintenance",
        expires=timedelta(minutes=4),
    )
    entry.enqueue()
    assert sent == {
        "args": ("report",),
        "kwargs": {"full": True},
        "queue": "maintenance",
        "expires": 240.0,
        "headers": {"periodic_task_name": "report"},
    }
    assert entry.as_cron() == "*/5 8-17 * * mon-fri"


def test_an_entry_has_one_field_for_days() -> None:
    both = crontab(day_of_week="mon", day_of_month="1")
    entry = PeriodicTask(name="report", task="report", schedule=both)
    with pytest.raises(ValueError, match="report has a day_of_week and a day_of_month"):
        entry.as_cron()
