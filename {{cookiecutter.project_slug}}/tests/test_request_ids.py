"""One id marks all lines of a request and of the tasks that follow from it."""

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery import current_app, signals
from celery.exceptions import Ignore
from django.test import Client
from django.utils import timezone
from kombu import Message
from structlog.contextvars import bind_contextvars, get_contextvars

from apps.operations.messages import Request
from apps.operations.request_ids import (
    current_request_id,
    end_task,
    new_request_id,
    send_along,
)
from apps.operations.tasks import clear_expired_sessions, record_heartbeat

seen: list[dict[str, Any]] = []


@pytest.fixture
def _watch() -> Iterator[None]:
    """Note how lines are marked while a task runs."""

    def note(**_: Any) -> None:
        seen.append(get_contextvars())

    seen.clear()
    signals.task_success.connect(note)
    yield
    signals.task_success.disconnect(note)


def test_the_id_of_the_proxy_is_kept_and_returned(client: Client) -> None:
    response = client.get("/health/", headers={"x-request-id": "from-the-proxy.1"})
    assert response["X-Request-ID"] == "from-the-proxy.1"
    assert current_request_id() == "from-the-proxy.1"


@pytest.mark.parametrize(
    "given", ["", "short", "a" * 65, "with space", "line\nbreak", 'a"quotation']
)
def test_another_id_is_made_for_one_that_is_not_sane(client: Client, given: str) -> None:
    response = client.get("/health/", headers={"x-request-id": given})
    assert len(response["X-Request-ID"]) == 32
    assert response["X-Request-ID"] != client.get("/health/")["X-Request-ID"]


def test_a_message_carries_the_id_of_the_request_that_sends_it() -> None:
    bind_contextvars(request_id="of-the-request")
    headers: dict[str, Any] = {}
    send_along(headers=headers)
    assert headers == {"request_id": "of-the-request"}


def test_a_message_that_is_sent_again_keeps_its_id() -> None:
    bind_contextvars(request_id="of-another")
    headers = {"request_id": "of-the-first"}
    send_along(headers=headers)
    assert headers == {"request_id": "of-the-first"}


def test_a_message_without_a_request_gets_an_id_of_its_own() -> None:
    headers: dict[str, Any] = {}
    send_along(headers=headers)
    assert len(headers["request_id"]) == 32


@pytest.mark.django_db
@pytest.mark.usefixtures("_watch")
def test_a_task_is_marked_with_the_id_of_its_message_and_only_while_it_runs() -> None:
    record_heartbeat.apply(("one",), headers={"request_id": "of-the-message"}, task_id="1")
    marks = {"request_id": "of-the-message", "task": record_heartbeat.name, "task_id": "1"}
    assert seen == [marks]
    assert get_contextvars() == {}


@pytest.mark.django_db
@pytest.mark.usefixtures("_watch")
def test_a_task_that_is_called_in_a_request_has_its_id() -> None:
    bind_contextvars(request_id="of-the-request")
    clear_expired_sessions.delay()
    assert [marks["request_id"] for marks in seen] == ["of-the-request"]
    assert get_contextvars() == {"request_id": "of-the-request"}


def test_the_end_of_a_task_that_never_began_changes_nothing() -> None:
    bind_contextvars(request_id="of-the-request")
    end_task(task=clear_expired_sessions)
    assert current_request_id() == "of-the-request"


@pytest.fixture
def marks(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """The ids by which the lines of the worker's main process are marked, in their order."""
    ids: list[Any] = []

    def note(record: logging.LogRecord) -> bool:
        ids.append(get_contextvars().get("request_id"))
        return True

    caplog.set_level(logging.DEBUG, logger="celery.worker.request")
    caplog.handler.addFilter(note)
    return ids


def receive(**headers: Any) -> Request:
    """Return a message for a task as the worker's main process makes it."""
    message = Message(
        body=json.dumps([[], {}, {}]),
        content_type="application/json",
        content_encoding="utf-8",
        headers={"id": "1", "task": clear_expired_sessions.name, **headers},
        delivery_info={},
        properties={},
    )
    return Request(message, app=current_app, task=clear_expired_sessions)


def test_lines_about_the_arrival_of_a_message_are_marked() -> None:
    request_id = new_request_id()
    receive(request_id=request_id)
    assert current_request_id() == request_id
    signals.task_received.send(sender=None)
    assert get_contextvars() == {}


def test_lines_of_the_main_process_about_a_message_are_marked(marks: list[Any]) -> None:
    message = receive(request_id="of-the-request", expires=timezone.now() - timedelta(days=1))
    assert message.revoked()
    message.on_timeout(True, 5)
    message.on_accepted(1, 0.0)
    assert len(marks) >= 2
    assert set(marks) == {"of-the-request"}
    assert get_contextvars() == {}


def test_a_failure_in_the_main_process_is_handled_like_any_other() -> None:
    try:
        raise Ignore
    except Ignore:
        receive(request_id="of-the-request").on_failure(ExceptionInfo())
    assert get_contextvars() == {}


def test_whoever_hears_that_a_task_ran_out_of_time_may_ask_for_its_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    message = receive(retries=2)
    monkeypatch.setattr(
        "celery.worker.request.Request.on_timeout",
        lambda self, *_: seen.append(self.task.request.retries),
    )
    message.on_timeout(False, 5)
    assert seen == [2]
    assert clear_expired_sessions.request.retries == 0
