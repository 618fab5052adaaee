"""The scheduler that beat runs: the chosen one, with a heartbeat."""

from typing import Any

{% if cookiecutter.scheduler == "database" -%}
from django_celery_beat.schedulers import DatabaseScheduler

from apps.operations import heartbeat


class Scheduler(DatabaseScheduler):
    """The schedule in the database, edited in the admin."""
{%- elif cookiecutter.scheduler == "code" -%}
from celery.beat import PersistentScheduler

from apps.operations import heartbeat


class Scheduler(PersistentScheduler):
    """The schedule in the settings."""
{%- endif %}

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Run what is due and show a sign of life.

        Returns:
            The time until the next tick, in seconds.
        """
        delay: float = super().tick(*args, **kwargs)
        heartbeat.beat("beat")
        return delay

    def close(self) -> None:
        """Save what there is to save and take the sign of life away."""
        super().close()
        heartbeat.stop("beat")
