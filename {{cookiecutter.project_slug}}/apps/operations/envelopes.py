"""Messages as a worker takes them from the broker, before it knows whether they ask for a task.

Anybody who reaches the broker can put anything there. What Celery's own classes can't read ends
the worker, and may be taken again by the next one.
"""

import sys
import time
import uuid
from contextlib import suppress
from datetime import datetime
from typing import Any

from kombu.transport import virtual

# What code raises that is given another form than it expects.
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
# The header of a message: how many workers in a row, or child processes, died while they had it.
LOSSES = "losses"


class Message(virtual.Message):
    """A message that can be refused whatever it holds: its error is kept for who looks into it."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        try:
            super().__init__(payload, channel, **options)
            self._check()
        except UNREADABLE:
            super().__init__(_without_contents(payload), channel, **options)
            self.errors = [sys.exc_info()]

    def _check(self) -> None:
        """Raise unless the message has what it takes to note and to refuse it."""
        place = [self.delivery_tag, *map(self.delivery_info.get, ("exchange", "routing_key"))]
        if not all(isinstance(text, str) for text in place) or not isinstance(self.body, bytes):
            raise TypeError("the message has no place or no body")


def _without_contents(payload: Any) -> dict[str, Any]:
    """Return what is needed to refuse a message, under its own tag if it has one."""
    try:
        tag = payload["properties"]["delivery_tag"]
    except UNREADABLE:
        tag = None
    return {
        "body": "",
        "properties": {
            "delivery_tag": tag if isinstance(tag, str) else uuid.uuid4().hex,
            "delivery_info": {"exchange": "", "routing_key": ""},
        },
    }


def note_loss(payload: dict[str, Any], visibility_timeout: float) -> None:
    """Count in a message that its worker was lost, unless it only waited for its time there.

    Args:
        payload: The message, as it was taken longer than this time ago.
        visibility_timeout: In seconds.
    """
    # Nothing that is put back may be lost by being counted.
    with suppress(*UNREADABLE):
        headers = payload["headers"]
        due = datetime.fromisoformat(headers["eta"]).timestamp() if headers.get("eta") else 0.0
        if due < time.time() - visibility_timeout:
            headers[LOSSES] = headers.get(LOSSES, 0) + 1
