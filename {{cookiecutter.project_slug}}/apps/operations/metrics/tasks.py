"""How tasks end and how long they take, counted by workers and read by the web process.

The counts are in the broker's server, because every worker reaches that, wherever it runs, and
nothing in it is thrown away to make room. The project adds three numbers there when a task ends.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any

import redis
from celery import Task, current_app, signals, states
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from apps.operations.redis_tls import ConnectionPool

logger = logging.getLogger(__name__)

# A hash of all counts.
KEY = f"{settings.SERVICE_NAME}:metrics:tasks"
OUTCOMES = {states.SUCCESS: "success", states.FAILURE: "failure", states.RETRY: "retry"}
# Why a message is not run: nobody knows its task, nobody can read it, it was called back, it came
# too late.
REASONS = ("unknown", "rejected", "revoked", "expired")
# In seconds, up to the hard limit of a task; what takes longer is in the last one.
BUCKETS = ("0.1", "0.5", "1.0", "5.0", "10.0", "30.0", "60.0", "300.0", "900.0", "1800.0", "+Inf")
# In seconds: how long a task may be held up by a server that does not answer, and how long the
# process then leaves the server alone.
TIMEOUT = 0.5
PAUSE = 30.0


class Counts:
    """Numbers that many processes add to, on a server that need not be there."""

    def __init__(self) -> None:
        self._server: redis.Redis | None = None
        self._resting_until = 0.0
        self._warned = False

    def server(self) -> redis.Redis:
        """Return a client of the broker's server, which answers within ``TIMEOUT`` or fails."""
        if self._server is None:
            pool = ConnectionPool.from_url(
                settings.CELERY_BROKER_URL,
                decode_responses=True,
                socket_connect_timeout=TIMEOUT,
                socket_timeout=TIMEOUT,
                # Once, for a connection that was cut while it was not used.
                retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
                **(settings.CELERY_BROKER_USE_SSL or {}),
            )
            self._server = redis.Redis(connection_pool=pool)
        return self._server

    def add(self, amounts: Mapping[str, float]) -> None:
        """Add to some counts; what can't be added is lost.

        Args:
            amounts: How much, by the name of the count.
        """
        if current_app.conf.task_always_eager or time.monotonic() < self._resting_until:
            return
        try:
            with self.server().pipeline(transaction=False) as pipeline:
                for name, amount in amounts.items():
                    pipeline.hincrbyfloat(KEY, name, amount)
                pipeline.execute()
        except redis.RedisError as error:
            self._resting_until = time.monotonic() + PAUSE
            if not self._warned:
                logger.warning("tasks are not counted meanwhile: %s", error)
            self._warned = True
        else:
            self._warned = False

    def read(self) -> dict[str, float]:
        """Return all counts by their names.

        Raises:
            redis.RedisError: If the server does not answer.
        """
        counts: Any = self.server().hgetall(KEY)
        return {name: float(count) for name, count in counts.items()}


counts = Counts()


@signals.task_prerun.connect
def note_start(task: Task[..., Any], **_: Any) -> None:
    """Remember when a task begins.

    Args:
        task: The task that is about to run.
    """
    request: Any = task.request
    request.run_began = time.monotonic()


@signals.task_postrun.connect
def count_run(task: Task[..., Any], state: str, **_: Any) -> None:
    """Count how a run has ended and how long it took.

    Args:
        task: The task that has run.
        state: Celery's name for how.
    """
    if state not in OUTCOMES:
        return
    request: Any = task.request
    seconds = time.monotonic() - request.run_began
    bucket = next(bucket for bucket in BUCKETS if seconds <= float(bucket))
    counts.add(
        {
            f"{OUTCOMES[state]} {task.name}": 1,
            f"{bucket} {task.name}": 1,
            f"seconds {task.name}": seconds,
        }
    )


@signals.task_failure.connect
def count_lost_run(sender: Task[..., Any], **_: Any) -> None:
    """Count a failure whose run has not ended, because its process died or was too slow.

    Args:
        sender: The task.
    """
    _count_unless_run(sender, "failure")


@signals.task_retry.connect
def count_repeated_run(sender: Task[..., Any], **_: Any) -> None:
    """Count that such a run is repeated.

    Args:
        sender: The task.
    """
    _count_unless_run(sender, "retry")


def _count_unless_run(task: Task[..., Any], outcome: str) -> None:
    # What runs in this process is counted at its end.
    if not hasattr(task.request, "run_began"):
        counts.add({f"{outcome} {task.name}": 1})


@signals.task_unknown.connect
def count_unknown(**_: Any) -> None:
    """Count a message that asks for a task that this worker does not have."""
    counts.add({"unknown": 1})


@signals.task_rejected.connect
def count_rejected(**_: Any) -> None:
    """Count a message that can't be read."""
    counts.add({"rejected": 1})


@signals.task_revoked.connect
def count_revoked(expired: bool, **_: Any) -> None:
    """Count a message that nobody wants any more.

    Args:
        expired: Whether it came too late, and was not called back.
    """
    counts.add({"expired" if expired else "revoked": 1})
