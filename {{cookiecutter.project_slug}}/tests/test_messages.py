"""What messages, events and workers tell of a task: that it is there, and none of its values."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from celery.exceptions import InvalidTaskError
from celery.worker import request
from kombu import Message

from apps.operations.envelopes import LOSSES
from apps.operations.messages import MAX_LOSSES, Request
from apps.operations.models import FailedTask
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
    return request_of(eventer)


def request_of(eventer: Eventer, body: Any = None, **headers: Any) -> Request:
    """Return such a task of a message that differs from Celery's own."""
    sent = current_app.amqp.as_task_v2("1", record_heartbeat.name, ("private",), {"x": "private"})
    message = Message(
        body=json.dumps(body or sent.body),
        content_type="application/json",
        content_encoding="utf-8",
        headers={**sent.headers, **headers},
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


@pytest.mark.parametrize(
    "headers",
    [
        {"id": 5},
        {"id": ""},
        {"retries": "private"},
        {"stamped_headers": 5},
        {"timelimit": ["private", None]},
        {"eta": "0001-01-01T00:00:00+05:00"},
        {"body": [{"private": 1}, {}, {}]},
        {"body": [[], ["private"], {}]},
        {"body": [[], {}, ["private"]]},
        {"body": [[], {}, {"callbacks": ["private"]}]},
    ],
    ids=str,
)
def test_a_message_of_another_form_is_refused(eventer: Eventer, headers: dict[str, Any]) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        request_of(eventer, **headers)
    assert "private" not in str(caught.value)


def test_times_and_limits_are_taken(eventer: Eventer) -> None:
    taken: Any = request_of(eventer, eta="2030-01-01T00:00:00+00:00", timelimit=[60, 30.5])
    assert taken.time_limits == [60, 30.5]


@pytest.mark.django_db
def test_a_task_whose_worker_died_too_often_is_a_failure_and_not_run(eventer: Eventer) -> None:
    assert not request_of(eventer, **{LOSSES: MAX_LOSSES}).revoked()
    assert not FailedTask.objects.exists()
    assert request_of(eventer, **{LOSSES: MAX_LOSSES + 1}).revoked()
    failure = FailedTask.objects.get()
    assert failure.reason == "LostTooOftenError"
    assert failure.detail == f"Its worker died {MAX_LOSSES + 1} times while it had it."
    assert failure.attempts is None


def test_a_task_that_is_called_back_is_not_run(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request.Request, "revoked", lambda _: True)
    assert request_.revoked()


@pytest.mark.parametrize(("losses", "next_one"), [(None, 1), (MAX_LOSSES - 1, MAX_LOSSES)])
def test_a_task_whose_process_died_is_sent_with_the_count(
    eventer: Eventer, monkeypatch: pytest.MonkeyPatch, losses: int | None, next_one: int
) -> None:
    sent: list[Any] = []

    def retry(lost: Any, *_: Any) -> bool:
        sent.append(lost._context.headers)
        return True

    monkeypatch.setattr(request.Request, "_retry_worker_lost", retry)
    lost: Any = request_of(eventer, **{LOSSES: losses, "headers": {"of": "sentry"}})
    assert lost._retry_worker_lost(None, None)
    assert sent == [{"of": "sentry", LOSSES: next_one}]


def test_a_task_that_cannot_be_sent_again_is_put_back(
    request_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request.Request, "_retry_worker_lost", lambda *_: False)
    requeued: list[bool] = []
    request_._on_reject = lambda logger, errors, requeue: requeued.append(requeue)
    assert request_._retry_worker_lost(None, None)
    assert requeued == [True]


def test_a_task_whose_message_was_put_back_has_no_failure(
    request_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[str] = []
    monkeypatch.setattr(request.Request, "on_failure", lambda _, failure: failures.append(failure))
    request_.on_failure("before")
    request_._already_cancelled = True
    request_.on_failure("after")
    assert failures == ["before"]


def test_a_task_whose_process_died_too_often_is_not_sent_again(eventer: Eventer) -> None:
    lost: Any = request_of(eventer, **{LOSSES: MAX_LOSSES})
    assert not lost._retry_worker_lost(None, None)
