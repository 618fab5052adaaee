"""The scheduler that beat runs: the schedule in Redis, with a lock and a heartbeat."""

import logging
from contextlib import suppress
from typing import Any

from celery.signals import beat_init
from redbeat import RedBeatScheduler
from redbeat.schedulers import LUA_EXTEND_TO_SCRIPT, acquire_distributed_beat_lock, get_redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import LockNotOwnedError
from redis.exceptions import TimeoutError as RedisTimeoutError

from apps.operations import heartbeat
from apps.operations.last_runs import latest_run, recorded_runs

logger = logging.getLogger(__name__)

UNREACHABLE = (RedisConnectionError, RedisTimeoutError)
# In seconds: how long to wait after Redis did not answer.
PAUSE = 1.0

# RedBeat's own handler waits for the lock without a sign of life, and once only.
beat_init.disconnect(acquire_distributed_beat_lock)


class Scheduler(RedBeatScheduler):
    """The schedule in Redis; of several beats the one with the lock ticks.

    A beat goes on when Redis comes back, whether with the lock and the schedule or empty.
    """

    lock: Any = None
    waiting = False

    def setup_schedule(self) -> None:
        """Leave the schedule in Redis alone until this beat holds the lock."""

    def update_from_dict(self, dict_: dict[str, Any]) -> None:
        """Bring Redis in line with the code, each entry reckoned from its last run.

        Redis may know nothing, or what is long ago, because something else sent the tasks
        meanwhile: workers know more then.

        Args:
            dict_: The schedule in the code.
        """
        runs = {name: run for name, run in recorded_runs().items() if name in dict_}
        keys = {name: self.Entry.generate_key(self.app, name) for name in runs}
        known = {name: self.Entry.load_meta(key, self.app) for name, key in keys.items()}
        super().update_from_dict(dict_)
        for name, key in keys.items():
            entry = self.Entry.from_key(key, self.app)
            last_run = latest_run(entry.schedule, known[name]["last_run_at"], runs[name])
            if last_run != entry.last_run_at:
                entry.reschedule(last_run)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Run what is due if this beat holds the lock, and show a sign of life.

        Returns:
            The time until the next tick, in seconds.
        """
        delay: float = self.max_interval
        try:
            if self.lock or self._take_lock():
                delay = super().tick(*args, **kwargs)
        except LockNotOwnedError:
            logger.warning("lost the lock: Redis came back without it, or this beat hung too long")
            self.lock = None
            return 0
        except UNREACHABLE as error:
            # Without a sign of life, so that the platform starts beat again if this goes on.
            logger.warning("Redis does not answer: %s", error)
            return PAUSE
        heartbeat.touch("beat")
        return delay

    def reserve(self, entry: Any) -> Any:
        """Take an entry that is about to be sent, unless the lock was lost since the tick began.

        Raises:
            LockNotOwnedError: If another beat may tick by now.
        """
        self.lock.extend(self.lock_timeout)
        return super().reserve(entry)

    def close(self) -> None:
        """Give the lock away and take the sign of life away."""
        # In a Redis that does not answer the lock ends by itself.
        with suppress(*UNREACHABLE):
            super().close()
        heartbeat.stop("beat")

    def _take_lock(self) -> bool:
        """Take the lock and write the schedule, unless another beat holds the lock."""
        client = get_redis(self.app)
        lock = client.lock(self.lock_key, timeout=self.lock_timeout)
        # redis-py's own script would add the time-out to what is left of it.
        lock.lua_extend = client.register_script(LUA_EXTEND_TO_SCRIPT)
        if not lock.acquire(blocking=False):
            if not self.waiting:
                logger.info("another beat ticks; waiting for its lock")
            self.waiting = True
            return False
        super().setup_schedule()
        self.lock = lock
        self.waiting = False
        logger.info("holding the lock")
        return True
