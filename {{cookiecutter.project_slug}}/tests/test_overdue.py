"""Periodic tasks that did not run when they should have."""

import threading
import time
from datetime import datetime, timedelta
{%- if cookiecutter.scheduler == "database" %}
from zoneinfo import ZoneInfo
{%- endif %}

import pytest
{%- if cookiecutter.scheduler != "database" %}
from celery import Celery
{%- endif %}
from celery.schedules import crontab
from django.core import mail
from django.db import OperationalError
from django.utils import timezone
{%- if cookiecutter.scheduler == "database" %}
from django_celery_beat.models import CrontabSchedule
from django_celery_beat.models import PeriodicTask as Row
{%- endif %}
from pytest_django import Settings

from apps.operations import overdue, watch
from apps.operations.alerts import PAUSE
from apps.operations.models import ScheduledRun
from apps.operations.overdue import alert_overdue, expect_runs, overdue_entries
from apps.operations.schedule import PeriodicTask
{%- if cookiecutter.scheduler == "database" %}
from apps.operations.schedule_sync import sync_schedule
{%- endif %}
from apps.operations.tasks import record_heartbeat

TASK = "apps.operations.tasks.record_heartbeat"
{%- if cookiecutter.scheduler == "platform" %}
EVERY_MINUTE = crontab()
{%- else %}
EVERY_MINUTE = timedelta(minutes=1)
{%- endif %}
EVERY_OTHER_MINUTE = crontab(minute="*/2")


def set_schedule(settings: Settings, **entries: {% if cookiecutter.scheduler != "platform" %}timedelta | {% endif %}crontab) -> None:
    """Let the schedule have these entries, and no other."""
    tasks = [PeriodicTask(name=name, task=TASK, schedule=when) for name, when in entries.items()]
{%- if cookiecutter.scheduler == "database" %}
    sync_schedule(tasks)
{%- else %}
    settings.PERIODIC_TASKS = tasks
{%- endif %}
    expect_runs()


def expect_since(name: str, **ago: float) -> datetime:
    """Let an entry be expected to run since some time ago; return that time."""
    since = timezone.now() - timedelta(**ago)
    ScheduledRun.objects.filter(name=name).update(expected_since=since)
    return since


def names() -> list[str]:
    """Return the names of the overdue entries."""
    return [entry.name for entry in overdue_entries()]


{% if cookiecutter.scheduler == "platform" -%}
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("schedule", "minutes", "late"),
    [
        (EVERY_MINUTE, 10, False),
        (EVERY_MINUTE, 13, True),
        (crontab(minute="*/30"), 71, True),
    ],
)
def test_a_run_may_be_late_by_ten_minutes(
    settings: Settings, schedule: crontab, minutes: float, late: bool
) -> None:
    set_schedule(settings, poll=schedule)
    expect_since("poll", minutes=minutes)
    assert names() == (["poll"] if late else [])
{%- else -%}
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("interval", "minutes", "late"),
    [(1, 2.9, False), (1, 3.1, True), (60, 65.9, False), (60, 66.1, True)],
)
def test_an_interval_may_be_late_by_two_minutes_or_a_tenth(
    settings: Settings, interval: float, minutes: float, late: bool
) -> None:
    set_schedule(settings, poll=timedelta(minutes=interval))
    expect_since("poll", minutes=minutes)
    assert names() == (["poll"] if late else [])
{%- endif %}


@pytest.mark.django_db
def test_an_entry_is_not_overdue_before_it_could_have_run(settings: Settings) -> None:
    set_schedule(settings, poll=EVERY_MINUTE, report=crontab(hour="3", minute="30"))
    assert names() == []


@pytest.mark.django_db
def test_a_crontab_is_compared_with_its_last_run(settings: Settings) -> None:
    due = timezone.localtime() - timedelta(hours=5)
    set_schedule(settings, report=crontab(hour=str(due.hour), minute="0"))
    expect_since("report", hours=7)
    [entry] = overdue_entries()
    assert entry.due == due.replace(minute=0, second=0, microsecond=0)
    assert str(entry).endswith("; it never ran")
    last_run = timezone.now() - timedelta(days=1)
    ScheduledRun.objects.update(started_at=last_run)
    [entry] = overdue_entries()
    assert f"it ran last at {last_run:%Y-%m-%d %H:%M:%S}" in str(entry)
    ScheduledRun.objects.update(started_at=timezone.now() - timedelta(hours=4))
    assert names() == []


@pytest.mark.django_db
def test_a_new_schedule_counts_from_now(settings: Settings) -> None:
    set_schedule(settings, poll=EVERY_MINUTE, report=EVERY_MINUTE)
    expect_since("poll", hours=1)
    since = expect_since("report", hours=1)
    set_schedule(settings, poll=EVERY_OTHER_MINUTE, report=EVERY_MINUTE)
    assert names() == ["report"]
    assert ScheduledRun.objects.get(name="report").expected_since == since


@pytest.mark.django_db
def test_an_entry_that_vanished_is_not_overdue(settings: Settings) -> None:
    set_schedule(settings, poll=EVERY_MINUTE, report=EVERY_MINUTE)
    expect_since("poll", hours=1)
    set_schedule(settings, report=EVERY_MINUTE)
    assert [str(run) for run in ScheduledRun.objects.all()] == ["report"]


@pytest.mark.django_db
def test_an_entry_is_not_overdue_while_its_new_schedule_is_not_known_yet(
    settings: Settings,
) -> None:
    set_schedule(settings, poll=EVERY_MINUTE)
    expect_since("poll", hours=1)
    ScheduledRun.objects.update(schedule="another")
    assert names() == []


@pytest.mark.django_db
def test_a_run_is_recorded_by_the_name_of_its_entry(settings: Settings) -> None:
    set_schedule(settings, poll=EVERY_MINUTE, report=EVERY_MINUTE)
    record_heartbeat.apply(("{{ cookiecutter.__sender }}",), headers={"periodic_task_name": "poll"})
    record_heartbeat.apply(("{{ cookiecutter.__sender }}",))
    poll = ScheduledRun.objects.get(name="poll")
    assert poll.started_at
    assert poll.finished_at
    assert poll.started_at <= poll.finished_at
    report = ScheduledRun.objects.get(name="report")
    assert report.started_at is report.finished_at is None


@pytest.mark.django_db
def test_a_run_that_can_not_be_recorded_is_a_run_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OperationalError("refused")

    monkeypatch.setattr(overdue, "ping_database", fail)
    record_heartbeat.apply(("{{ cookiecutter.__sender }}",), headers={"periodic_task_name": "poll"}, throw=True)
    assert "the run of poll could not be recorded: OperationalError" in caplog.text


@pytest.fixture
def _late(settings: Settings) -> None:
    settings.ALERT_RECIPIENTS = ["operator@example.com"]
    set_schedule(settings, poll=EVERY_MINUTE, report=EVERY_OTHER_MINUTE)
    expect_since("poll", hours=1)


@pytest.mark.django_db
@pytest.mark.usefixtures("_late")
def test_an_overdue_entry_is_alerted_once_by_whoever_sees_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for process in ("worker", "{{ cookiecutter.__sender }}"):
        alert_overdue(process)
    [alert] = mail.outbox
    assert alert.subject.endswith("poll is overdue")
    assert "A worker process noticed this" in alert.body
    assert caplog.text.count("overdue: poll was due at") == 1


@pytest.mark.django_db
@pytest.mark.usefixtures("_late")
def test_entries_that_are_overdue_together_are_one_mail() -> None:
    expect_since("report", hours=1)
    alert_overdue("{{ cookiecutter.__sender }}")
    [alert] = mail.outbox
    assert alert.subject.endswith("2 periodic tasks are overdue")
    assert "- poll was due at" in alert.body
    assert "- report was due at" in alert.body


@pytest.mark.django_db
@pytest.mark.usefixtures("_late")
def test_an_overdue_entry_that_could_not_be_told_is_told_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as mail_server_down:
        mail_server_down.setattr(overdue, "send_now", lambda subject, body: False)
        alert_overdue("worker")
    alert_overdue("worker")
    assert mail.outbox == []
    later = time.time() + PAUSE + 1
    monkeypatch.setattr("time.time", lambda: later)
    alert_overdue("worker")
    assert len(mail.outbox) == 1


def test_a_watch_looks_again_and_again_whatever_happens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looked: list[str] = []
    enough = threading.Event()

    def look(process: str) -> None:
        looked.append(process)
        if len(looked) == 1:
            raise OperationalError("refused")
        enough.set()

    monkeypatch.setattr(overdue, "alert_overdue", look)
    monkeypatch.setattr(watch, "FIRST_LOOK", 0.001)
    monkeypatch.setattr(watch, "INTERVAL", 0.001)
    watcher = watch.Watch("worker")
    watcher.start()
    assert enough.wait(10)
    watcher.stop()
    watcher.join(10)
    assert not watcher.is_alive()
    assert set(looked) == {"worker"}
    assert caplog.text.count("can't look at the schedule: OperationalError") == 1
{%- if cookiecutter.scheduler == "database" %}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {"enabled": False},
        {"start_time": timezone.now() + timedelta(days=1)},
        {"expires": timezone.now() - timedelta(days=1)},
    ],
    ids=["paused", "later", "expired"],
)
@pytest.mark.usefixtures("_late")
def test_what_the_admin_says_counts(fields: dict[str, bool | datetime]) -> None:
    assert names() == ["poll"]
    Row.objects.filter(name="poll").update(**fields)
    assert names() == []


@pytest.mark.django_db
def test_a_crontab_is_read_in_its_time_zone() -> None:
    due = datetime.now(ZoneInfo("Asia/Tokyo")) - timedelta(hours=5)
    when = CrontabSchedule.objects.create(hour=due.hour, minute="0", timezone="Asia/Tokyo")
    Row.objects.create(name="report", task=TASK, crontab=when)
    expect_runs()
    expect_since("report", hours=7)
    [entry] = overdue_entries()
    assert entry.due == due.replace(minute=0, second=0, microsecond=0)
{%- else %}


@pytest.mark.django_db
def test_a_crontab_is_read_in_the_time_zone_of_the_project(settings: Settings) -> None:
    application = Celery(set_as_current=False)
    application.config_from_object({"timezone": "Asia/Tokyo"})
    due = datetime.now(application.timezone) - timedelta(hours=5)
    set_schedule(settings, report=crontab(hour=str(due.hour), minute="0", app=application))
    expect_since("report", hours=7)
    [entry] = overdue_entries()
    assert entry.due == due.replace(minute=0, second=0, microsecond=0)
{%- endif %}
