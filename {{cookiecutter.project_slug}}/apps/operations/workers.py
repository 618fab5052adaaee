"""The workers that run, and what they say of themselves when they are asked."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from celery import current_app

# In seconds. All workers are asked at once, and those that have not answered by then do not count.
PATIENCE = 1.0
UNKNOWN = "unknown"


@dataclass(frozen=True)
class RunningTask:
    """A task that a worker runs.

    Attributes:
        name: The task's name.
        task_id: Its id.
        started_at: When it began, by the worker's clock.
    """

    name: str
    task_id: str
    started_at: datetime


@dataclass(frozen=True)
class RunningWorker:
    """A worker that answered.

    Attributes:
        name: Its name: ``celery@`` and the host, if nobody gave it another.
        version: The version of its code.
        settings: Its settings module.
        queues: The queues that it reads.
        concurrency: How many tasks it runs at a time.
        clock: How far its clock is ahead of the one here, in seconds, less the way of the answer.
        tasks: What it runs.
    """

    name: str
    version: str
    settings: str
    queues: tuple[str, ...]
    concurrency: int
    clock: float
    tasks: tuple[RunningTask, ...]

    @classmethod
    def of_answer(cls, name: str, answer: Mapping[str, Any]) -> "RunningWorker":
        """Return what an answer of ``control.describe`` says.

        Args:
            name: The worker's name.
            answer: Its answer, which has just come. A worker of older code does not understand the
                question; all that is known then is that it runs.
        """
        return cls(
            name,
            version=answer.get("version", UNKNOWN),
            settings=answer.get("settings", UNKNOWN),
            queues=tuple(answer.get("queues", ())),
            concurrency=answer.get("concurrency", 0),
            clock=answer.get("now", time.time()) - time.time(),
            tasks=tuple(
                RunningTask(task["name"], task["id"], datetime.fromtimestamp(task["started"], UTC))
                for task in answer.get("tasks", ())
            ),
        )


def running_workers(patience: float = PATIENCE) -> list[RunningWorker]:
    """Ask all workers what they are.

    Args:
        patience: How long to wait for a further answer, in seconds. It always passes, because
            nobody knows how many workers there are.

    Returns:
        Those that answered, by name.

    Raises:
        kombu.exceptions.OperationalError: If the broker can't be reached.
        redis.RedisError: If it refuses.
    """
    workers: list[RunningWorker] = []

    def take(reply: Mapping[str, Mapping[str, Any]]) -> None:
        workers.extend(RunningWorker.of_answer(name, answer) for name, answer in reply.items())

    with current_app.connection_for_write() as broker:
        # Here, because the broadcast itself would try for ever.
        broker.connect()
        current_app.control.broadcast(
            "describe", reply=True, timeout=patience, callback=take, connection=broker
        )
    return sorted(workers, key=lambda worker: worker.name)
