"""What messages, events and workers tell of a task: that it is there, and none of its values."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from kombu import Message

from apps.operations.messages import Request
from apps.operations.tasks import record_heartbeat


class Eventer:
    """Notes the events that it is to send."""

    enabled = True

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, type: str, **fields: Any) -> None:
        self.sent.append({"type": type, **fields})


@pytest.fixture
def eventer() -> Eventer:
    """What a worker sends its events by."""
    return Eventer()


@pytest.fixture
def request_(eventer: Eventer) -> Request:
    """A task in a worker, called with private values."""
    sent = current_app.amqp.as_task_v2("1", record_heartbeat.name, ("private",), {"x": "private"})
    message = Message(
        body=json.dumps(sent.body),
        content_type="application/json",
        content_encoding="utf-8",
        headers=sent.headers,
        delivery_info={},
        properties={},
    )
    return Request(message, app=current_app, task=record_heartbeat, eventer=eventer)


def test_the_values_of_arguments_are_in_the_body_of_a_message_alone() -> None:
    message = current_app.amqp.as_task_v2(
        "1", record_heartbeat.name, ("private",), {"x": "private"}, create_sent_event=True
    )
    assert "private" in str(message.body)
    assert "private" not in str(message._replace(body=()))
    assert message.headers["argsrepr"] == message.headers["kwargsrepr"] == "(not shown)"


@pytest.mark.parametrize("safe", [True, False])
def test_a_worker_that_is_asked_tells_no_values(request_: Request, safe: bool) -> None:
    assert request_.args == ["private"]
    info = request_.info(safe=safe)
    assert info["name"] == record_heartbeat.name
    assert "private" not in str(info)


def test_a_task_ended_with_its_connection_asks_no_store_of_results(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that is away too would let its message be acknowledged."""
    monkeypatch.setattr(record_heartbeat.backend, "mark_as_retry", pytest.fail)
    ended = []
    request_.time_start = 1.0
    request_.cancel(SimpleNamespace(terminate_job=lambda *words: ended.append(words)))
    assert len(ended) == 1
    assert vars(request_)["_already_cancelled"]


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"runtime": 0.5}, {"runtime": 0.5}),
        ({"result": "'private'", "runtime": 0.5}, {"result": "(not shown)", "runtime": 0.5}),
        (
            {"exception": "ValueError('private')", "traceback": "private"},
            {"exception": "ValueError", "traceback": "(not shown)"},
        ),
        ({"exception": "<private>", "traceback": None}, {"exception": "(not shown)"}),
    ],
)
def test_events_tell_what_happened_without_values(
    request_: Request, eventer: Eventer, fields: dict[str, Any], sent: dict[str, Any]
) -> None:
    request_.send_event("task-ended", **fields)
    [event] = eventer.sent
    assert event == fields | sent | {"type": "task-ended", "uuid": "1"}
