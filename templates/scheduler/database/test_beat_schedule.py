"""What beat reads from the database."""

from datetime import timedelta

import pytest
from celery import current_app
from celery.schedules import crontab
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import PeriodicTask as Row

from apps.operations.beat import Scheduler
from apps.operations.models import ScheduledRun
from apps.operations.overdue import expect_runs
from apps.operations.schedule import PeriodicTask
from apps.operations.schedule_sync import sync_schedule

TASK = "apps.operations.tasks.record_heartbeat"
POLL = PeriodicTask(name="poll", task=TASK, schedule=timedelta(hours=1))


@pytest.mark.django_db
@pytest.mark.parametrize("known", [None, timedelta(days=7)], ids=["new", "old"])
def test_what_another_beat_sent_last_counts(
    monkeypatch: pytest.MonkeyPatch, known: timedelta | None
) -> None:
    monkeypatch.setattr(connection, "close", lambda: None)
    sync_schedule([POLL])
    now = timezone.now()
    begun = now - timedelta(minutes=50)
    if known:
        Row.objects.filter(name="poll").update(last_run_at=now - known)
    [row] = Scheduler(current_app, lazy=True).enabled_models()
    assert row.last_run_at == (now - known if known else None)
    ScheduledRun.objects.create(name="poll", schedule="any", expected_since=now, started_at=begun)
    [row] = Scheduler(current_app, lazy=True).enabled_models()
    assert row.last_run_at == begun


@pytest.mark.django_db
def test_a_start_time_that_passed_while_no_beat_ran_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "close", lambda: None)
    sync_schedule([POLL])
    Row.objects.update(start_time=timezone.now() - timedelta(minutes=5))
    expect_runs()
    entries = Scheduler(current_app, lazy=True).all_as_schedule()
    assert entries["poll"].is_due().is_due


@pytest.mark.django_db
def test_a_crontab_that_fell_due_while_no_beat_ran_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "close", lambda: None)
    due = timezone.localtime() - timedelta(hours=6)
    moment = crontab(hour=str(due.hour), minute="0")
    sync_schedule([PeriodicTask(name="report", task=TASK, schedule=moment)])
    Row.objects.filter(name="report").update(last_run_at=due - timedelta(days=1))
    entries = Scheduler(current_app, lazy=True).all_as_schedule()
    assert entries["report"].is_due().is_due


@pytest.mark.django_db
@pytest.mark.parametrize("expires_by_itself", [True, False])
def test_old_results_are_deleted_where_they_do_not_expire_by_themselves(
    monkeypatch: pytest.MonkeyPatch, expires_by_itself: bool
) -> None:
    monkeypatch.setattr(connection, "close", lambda: None)
    monkeypatch.setattr(current_app.backend, "supports_autoexpire", expires_by_itself)
    Scheduler(current_app, lazy=True).install_default_entries({})
    entries = Row.objects.filter(task="celery.backend_cleanup")
    assert entries.exists() != expires_by_itself
