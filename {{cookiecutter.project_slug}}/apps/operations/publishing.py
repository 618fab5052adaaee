"""How messages to workers are written: without the values of arguments outside of their body.

Celery copies the arguments as text into each message's headers, from where they reach events and
what ``celery inspect`` shows.
"""

from typing import Any

from celery.app.amqp import AMQP

from apps.operations.redaction import MASK


class Publisher(AMQP):
    """Celery's own, which leaves the text of the arguments out."""

    def as_task_v2(self, *args: Any, **options: Any) -> Any:
        """Return the message of a task."""
        return super().as_task_v2(*args, **{**options, "argsrepr": MASK, "kwargsrepr": MASK})
