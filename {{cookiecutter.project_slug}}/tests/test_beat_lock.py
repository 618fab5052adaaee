"""Of several beats one ticks: the one that holds the lock in Redis."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from redbeat import RedBeatScheduler
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import LockNotOwnedError

from apps.operations import beat, heartbeat
from apps.operations.beat import Scheduler


class Lock:
    """A lock that another beat holds at first."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.extended: list[float] = []
        self.lua_extend: Any = None

    def acquire(self, *, blocking: bool) -> bool:
        assert not blocking
        self.refusals -= 1
        return self.refusals < 0

    def extend(self, seconds: float) -> None:
        self.extended.append(seconds)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what beat does, in order, as it does it."""
    events: list[str] = []

    def note(event: str, result: Any = None) -> Callable[..., Any]:
        def method(*_: Any) -> Any:
            events.append(event)
            return result

        return method

    monkeypatch.setattr(heartbeat, "touch", note("sign of life"))
    monkeypatch.setattr(heartbeat, "stop", note("no sign of life"))
    monkeypatch.setattr(RedBeatScheduler, "setup_schedule", note("schedule written"))
    monkeypatch.setattr(RedBeatScheduler, "tick", note("tick", 2.0))
    monkeypatch.setattr(RedBeatScheduler, "close", note("lock released"))
    monkeypatch.setattr(RedBeatScheduler, "reserve", note("reserved"))
    return events


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Lock:
    """Return the lock in Redis."""
    lock = Lock()
    client = SimpleNamespace(lock=lambda key, timeout: lock, register_script=lambda script: script)
    monkeypatch.setattr(beat, "get_redis", lambda app: client)
    return lock


@pytest.fixture
def scheduler(events: list[str], lock: Lock) -> Scheduler:
    """Return a scheduler that has not ticked yet."""
    scheduler = Scheduler.__new__(Scheduler)
    scheduler.app = None
    scheduler.lock_key = "lock"
    scheduler.lock_timeout = 20
    scheduler.max_interval = 5
    return scheduler


def fail(monkeypatch: pytest.MonkeyPatch, method: str, error: Exception) -> None:
    """Let a method of RedBeat's scheduler fail."""

    def raise_error(*_: Any) -> None:
        raise error

    monkeypatch.setattr(RedBeatScheduler, method, raise_error)


def test_the_beat_with_the_lock_writes_the_schedule_once_and_ticks(
    scheduler: Scheduler, events: list[str]
) -> None:
    scheduler.setup_schedule()
    assert events == []
    assert [scheduler.tick(), scheduler.tick()] == [2, 2]
    assert events == ["schedule written", "tick", "sign of life", "tick", "sign of life"]


def test_a_beat_that_waits_for_the_lock_shows_signs_of_life(
    scheduler: Scheduler, events: list[str], lock: Lock, caplog: pytest.LogCaptureFixture
) -> None:
    lock.refusals = 2
    assert [scheduler.tick(), scheduler.tick()] == [5, 5]
    assert events == ["sign of life", "sign of life"]
    assert caplog.messages == ["another beat ticks; waiting for its lock"]
    assert scheduler.tick() == 2
    assert events[2:] == ["schedule written", "tick", "sign of life"]


def test_a_lost_lock_is_taken_again_with_the_schedule(
    scheduler: Scheduler, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.tick()
    events.clear()
    with monkeypatch.context() as patch:
        fail(patch, "tick", LockNotOwnedError("lost"))
        assert scheduler.tick() == 0
    assert scheduler.tick() == 2
    assert events == ["schedule written", "tick", "sign of life"]


def test_while_redis_does_not_answer_there_is_no_sign_of_life(
    scheduler: Scheduler, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, "tick", RedisConnectionError("gone"))
        assert scheduler.tick() == beat.PAUSE
    assert events == ["schedule written"]
    assert scheduler.tick() == 2
    assert events == ["schedule written", "tick", "sign of life"]


def test_what_is_about_to_be_sent_needs_the_lock(
    scheduler: Scheduler, events: list[str], lock: Lock
) -> None:
    scheduler.tick()
    scheduler.reserve("entry")
    assert lock.extended == [20]
    assert events[-1] == "reserved"


def test_a_beat_ends_in_order_with_and_without_redis(
    scheduler: Scheduler, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.close()
    assert events == ["lock released", "no sign of life"]
    fail(monkeypatch, "close", RedisConnectionError("gone"))
    scheduler.close()
    assert events[2:] == ["no sign of life"]
