"""Bringing the schedule in the code into the database."""

from dataclasses import replace
from datetime import timedelta
from io import StringIO

import pytest
from celery.schedules import crontab
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django_celery_beat.models import CrontabSchedule
from django_celery_beat.models import PeriodicTask as Row

from apps.operations.management.commands import release
from apps.operations.models import ScheduleEntry
from apps.operations.schedule import PeriodicTask
from apps.operations.schedule_sync import sync_schedule

pytestmark = pytest.mark.django_db

DIGEST = PeriodicTask(
    name="digest",
    task="apps.operations.tasks.record_heartbeat",
    schedule=crontab(hour="8", minute="0"),
    args=("digest",),
    expires=timedelta(hours=1),
)
POLL = PeriodicTask(
    name="poll", task="apps.operations.tasks.record_heartbeat", schedule=timedelta(minutes=5)
)


def row(name: str) -> Row:
    """Return a row of the schedule."""
    return Row.objects.get(name=name)


def test_new_entries_are_added() -> None:
    lines = sync_schedule([DIGEST, POLL])
    assert lines == ["Schedule: digest added.", "Schedule: poll added."]
    digest = row("digest")
    assert digest.enabled
    assert digest.args == '["digest"]'
    assert digest.expire_seconds == 3600
    assert digest.crontab.hour == "8"
    assert str(digest.crontab.timezone) == settings.TIME_ZONE
    assert row("poll").interval.every == 5 * 60
    assert str(ScheduleEntry.objects.get(name="poll")) == "poll"


def test_nothing_happens_the_second_time() -> None:
    sync_schedule([DIGEST, POLL])
    before = row("digest").date_changed
    assert sync_schedule([DIGEST, POLL]) == []
    assert row("digest").date_changed == before


def test_an_entry_that_changed_in_the_code_is_updated() -> None:
    sync_schedule([DIGEST])
    changed = replace(DIGEST, schedule=timedelta(hours=1), args=("other",))
    assert sync_schedule([changed]) == ["Schedule: digest updated."]
    assert row("digest").crontab is None
    assert row("digest").interval.every == 60 * 60
    assert row("digest").args == '["other"]'


def test_an_edit_by_hand_survives_changes_in_the_code() -> None:
    sync_schedule([DIGEST])
    edited = row("digest")
    edited.crontab = CrontabSchedule.objects.create(hour="9", minute="30")
    edited.save()
    for _ in range(3):
        lines = sync_schedule([replace(DIGEST, args=("other",))])
        assert lines == ["Schedule: digest was edited by hand and is left alone."]
    assert row("digest").crontab.hour == "9"


def test_a_pause_by_hand_survives_changes_in_the_code() -> None:
    sync_schedule([DIGEST])
    paused = row("digest")
    paused.enabled = False
    paused.save()
    sync_schedule([replace(DIGEST, args=("other",))])
    assert not row("digest").enabled
    assert row("digest").args == '["other"]'


def test_an_entry_that_vanished_is_disabled_and_comes_back_enabled() -> None:
    sync_schedule([DIGEST])
    assert sync_schedule([]) == [
        "Schedule: digest is no longer in the code and was disabled.",
    ]
    assert not row("digest").enabled
    assert sync_schedule([]) == []
    assert sync_schedule([DIGEST]) == ["Schedule: digest is back and enabled."]
    assert row("digest").enabled


def test_what_an_administrator_disabled_comes_back_disabled() -> None:
    sync_schedule([DIGEST])
    Row.objects.filter(name="digest").update(enabled=False)
    sync_schedule([])
    assert sync_schedule([DIGEST]) == [
        "Schedule: digest is back and disabled, as it was before.",
    ]
    assert not row("digest").enabled


@pytest.mark.parametrize(
    "moment", [timedelta(milliseconds=500), crontab(hour=[1, 2])], ids=["half-second", "list"]
)
def test_what_the_database_can_not_hold_is_refused(moment: crontab | timedelta) -> None:
    with pytest.raises(ImproperlyConfigured, match="The schedule of digest can't be kept"):
        sync_schedule([replace(DIGEST, schedule=moment)])


def test_a_release_says_what_the_database_can_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    unusable = replace(DIGEST, schedule=timedelta(milliseconds=500))
    monkeypatch.setattr(settings, "PERIODIC_TASKS", [unusable])
    monkeypatch.setattr(release, "call_command", lambda *_, **__: None)
    with pytest.raises(CommandError, match="The schedule of digest can't be kept"):
        call_command("release", stdout=StringIO())


def test_a_row_made_by_hand_is_never_touched() -> None:
    interval = {"every": 1, "period": "days"}
    sync_schedule([POLL])
    by_hand = Row.objects.create(
        name="digest", task="own", interval=type(row("poll").interval).objects.create(**interval)
    )
    assert sync_schedule([POLL, DIGEST]) == [
        "Schedule: digest was made by hand and is left alone.",
    ]
    by_hand.refresh_from_db()
    assert by_hand.task == "own"
    sync_schedule([])
    by_hand.refresh_from_db()
    assert by_hand.enabled


def test_an_entry_that_was_deleted_by_hand_stays_so() -> None:
    sync_schedule([DIGEST])
    row("digest").delete()
    assert sync_schedule([DIGEST]) == ["Schedule: digest was deleted by hand and stays so."]
    assert sync_schedule([]) == []
    assert not ScheduleEntry.objects.exists()
