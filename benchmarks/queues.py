"""Filling a queue by the wire format, and waiting until its tasks have run."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import redis

# Writes messages that differ in their ids alone, in one step.
FILL = """
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local id = string.format('00000000-0000-4000-8000-%012x', number)
  local message = ARGV[3]
  for part = 4, #ARGV do message = message .. id .. ARGV[part] end
  redis.call('LPUSH', KEYS[1], message)
end
"""
AT_ONCE = 20_000


@dataclass(frozen=True)
class Queue:
    """A queue of a Celery application.

    Attributes:
        client: of the broker's database.
        name: of the queue.
    """

    client: redis.Redis
    name: str = "default"

    def take(self) -> list[str]:
        """Take the one message that waits, and return what stands between its ids."""
        raw = self.client.rpop(self.name)
        assert isinstance(raw, bytes)
        assert not self.client.llen(self.name)
        message = json.loads(raw)
        text = raw.decode()
        for name in (message["properties"]["delivery_tag"], message["headers"]["id"]):
            text = text.replace(name, "\0")
        return text.split("\0")

    def fill(self, parts: list[str], count: int) -> None:
        """Write messages.

        Args:
            parts: what `take` returned.
            count: how many.
        """
        for first in range(1, count + 1, AT_ONCE):
            last = min(first + AT_ONCE - 1, count)
            self.client.eval(FILL, 1, self.name, str(first), str(last), *parts)

    @property
    def left(self) -> int:
        """How many messages wait or are in work."""
        with self.client.pipeline(transaction=True) as both:
            both.llen(self.name)
            both.hlen("unacked")
            return sum(both.execute())

    def wait(self, left: int = 0, timeout: float = 120) -> None:
        """Wait until no more messages are left.

        A message is in neither place for a moment when Celery's own transport takes it, so the
        question is asked twice.

        Raises:
            AssertionError: the time is over.
        """
        deadline = time.monotonic() + timeout
        seen = 0
        while seen < 2:
            seen = seen + 1 if self.left <= left else 0
            assert time.monotonic() < deadline, f"{self.left} tasks are left"
            time.sleep(0.01)
