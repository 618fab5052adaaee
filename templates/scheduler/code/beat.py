"""The scheduler that beat runs: the schedule in the code, with a heartbeat."""

from typing import Any

from celery.beat import PersistentScheduler

from apps.operations import heartbeat


class Scheduler(PersistentScheduler):
    """The schedule in the code; a file remembers when each entry ran last."""

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
