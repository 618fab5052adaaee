"""Two beats at once are noticed."""

from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.core import mail
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from apps.operations import presence
from apps.operations.checks.schedule import check_beat
from apps.operations.models import RunningBeat
from apps.operations.presence import Presence, alert_doubled_beats, doubled_beats
from apps.operations.tasks import delete_old_failures


@pytest.fixture(autouse=True)
def _kept_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "close", lambda: None)


def beat_on(host: str, started: float, seen: float = 0) -> RunningBeat:
    """Make the row of a beat.

    Args:
        host: Where it runs.
        started: Seconds since it was started.
        seen: Seconds since it was last seen.
    """
    now = timezone.now()
    return RunningBeat.objects.create(
        name=f"{host}:1:{started}",
        started_at=now - timedelta(seconds=started),
        seen_at=now - timedelta(seconds=seen),
    )


@pytest.mark.django_db
def test_a_beat_shows_that_it_runs_and_leaves_nothing_behind() -> None:
    beat = Presence()
    beat.show()
    [first] = RunningBeat.objects.all()
    beat.show()
    [second] = RunningBeat.objects.all()
    assert second.started_at == first.started_at <= first.seen_at <= second.seen_at
    beat.vanish()
    assert not RunningBeat.objects.exists()


@pytest.mark.parametrize("step", ["show", "vanish"])
def test_a_beat_bears_that_the_database_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    def fail(**_: Any) -> None:
        raise OperationalError("refused")

    monkeypatch.setattr(RunningBeat.objects, "filter", fail)
    getattr(Presence(), step)()
    assert "OperationalError" in caplog.text


def test_a_presence_is_shown_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    beat = Presence()

    def show() -> None:
        seen.append("shown")
        if len(seen) == 3:
            beat._ended.set()

    monkeypatch.setattr(presence, "INTERVAL", 0.001)
    monkeypatch.setattr(beat, "show", show)
    monkeypatch.setattr(beat, "vanish", lambda: seen.append("gone"))
    beat.start()
    beat.join(10)
    beat.stop()
    assert seen == ["shown", "shown", "shown", "gone"]


@pytest.mark.django_db
def test_two_beats_that_run_side_by_side_are_doubled() -> None:
    first, second = beat_on("one", started=100, seen=5), beat_on("two", started=50, seen=1)
    assert doubled_beats() == [first, second]
    assert list(map(str, doubled_beats())) == ["process 1 on one", "process 1 on two"]
    assert doubled_beats(longer_than=timedelta(seconds=40)) == [first, second]
    assert doubled_beats(longer_than=timedelta(seconds=50)) == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "other",
    [{"started": 600, "seen": 60}, {"started": 600, "seen": 25}],
    ids=["long gone", "killed, and started again at once"],
)
def test_a_beat_that_is_gone_is_not_doubled(other: dict[str, float]) -> None:
    beat_on("one", **other)
    beat_on("two", started=20)
    assert doubled_beats() == []


@pytest.mark.django_db
def test_doctor_names_the_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(current_app.conf, "task_always_eager", False)
    beat_on("one", started=100)
    beat_on("two", started=50)
    [problem] = check_beat()
    assert problem == (
        "2 of them run (process 1 on one and process 1 on two) and each sends every task: "
        "stop all but one."
    )


@pytest.mark.django_db
@pytest.mark.parametrize(("minutes", "mails"), [(2, 0), (4, 1)])
def test_beats_that_run_side_by_side_for_minutes_are_alerted_once(
    settings: Settings, minutes: float, mails: int
) -> None:
    settings.ALERT_RECIPIENTS = ["operator@example.com"]
    beat_on("one", started=3600)
    beat_on("two", started=minutes * 60)
    alert_doubled_beats()
    alert_doubled_beats()
    assert len(mail.outbox) == mails
    for alert in mail.outbox:
        assert alert.subject.endswith("more than one beat runs")
        assert "- process 1 on two, since " in alert.body


@pytest.mark.django_db
def test_beats_that_are_long_gone_are_forgotten() -> None:
    beat_on("one", started=3 * 86400, seen=2 * 86400)
    kept = beat_on("two", started=3 * 86400, seen=3600)
    delete_old_failures()
    assert list(RunningBeat.objects.all()) == [kept]
