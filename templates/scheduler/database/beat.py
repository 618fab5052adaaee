"""The scheduler that beat runs: the schedule in the database, with a heartbeat."""

from typing import Any

from django_celery_beat.schedulers import DatabaseScheduler

from apps.operations import heartbeat


class Scheduler(DatabaseScheduler):
    """The schedule in the database, edited in the admin."""

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
