"""What the page for the staff shows: everything there is to know, as far as it is known."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from celery import current_app
from celery.schedules import BaseSchedule, crontab
from django.conf import settings
from django.utils import timezone
{%- if cookiecutter.scheduler == "database" %}
from django_celery_beat.models import PeriodicTask
{%- endif %}

from apps.operations.background import answer, begin
from apps.operations.checks import Result, run_checks
from apps.operations.models import FailedMessage, FailedTask, ScheduledRun
from apps.operations.overdue import current_schedule, due_after
from apps.operations.queues import waiting_tasks
from apps.operations.retry import obstacle
from apps.operations.workers import RunningWorker, running_workers

# In seconds: how long the checks, workers and queues may take, all at once.
PATIENCE = 1.6
# In seconds: how old an answer may be. Many who look at once, or look again and again, ask once.
LONGEST_AGE = 5.0
# In seconds. Clocks of two machines that keep time differ by less.
CLOCK_TOLERANCE = 2.0
# How many failures are shown.
RECENT = 20


@dataclass(frozen=True)
class QueueState:
    """A queue.

    Attributes:
        name: Its name.
        waiting: How many messages wait in it.
        readers: The names of the workers that read it; nothing, if they are not known.
    """

    name: str
    waiting: int
    readers: tuple[str, ...] | None


@dataclass(frozen=True)
class WorkerState:
    """A worker, and what of it is not as it should be.

    Attributes:
        worker: The worker.
        other_version: Whether its code is another than that of this process.
        other_settings: Whether its settings are others than those of this process.
        clock_is_off: Whether its clock differs from the one here.
    """

    worker: RunningWorker
    other_version: bool
    other_settings: bool
    clock_is_off: bool

    @classmethod
    def of(cls, worker: RunningWorker) -> "WorkerState":
        """Compare a worker with this process."""
        return cls(
            worker,
            other_version=worker.version != settings.VERSION,
            other_settings=worker.settings != settings.SETTINGS_MODULE,
            clock_is_off=abs(worker.clock) > CLOCK_TOLERANCE,
        )


@dataclass(frozen=True)
class Health:
    """How the service does.

    Attributes:
        taken_at: When this was asked.
        results: What the checks found.
        eager: Whether tasks run at once, so that there are no workers and no queues.
        workers: The workers that answered; nothing, if the broker did not.
        queues: The queues; nothing, if the broker did not answer.
    """

    taken_at: datetime
    results: list[Result]
    eager: bool
    workers: list[WorkerState] | None
    queues: list[QueueState] | None

    @property
    def problems(self) -> int:
        """How many problems the checks found."""
        return sum(len(result.problems) for result in self.results)

    @property
    def passed(self) -> list[Result]:
        """The checks that found nothing."""
        return [result for result in self.results if result.passed]

    @property
    def not_passed(self) -> list[Result]:
        """The checks that found problems, and then those that did not run."""
        others = [result for result in self.results if not result.passed]
        return sorted(others, key=lambda result: result.skipped is not None)


@dataclass(frozen=True)
class EntryState:
    """An entry of the schedule.

    Attributes:
        name: Its name.
        schedule: When it runs, in short.
        last_run: When it began to run last, if it ever did.
        next_run: When it is due next; in the past, if it should have run.
    """

    name: str
    schedule: str
    last_run: datetime | None
    next_run: datetime

    @property
    def is_due(self) -> bool:
        """Whether it should have begun by now."""
        return self.next_run <= timezone.now()


@dataclass(frozen=True)
class FailureState:
    """A failed task, and whether it can be sent again.

    Attributes:
        failure: The failure.
        obstacle: Why it can't be sent again; nothing if it can.
    """

    failure: FailedTask
    obstacle: str


@dataclass(frozen=True)
class Records:
    """What the database knows.

    Attributes:
        entries: The entries of the schedule, the next one to run first.
{%- if cookiecutter.scheduler == "database" %}
        paused: The names of entries that are switched off.
{%- endif %}
        failures: The last tasks that failed, at most ``RECENT``.
        failed: How many have failed in the time that failures are kept.
    """

    entries: list[EntryState]
{%- if cookiecutter.scheduler == "database" %}
    paused: list[str]
{%- endif %}
    failures: list[FailureState]
    failed: int


class LatestHealth:
    """The health of the service, asked anew if the last answer is too old."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken: tuple[float, Health] | None = None

    def get(self) -> Health:
        """Return the health, after ``PATIENCE`` at the latest, whatever hangs.

        Whoever asks while another does gets the same answer.
        """
        with self._lock:
            if self._taken is None or time.monotonic() - self._taken[0] > LONGEST_AGE:
                self._taken = time.monotonic(), ask_health()
            return self._taken[1]


def ask_health() -> Health:
    """Run the checks and ask workers and broker, side by side."""
    taken_at = timezone.now()
    if current_app.conf.task_always_eager:
        return Health(taken_at, run_checks(PATIENCE), eager=True, workers=None, queues=None)
    deadline = time.monotonic() + PATIENCE
    asked_workers, asked_queues = begin(running_workers), begin(waiting_tasks)
    results = run_checks(PATIENCE)
    workers = answer(asked_workers, deadline, "the workers")
    waiting = answer(asked_queues, deadline, "the queues")
    return Health(
        taken_at,
        results,
        eager=False,
        workers=None if workers is None else [WorkerState.of(worker) for worker in workers],
        queues=None if waiting is None else _queues(waiting, workers),
    )


def read_records() -> Records:
    """Read the schedule and the last failures.

    Raises:
        django.db.Error: If the database does not answer.
    """
    failures = list(FailedTask.objects.order_by("-failed_at")[:RECENT])
    with_message = set(
        FailedMessage.objects.filter(failure__in=failures).values_list("failure_id", flat=True)
    )
    return Records(
        entries=_entries(),
{%- if cookiecutter.scheduler == "database" %}
        paused=list(
            PeriodicTask.objects.filter(enabled=False)
            .order_by("name")
            .values_list("name", flat=True)
        ),
{%- endif %}
        failures=[
            FailureState(failure, obstacle(failure, has_message=failure.pk in with_message))
            for failure in failures
        ],
        failed=FailedTask.objects.count(),
    )


def _queues(waiting: Mapping[str, int], workers: list[RunningWorker] | None) -> list[QueueState]:
    return [
        QueueState(
            name,
            count,
            None
            if workers is None
            else tuple(worker.name for worker in workers if name in worker.queues),
        )
        for name, count in waiting.items()
    ]


def _entries() -> list[EntryState]:
    runs = {run.name: run for run in ScheduledRun.objects.all()}
    now = timezone.now()
    entries = []
    for name, when in current_schedule().items():
        run = runs.get(name)
        since = run.waiting_since if run else now
        last_run = run.started_at if run else None
        entries.append(EntryState(name, _in_short(when), last_run, due_after(since, when)))
    return sorted(entries, key=lambda entry: entry.next_run)


def _in_short(when: BaseSchedule) -> str:
    """Return a schedule as Celery writes it, less what nobody needs to read."""
    if isinstance(when, crontab):
{%- if cookiecutter.scheduler == "database" %}
        # Not str(when), which has another order and several lines for a row of the database.
{%- endif %}
        return crontab.__repr__(when).removeprefix("<crontab: ").removesuffix(" (m/h/dM/MY/d)>")
    return str(when).strip("<>").replace("freq: ", "every ").replace(".00 ", " ")
