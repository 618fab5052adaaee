"""How a worker goes on after a message that nobody can read."""

from collections.abc import Callable
from typing import Any

from celery import signals
from celery.worker.consumer import Consumer
from kombu import Message

from apps.operations.envelopes import UNREADABLE


class MessageConsumer(Consumer):
    """Celery's own, which refuses each message that it can't read instead of ending the worker."""

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Message], None]:
        """Return what takes each message."""
        handle = super().create_task_handler(*args, **options)

        def on_task_received(message: Message) -> None:
            try:
                handle(message)
            except UNREADABLE as error:
                self.on_invalid_task(None, message, error)

        return on_task_received

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Refuse a message, and let others know as Celery does of any other that it refuses.

        Args:
            message: The message.
            exc: Why it can't be read.
        """
        super().on_decode_error(message, exc)
        signals.task_rejected.send(sender=self, message=message, exc=exc)
