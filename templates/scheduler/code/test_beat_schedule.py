"""What beat reads from the code and from its file."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.db import connection
from django.utils import timezone

from apps.operations import presence
from apps.operations.beat import Scheduler
from apps.operations.models import ScheduledRun
from apps.operations.schedule import PeriodicTask

POLL = PeriodicTask(
    name="poll", task="apps.operations.tasks.record_heartbeat", schedule=timedelta(hours=1)
)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "close", lambda: None)
    monkeypatch.setattr(presence.Presence, "start", lambda self: None)
    monkeypatch.setattr(presence.Presence, "stop", lambda self: None)
    monkeypatch.setitem(current_app.conf, "beat_schedule", {"poll": POLL.as_celery()})


def start_beat(file: Path) -> tuple[Scheduler, Any]:
    """Return a beat that keeps its notes in a file, and its entry."""
    scheduler = Scheduler(current_app, schedule_filename=str(file))
    return scheduler, scheduler.schedule["poll"]


@pytest.mark.django_db
@pytest.mark.parametrize("known", [None, timedelta(days=7)], ids=["new", "old"])
def test_what_another_beat_sent_last_counts(tmp_path: Path, known: timedelta | None) -> None:
    file = tmp_path / "schedule"
    now = timezone.now()
    if known:
        scheduler, entry = start_beat(file)
        assert entry.last_run_at >= now
        entry.last_run_at = now - known
        scheduler.close()
    begun = now - timedelta(minutes=50)
    ScheduledRun.objects.create(name="poll", schedule="any", expected_since=now, started_at=begun)
    for _ in range(2):
        scheduler, entry = start_beat(file)
        assert entry.last_run_at == begun
        scheduler.close()
