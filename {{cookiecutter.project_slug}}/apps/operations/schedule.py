"""What a periodic task is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

{% if cookiecutter.scheduler == "platform" -%}
from celery import current_app
{% endif -%}
from celery.schedules import crontab


@dataclass(frozen=True)
class PeriodicTask:
    """One entry of the schedule.

    Attributes:
        name: A unique name; the entry is known by it, so a new name is a new entry.
        task: The task's dotted name.
        schedule: When it runs; {% if cookiecutter.scheduler == "platform" %}its fields are texts, read{% else %}a crontab is read{% endif %} in ``TIME_ZONE``.
        args: Positional arguments, as JSON knows them.
        kwargs: Named arguments, as JSON knows them.
        queue: The queue, if not the one that ``CELERY_TASK_ROUTES`` gives the task.
        expires: How long a message may wait before it is dropped; best below the time to the next.
    """

    name: str
    task: str
    schedule: crontab{% if cookiecutter.scheduler != "platform" %} | timedelta{% endif %}
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None
    expires: timedelta | None = None
{%- if cookiecutter.scheduler != "database" %}

    def options(self) -> dict[str, Any]:
        """Return how its message is sent, as ``apply_async`` wants it."""
        # By this header a worker knows which entry it runs.
        options: dict[str, Any] = {"headers": {"periodic_task_name": self.name}}
        if self.queue:
            options["queue"] = self.queue
        if self.expires:
            options["expires"] = self.expires.total_seconds()
        return options
{%- endif %}
{%- if cookiecutter.scheduler in ("code", "redbeat") %}

    def as_celery(self) -> dict[str, Any]:
        """Return the entry as ``CELERY_BEAT_SCHEDULE`` wants it."""
        return {
            "task": self.task,
            "schedule": self.schedule,
            "args": self.args,
            "kwargs": dict(self.kwargs),
            "options": self.options(),
        }
{%- elif cookiecutter.scheduler == "platform" %}

    def as_cron(self) -> str:
        """Return when it runs as the five fields of a crontab.

        Raises:
            ValueError: If both fields for days are given, which Celery and cron read differently.
        """
        reduced: Any = self.schedule.__reduce__()
        minute, hour, day_of_week, day_of_month, month = reduced[1]
        if "*" not in (day_of_week, day_of_month):
            raise ValueError(
                f"{self.name} has a day_of_week and a day_of_month: cron would run it on days that "
                "fit either, overdue runs are told of by days that fit both; give one of them."
            )
        return f"{minute} {hour} {day_of_month} {month} {day_of_week}"

    def enqueue(self) -> None:
        """Send the task to its queue.

        Raises:
            celery.exceptions.NotRegistered: If no app has this task.
            kombu.exceptions.OperationalError: If the broker can't be reached.
        """
        # A command knows but the tasks that something has imported; a worker imports all.
        current_app.autodiscover_tasks(force=True)
        current_app.tasks[self.task].apply_async(self.args, dict(self.kwargs), **self.options())
{%- endif %}
