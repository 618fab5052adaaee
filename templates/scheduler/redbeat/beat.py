"""The scheduler that beat runs: the schedule in Redis, with a lock and a heartbeat."""

import logging
import time
from typing import Any

from celery.signals import beat_init
from redbeat import RedBeatScheduler
from redbeat.schedulers import LUA_EXTEND_TO_SCRIPT, acquire_distributed_beat_lock, get_redis

from apps.operations import heartbeat
from apps.operations.last_runs import latest_run, recorded_runs

logger = logging.getLogger(__name__)

# RedBeat's own handler waits for the lock without a sign of life.
beat_init.disconnect(acquire_distributed_beat_lock)


@beat_init.connect
def wait_for_lock(sender: Any, **_: Any) -> None:
    """Wait until no other beat holds the lock, then take it.

    Args:
        sender: Celery's beat service.
    """
    scheduler = sender.scheduler
    client = get_redis(scheduler.app)
    lock = client.lock(scheduler.lock_key, timeout=scheduler.lock_timeout)
    while not lock.acquire(blocking=False):
        logger.info("another beat ticks; waiting for its lock")
        heartbeat.touch("beat")
        time.sleep(scheduler.max_interval)
    # redis-py's own script would add the time-out to what is left of it.
    lock.lua_extend = client.register_script(LUA_EXTEND_TO_SCRIPT)
    scheduler.lock = lock
    logger.info("holding the lock")


class Scheduler(RedBeatScheduler):
    """The schedule in Redis; of several beats the one with the lock ticks."""

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
        """Run what is due and show a sign of life.

        Returns:
            The time until the next tick, in seconds.
        """
        delay: float = super().tick(*args, **kwargs)
        heartbeat.touch("beat")
        return delay

    def close(self) -> None:
        """Save what there is to save and take the sign of life away."""
        super().close()
        heartbeat.stop("beat")
