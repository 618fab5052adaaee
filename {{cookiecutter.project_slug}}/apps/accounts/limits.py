"""How often something may be tried, counted for all web processes together in the cache.

While the cache does not answer, each process counts by itself: a limit is then as many times as
high as there are processes, and nobody is locked out for good or let in without one.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import redis
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache

logger = logging.getLogger(__name__)

T = TypeVar("T")

# In seconds: how long a process leaves a cache alone that did not answer.
PAUSE = 30.0


@dataclass(frozen=True)
class Limit:
    """So many tries in each period; all periods begin at the same times by the clock.

    Attributes:
        name: What is limited; part of the keys in the cache.
        tries: How many are let through.
        period: How long they count.
    """

    name: str
    tries: int
    period: timedelta

    def count(self, cache: BaseCache, *whose: str) -> int:
        """Count a try, and return how many seconds to wait: 0 if it may go on.

        Counting comes before trying, so that tries at the same time can't pass together.

        Args:
            cache: Where the numbers are.
            whose: Whose try it is: an account, an address, or both.

        Raises:
            redis.RedisError: If the cache does not answer.
        """
        key = self._key(whose)
        timeout = self.period.total_seconds()
        cache.add(key, 0, timeout=timeout)
        try:
            tries = cache.incr(key)
        except ValueError:  # The limit was lifted at this moment.
            tries = 1
            cache.set(key, tries, timeout=timeout)
        if tries <= self.tries:
            return 0
        return int(timeout - time.time() % timeout) + 1

    def take_back(self, cache: BaseCache, *whose: str) -> None:
        """Uncount a try.

        Args:
            cache: Where the numbers are.
            whose: Whose try it was.

        Raises:
            redis.RedisError: If the cache does not answer.
        """
        # Unless another period has begun meanwhile.
        with suppress(ValueError):
            cache.decr(self._key(whose))

    def lift(self, cache: BaseCache, *whose: str) -> bool:
        """Let somebody try from the beginning, and return whether anything was counted.

        Args:
            cache: Where the numbers are.
            whose: Who may try again.

        Raises:
            redis.RedisError: If the cache does not answer.
        """
        return cache.delete(self._key(whose))

    def _key(self, whose: tuple[str, ...]) -> str:
        return f"{self.name}:{time.time() // self.period.total_seconds():.0f}:{digest(*whose)}"


def digest(*texts: str) -> str:
    """Return what stands for some texts in a key of the cache.

    Not the texts themselves: they may be long, private, or a password in the wrong field.

    Args:
        texts: The texts, of which none has a zero byte.
    """
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


class Counting:
    """Chooses the cache to count in."""

    def __init__(self) -> None:
        self._resting_until = 0.0

    def __call__(self, action: Callable[[BaseCache], T]) -> T:
        """Return what an action returns that counts in the cache, or in this process's memory.

        Args:
            action: Is called with the cache, and again with the memory if the cache fails.
        """
        if time.monotonic() >= self._resting_until:
            try:
                return action(caches["default"])
            except redis.RedisError as error:
                self._resting_until = time.monotonic() + PAUSE
                logger.warning("the cache does not answer, limits hold per process: %s", error)
        return action(caches["process"])


counting = Counting()
