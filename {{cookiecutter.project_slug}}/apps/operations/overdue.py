"""Which periodic tasks did not run when they should have."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery import Task, signals
{%- if cookiecutter.scheduler == "database" %}
from celery.schedules import BaseSchedule
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
{%- elif cookiecutter.scheduler == "platform" %}
from celery.schedules import BaseSchedule
from django.conf import settings
from django.utils import timezone
{%- else %}
from celery.schedules import BaseSchedule, crontab, schedule
from django.conf import settings
from django.utils import timezone
{%- endif %}

from apps.operations.alerts import claim, defer, moment, send_now
from apps.operations.models import ScheduledRun
from apps.operations.pings import ping_database

logger = logging.getLogger(__name__)

# A run may be late by this, or by a tenth of the time between runs if that is more.
{%- if cookiecutter.scheduler == "platform" %}
# The hosting may need minutes to start what sends a task.
GRACE = timedelta(minutes=10)
{%- else %}
GRACE = timedelta(minutes=2)
{%- endif %}
HALF_A_SECOND = timedelta(seconds=0.5)


@dataclass(frozen=True)
class OverdueEntry:
    """An entry of the schedule that should have run.

    Attributes:
        name: The entry's name.
        due: When it should have run.
        last_run: When it ran last, if it ever did.
    """

    name: str
    due: datetime
    last_run: datetime | None

    def __str__(self) -> str:
        last_run = f"it ran last at {moment(self.last_run)}" if self.last_run else "it never ran"
        return f"{self.name} was due at {moment(self.due)}; {last_run}"


def current_schedule() -> Mapping[str, BaseSchedule]:
    """Return when each entry of the schedule is to run, by its name."""
{%- if cookiecutter.scheduler == "database" %}
    now = timezone.now()
    rows = PeriodicTask.objects.enabled().exclude(start_time__gt=now).exclude(expires__lte=now)
    return {row.name: row.schedule for row in rows}
{%- elif cookiecutter.scheduler == "platform" %}
    return {entry.name: entry.schedule for entry in settings.PERIODIC_TASKS}
{%- else %}
    return {
        entry.name: entry.schedule
        if isinstance(entry.schedule, crontab)
        else schedule(entry.schedule)
        for entry in settings.PERIODIC_TASKS
    }
{%- endif %}


def expect_runs() -> None:
    """Bring the table of runs in line with the schedule.

    A new entry, and one whose schedule has changed, is expected to run from now on.
    """
    entries = current_schedule()
    known = dict(ScheduledRun.objects.values_list("name", "schedule"))
    ScheduledRun.objects.exclude(name__in=entries).delete()
    for name, when in entries.items():
        if known.get(name) != str(when):
            ScheduledRun.objects.update_or_create(
                name=name, defaults={"schedule": str(when), "expected_since": timezone.now()}
            )


def due_after(since: datetime, when: BaseSchedule) -> datetime:
    """Return when an entry is due for the first time after a moment, to the second.

    Args:
        since: The moment, such as that of its last run.
        when: Its schedule.
    """
    # Rounded, because the schedule looks at the clock itself, a moment later.
    due: datetime = timezone.now() + when.remaining_estimate(since) + HALF_A_SECOND
    return due.replace(microsecond=0)


def overdue_entries() -> list[OverdueEntry]:
    """Return the entries of the schedule that should have run and did not."""
    found = []
    entries = current_schedule()
    for run in ScheduledRun.objects.order_by("name"):
        when = entries.get(run.name)
        if when is None or str(when) != run.schedule:
            continue
        since = run.waiting_since
        due = due_after(since, when)
        if since < due and timezone.now() - due > max(GRACE, (due - since) / 10):
            found.append(OverdueEntry(run.name, due, run.started_at))
    return found


def alert_overdue(process: str) -> None:
    """Look for overdue entries and send one mail about those that nobody was told of.

    Args:
        process: Which process looks: ``worker`` or ``{{ cookiecutter.__sender }}``.

    Raises:
        django.db.Error: If the database does not answer.
    """
    ping_database()
    expect_runs()
    entries = [entry for entry in overdue_entries() if claim(_subject(entry))]
    if not entries:
        return
    for entry in entries:
        logger.warning("overdue: %s", entry)
    subject = _subject(entries[0])
    if len(entries) > 1:
        subject = f"{len(entries)} periodic tasks are overdue"
    told = send_now(
        subject,
        "".join(f"- {entry}\n" for entry in entries)
        + f"\nA {process} process noticed this, so that one runs. {{ cookiecutter.__sender|capitalize }} sends these tasks, workers\n"
        "run them: does the other one run, and does it reach the broker? Do workers read the\n"
        "queues of these tasks, or are they busy? python manage.py doctor tells more.\n",
    )
    if not told:
        for entry in entries:
            defer(_subject(entry))


def _subject(entry: OverdueEntry) -> str:
    return f"{entry.name} is overdue"


@signals.task_prerun.connect
def record_start(task: Task[..., Any], **_: Any) -> None:
    """Write down that the run of an entry begins.

    Args:
        task: The task that is about to run.
    """
    _record(task, "started_at")


@signals.task_postrun.connect
def record_end(task: Task[..., Any], **_: Any) -> None:
    """Write down that the run of an entry has ended, well or not.

    Args:
        task: The task that has run.
    """
    _record(task, "finished_at")


def _record(task: Task[..., Any], field: str) -> None:
    # {{ cookiecutter.__sender|capitalize }} puts the entry's name into the message's headers.
    name = (task.request.headers or {}).get("periodic_task_name")
    if not name:
        return
    try:
        ping_database()
        ScheduledRun.objects.filter(name=name).update(**{field: timezone.now()})
    except Exception as error:
        logger.warning("the run of %s could not be recorded: %s", name, type(error).__name__)
