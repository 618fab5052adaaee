"""What is asked of workers and queues; real ones are asked by tests with real servers."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from celery.worker import state as worker_state
from django.conf import settings

from apps.operations.control import describe
from apps.operations.queues import waiting_tasks
from apps.operations.workers import RunningTask, running_workers

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


class Message:
    """A message that a worker works on."""

    name = "apps.trial.tasks.sleep"
    id = "task-1"
    time_start = STARTED.timestamp()


def answer_of(*queues: str) -> dict[str, Any]:
    """Return what a worker that reads some queues answers."""
    consumer = SimpleNamespace(
        task_consumer=SimpleNamespace(queues=[SimpleNamespace(name=name) for name in queues]),
        controller=SimpleNamespace(concurrency=2),
    )
    answer: dict[str, Any] = describe(SimpleNamespace(consumer=consumer))
    return answer


def test_workers_tell_what_they_are_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    message = Message()
    monkeypatch.setattr(worker_state, "active_requests", {message})
    replies: list[Mapping[str, Any]] = [
        {"celery@two": answer_of("notifications")},
        {"celery@one": answer_of("maintenance", "default")},
        {"celery@old": {"error": "Unknown command"}},
    ]

    def broadcast(command: str, callback: Callable[[Mapping[str, Any]], None], **_: Any) -> None:
        assert command == "describe"
        for reply in replies:
            callback(reply)

    monkeypatch.setattr(current_app.control, "broadcast", broadcast)
    old, one, two = running_workers()
    assert [old.name, one.name, two.name] == ["celery@old", "celery@one", "celery@two"]
    assert (old.version, old.settings, old.queues, old.tasks) == ("unknown", "unknown", (), ())
    assert (one.version, one.settings) == (settings.VERSION, settings.SETTINGS_MODULE)
    assert one.queues == ("default", "maintenance")
    assert one.concurrency == 2
    assert abs(one.clock) < 60
    assert one.tasks == (RunningTask("apps.trial.tasks.sleep", "task-1", STARTED),)
    assert two.queues == ("notifications",)


def test_messages_that_wait_are_counted() -> None:
    before = waiting_tasks()
    assert set(before) == {queue.name for queue in settings.CELERY_TASK_QUEUES}
    with current_app.connection_for_write() as broker, broker.SimpleQueue("default") as queue:
        queue.put({})
        assert waiting_tasks() == {**before, "default": before["default"] + 1}
        queue.get().ack()
