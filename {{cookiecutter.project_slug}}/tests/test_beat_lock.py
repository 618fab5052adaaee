"""Of several beats one ticks: the one that holds the lock in Redis."""

import time
from types import SimpleNamespace

import pytest

from apps.operations import beat, heartbeat


class Lock:
    """A lock that another beat holds at first."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def acquire(self, *, blocking: bool) -> bool:
        assert not blocking
        self.refusals -= 1
        return self.refusals < 0


def test_a_beat_that_waits_for_the_lock_shows_signs_of_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock = Lock(refusals=2)
    client = SimpleNamespace(lock=lambda key, timeout: lock, register_script=lambda script: script)
    monkeypatch.setattr(beat, "get_redis", lambda app: client)
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    signs: list[str] = []
    monkeypatch.setattr(heartbeat, "touch", signs.append)
    scheduler = SimpleNamespace(
        app=None, lock=None, lock_key="lock", lock_timeout=20, max_interval=5
    )
    beat.wait_for_lock(SimpleNamespace(scheduler=scheduler))
    assert scheduler.lock is lock
    assert pauses == [5, 5]
    assert signs == ["beat", "beat"]
