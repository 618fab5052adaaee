"""What beat writes into Redis."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery.schedules import schedule
from django.db import connection
from django.utils import timezone
from redbeat import RedBeatScheduler

from apps.operations.beat import Scheduler
from apps.operations.models import ScheduledRun


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("known", "rescheduled"),
    [(None, True), (timedelta(days=7), True), (timedelta(minutes=50, seconds=1), False)],
    ids=["new", "old", "the same run"],
)
def test_what_another_beat_sent_last_counts(
    monkeypatch: pytest.MonkeyPatch, known: timedelta | None, rescheduled: bool
) -> None:
    now = timezone.now()
    begun = now - timedelta(minutes=50)
    last_run = now - known if known else None
    written: list[Any] = []

    class Entry:
        """An entry in Redis."""

        schedule = schedule(timedelta(hours=1))
        last_run_at = last_run or now

        def reschedule(self, last_run_at: Any) -> None:
            """Note when it ran last."""
            written.append(last_run_at)

    store = SimpleNamespace(
        generate_key=lambda app, name: f"redbeat:{name}",
        load_meta=lambda key, app: {"last_run_at": last_run},
        from_key=lambda key, app: Entry(),
    )
    monkeypatch.setattr(connection, "close", lambda: None)
    monkeypatch.setattr(RedBeatScheduler, "update_from_dict", lambda self, entries: None)
    monkeypatch.setattr(Scheduler, "Entry", store)
    for name in ("poll", "vanished"):
        ScheduledRun.objects.create(name=name, schedule="", expected_since=now, started_at=begun)
    scheduler = Scheduler.__new__(Scheduler)
    scheduler.app = None
    scheduler.update_from_dict({"poll": {}})
    assert written == ([begun] if rescheduled else [])
