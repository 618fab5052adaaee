"""Looks at the workers and at what waits for them."""

import time
import uuid

from celery import current_app
from django.conf import settings

from apps.operations.checks.configuration import settings_module
from apps.operations.checks.database import LARGEST_OFFSET
from apps.operations.models import Heartbeat
from apps.operations.queues import waiting_tasks
from apps.operations.tasks import ROUND_TRIP, record_heartbeat
from apps.operations.workers import UNKNOWN, RunningWorker, running_workers

# In seconds: how long workers are waited for that did not answer at once.
SECOND_PATIENCE = 3.0
# In seconds: how long a task may take from here through broker and worker to the database.
ROUND_TRIP_TIMEOUT = 5.0
# Two tasks at a time that take a second each: so many have waited for about a minute when the last
# begins. More are a problem if they don't become fewer within BACKLOG_INTERVAL, in seconds.
BACKLOG = 100
BACKLOG_INTERVAL = 1.0
# So many wait for ten minutes, and are a problem in any case.
LARGE_BACKLOG = 1000


def check_workers() -> list[str]:
    """Ask the workers what they are, and compare that with this process."""
    if current_app.conf.task_always_eager:
        return []  # no worker
    workers = running_workers()
    if not workers or _unread_queues(workers):
        # A busy machine may answer late.
        workers = running_workers(SECOND_PATIENCE)
    if not workers:
        return ["none answers: start one, with the CELERY_BROKER_URL or REDIS_URL of this process."]
    problems = [problem for worker in workers for problem in _problems_of(worker)]
    return problems + [
        f"none reads the queue {queue}: start one that does, or name it in a worker's --queues."
        for queue in _unread_queues(workers)
    ]


def _unread_queues(workers: list[RunningWorker]) -> list[str]:
    """Return the declared queues that no worker reads, none if a worker does not tell."""
    if any(worker.version == UNKNOWN for worker in workers):
        return []
    read = {queue for worker in workers for queue in worker.queues}
    return [queue for queue in current_app.amqp.queues if queue not in read]


def _problems_of(worker: RunningWorker) -> list[str]:
    if worker.version == UNKNOWN:
        return [f"{worker.name} runs older code, which can't tell what it is: deploy it again."]
    problems = []
    if worker.version != settings.VERSION:
        problems.append(
            f"{worker.name} runs version {worker.version}, this process {settings.VERSION}: deploy "
            "the older one again."
        )
    if worker.settings != settings_module():
        problems.append(
            f"{worker.name} runs with {worker.settings}, this process with {settings_module()}: "
            "give both the same DJANGO_ENVIRONMENT."
        )
    if abs(worker.clock) > LARGEST_OFFSET:
        problems.append(
            f"the clocks of this machine and of {worker.name} are {abs(worker.clock):.0f} seconds "
            "apart: set both by NTP."
        )
    return problems


def check_queues() -> list[str]:
    """Count what waits, a second time if it is much."""
    first = waiting_tasks()
    if max(first.values()) < BACKLOG:
        return []
    time.sleep(BACKLOG_INTERVAL)
    second = waiting_tasks()
    problems = []
    for queue, waiting in second.items():
        before = first[queue]
        if min(before, waiting) >= LARGE_BACKLOG:
            problems.append(f"{waiting} tasks wait in {queue}: start more workers, or larger ones.")
        elif before >= BACKLOG and waiting >= before:
            problems.append(
                f"{waiting} tasks wait in {queue}, {before} of them a second ago: does a worker "
                "run them? Start more, or larger ones."
            )
    return problems


def check_round_trip() -> list[str]:
    """Send a task and see its row appear in this process's database."""
    name = f"{ROUND_TRIP}{uuid.uuid4()}"
    record_heartbeat.apply_async((name,), expires=ROUND_TRIP_TIMEOUT)
    rows = Heartbeat.objects.filter(name=name)
    deadline = time.monotonic() + ROUND_TRIP_TIMEOUT
    while not rows.exists():
        if time.monotonic() > deadline:
            queue = settings.CELERY_TASK_ROUTES["apps.operations.tasks.*"]["queue"]
            return [
                f"a task sent to the queue {queue} left no trace in {ROUND_TRIP_TIMEOUT:.0f} "
                "seconds: does a worker run, read that queue, and use the same DATABASE_URL?"
            ]
        time.sleep(0.05)
    rows.delete()
    return []
