"""When the entries of the schedule ran last, from what beat knows and what workers recorded."""

from datetime import datetime, timedelta

import pytest
from celery.schedules import crontab, schedule
from django.db import OperationalError, connection
from django.utils import timezone

from apps.operations import last_runs
from apps.operations.last_runs import latest_run, recorded_runs
from apps.operations.models import ScheduledRun

HOURLY = schedule(timedelta(hours=1))


@pytest.fixture(autouse=True)
def _kept_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "close", lambda: None)


def ago(**units: float) -> datetime:
    """Return a time in the past."""
    return timezone.now() - timedelta(**units)


@pytest.mark.django_db
def test_runs_are_told_by_the_name_of_their_entry_and_never_lie_in_the_future() -> None:
    past, future = ago(hours=1), ago(hours=-1)
    entries = {"never": (past, None), "past": (future, past), "future": (past, future)}
    for name, (since, started_at) in entries.items():
        ScheduledRun.objects.create(
            name=name, schedule="any", expected_since=since, started_at=started_at
        )
    runs = recorded_runs()
    assert runs["never"] == runs["past"] == past
    assert runs["future"] < future


def test_a_beat_goes_on_without_the_database(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        """A table that can't be asked."""

        @property
        def objects(self) -> None:
            raise OperationalError("refused")

    monkeypatch.setattr(last_runs, "ScheduledRun", Broken())
    assert recorded_runs() == {}
    assert "can't ask when periodic tasks ran last: OperationalError" in caplog.text


@pytest.mark.parametrize(
    ("known", "recorded", "counts"),
    [
        (None, 30, 30),
        (40, 30, 40),
        (40, 50, 40),
        (90, 40, 90),
        (90, 20, 20),
        (24 * 60, 20, 20),
    ],
    ids=["unknown", "same run", "older", "began late", "sent by another", "long ago"],
)
def test_what_beat_knows_counts_until_another_sent_the_next_run(
    known: float | None, recorded: float, counts: float
) -> None:
    begun = ago(minutes=recorded)
    last_run = latest_run(HOURLY, None if known is None else ago(minutes=known), begun)
    assert abs(last_run - ago(minutes=counts)) < timedelta(minutes=1)


def test_a_crontab_that_another_sent_is_not_due_again() -> None:
    due = timezone.localtime() - timedelta(hours=2)
    when = crontab(hour=str(due.hour), minute="0")
    due = due.replace(minute=0, second=0, microsecond=0)
    known, begun = due - timedelta(days=1), due + timedelta(seconds=1)
    assert when.is_due(known).is_due
    assert latest_run(when, known, begun) == begun
    assert not when.is_due(begun).is_due
    assert latest_run(when, known, due - timedelta(minutes=5)) == known
