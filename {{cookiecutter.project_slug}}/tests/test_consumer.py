"""What a worker does with messages that it can't read."""

from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app, signals
from kombu import Message

from apps.operations.consumer import MessageConsumer


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A consumer that knows no task, and no broker."""
    consumer: Any = MessageConsumer.__new__(MessageConsumer)
    consumer.app = current_app
    consumer.strategies = {}
    consumer.on_task_message = set()
    consumer.refused = []
    consumer.on_unknown_task = lambda body, message, error: consumer.refused.append("unknown")
    consumer.on_invalid_task = lambda body, message, error: consumer.refused.append(type(error))
    return consumer


def test_it_is_the_one_of_all_workers() -> None:
    path = f"{MessageConsumer.__module__}:{MessageConsumer.__name__}"
    assert current_app.conf.worker_consumer == path


def test_what_celery_does_not_expect_is_refused(consumer: Any) -> None:
    take = consumer.create_task_handler()
    tasks: tuple[Any, ...] = ("apps.gone", ["no name"])
    for task in tasks:
        take(Message(headers={"task": task}))
    assert consumer.refused == ["unknown", TypeError]


def test_what_can_not_be_decoded_is_told_of(consumer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(signals.task_rejected, "send", lambda **given: told.append(given))
    channel = SimpleNamespace(no_ack_consumers=None, basic_ack=lambda tag, multiple: None)
    message = Message(body="private", channel=channel)
    error = ValueError("private")
    consumer.on_decode_error(message, error)
    assert message.acknowledged
    assert told == [{"sender": consumer, "message": message, "exc": error}]
