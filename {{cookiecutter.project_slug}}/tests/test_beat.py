"""The start of beat, and its signs of life."""

from typing import Any

import pytest
from celery import current_app
from celery.apps.beat import Beat

{% if cookiecutter.scheduler != "redbeat" -%}
from apps.operations import beat as beat_module
from apps.operations import heartbeat, programs
from apps.operations.beat import Scheduler
{%- else -%}
from apps.operations import programs
{%- endif %}


def do_nothing(*_: Any) -> None:
    """Be a method that has nothing to do."""


def test_beat_prepares_watches_and_prints_no_banner(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []
    watches: list[str] = []

    class FakeWatch:
        """A watch that only notes that it was started."""

        def __init__(self, process: str) -> None:
            self.process = process

        def start(self) -> None:
            """Be started."""
            watches.append(self.process)

    monkeypatch.setattr(programs, "prepare", prepared.append)
    monkeypatch.setattr(programs, "Watch", FakeWatch)
    monkeypatch.setattr(Beat, "init_loader", do_nothing)
    beat: Any = current_app.Beat()
    beat.init_loader()
    assert prepared == watches == ["beat"]
    assert beat.quiet is True
{%- if cookiecutter.scheduler != "redbeat" %}


def test_beat_touches_its_heartbeat_at_each_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(heartbeat, "touch", seen.append)
    monkeypatch.setattr(heartbeat, "stop", lambda process: seen.append(f"{process} stopped"))
    base = Scheduler.__mro__[1]
    monkeypatch.setattr(base, "tick", lambda self: 5.0)
    monkeypatch.setattr(base, "close", do_nothing)
    scheduler = Scheduler.__new__(Scheduler)
    monkeypatch.setattr(scheduler, "_presence", FakePresence(seen), raising=False)
    assert scheduler.tick() == 5.0
    scheduler.close()
    assert seen == ["beat", "beat stopped", "presence ended"]


class FakePresence:
    """A presence that only notes what it was told."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def start(self) -> None:
        """Be started."""
        self.seen.append("presence shown")

    def stop(self) -> None:
        """Be stopped."""
        self.seen.append("presence ended")


def test_a_beat_lets_others_see_it_once_it_has_read_the_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(beat_module, "Presence", lambda: FakePresence(seen))
    base = Scheduler.__mro__[1]
    monkeypatch.setattr(base, "setup_schedule", lambda self: seen.append("schedule read"))
    Scheduler(current_app)
    assert seen == ["schedule read", "presence shown"]
{%- endif %}
