"""What a periodic task is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from celery.schedules import crontab


@dataclass(frozen=True)
class PeriodicTask:
    """One entry of the schedule.

    Attributes:
        name: A unique name; the entry is known by it, so a new name is a new entry.
        task: The task's dotted name.
        schedule: When it runs; a crontab is read in ``TIME_ZONE``.
        args: Positional arguments, as JSON knows them.
        kwargs: Named arguments, as JSON knows them.
        queue: The queue, if not the one that ``CELERY_TASK_ROUTES`` gives the task.
        expires: How long a message may wait before it is dropped; best below the time to the next.
    """

    name: str
    task: str
    schedule: crontab | timedelta
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None
    expires: timedelta | None = None
{%- if cookiecutter.scheduler in ("code", "redbeat") %}

    def as_celery(self) -> dict[str, Any]:
        """Return the entry as ``CELERY_BEAT_SCHEDULE`` wants it."""
        # By this header a worker knows which entry it runs.
        options: dict[str, Any] = {"headers": {"periodic_task_name": self.name}}
        if self.queue:
            options["queue"] = self.queue
        if self.expires:
            options["expires"] = self.expires.total_seconds()
        return {
            "task": self.task,
            "schedule": self.schedule,
            "args": self.args,
            "kwargs": dict(self.kwargs),
            "options": options,
        }
{%- endif %}
