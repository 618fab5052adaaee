"""Messages that may hold anything; what becomes of them is the business of tests with servers."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from apps.operations.envelopes import LOSSES, Message, note_loss

PROPERTIES = {
    "delivery_tag": "1",
    "delivery_info": {"exchange": "", "routing_key": "default"},
    "body_encoding": "base64",
}
CHANNEL = SimpleNamespace(decode_body=lambda body, encoding: body.upper())


def test_a_message_is_read() -> None:
    message: Any = Message({"body": "text", "properties": PROPERTIES}, CHANNEL)
    assert message.body == b"TEXT"
    assert not message.errors


@pytest.mark.parametrize(
    ("payload", "has_tag"),
    [
        (None, False),
        ({}, False),
        ({"body": "text", "properties": {}}, False),
        ({"body": "text", "properties": {**PROPERTIES, "delivery_tag": 1}}, False),
        ({"body": "text", "properties": {**PROPERTIES, "delivery_info": None}}, True),
        ({"body": "text", "properties": PROPERTIES, "headers": ["private"]}, True),
        ({"body": 5, "properties": PROPERTIES}, True),
        ({"properties": PROPERTIES}, True),
    ],
)
def test_what_can_not_be_read_can_be_refused(payload: Any, has_tag: bool) -> None:
    message: Any = Message(payload, CHANNEL)
    assert message.errors
    assert (message.delivery_tag == "1") is has_tag
    assert message.body == b""
    assert message.headers == {}


def at(seconds: float) -> str:
    """Return a time from now as Celery writes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("headers", "losses"),
    [
        ({}, 1),
        ({"eta": None, LOSSES: 2}, 3),
        ({"eta": at(-7200), LOSSES: 2}, 3),
        # It waited for its time in a worker at least for a while.
        ({"eta": at(-1800)}, None),
        ({"eta": at(1800)}, None),
        ({"eta": "tomorrow"}, None),
    ],
)
def test_a_worker_that_was_lost_is_counted(headers: dict[str, Any], losses: int | None) -> None:
    payload = {"headers": headers}
    note_loss(payload, visibility_timeout=3600)
    assert payload["headers"].get(LOSSES) == losses
