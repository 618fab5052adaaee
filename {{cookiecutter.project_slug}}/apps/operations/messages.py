"""A message as a worker's main process sees it, with the request's id on the lines about it.

The child process that runs the task has the id from the signals in ``request_ids``. These lines are
written outside of it: that a task was received, that it ran into a limit, that its child died.

What a worker tells others of a task has none of its values.

A task that takes its process or its whole worker with it is not run for ever.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import signals
from celery.exceptions import InvalidTaskError
from celery.worker import request
from structlog.contextvars import bind_contextvars, clear_contextvars

from apps.operations.envelopes import LOSSES, UNREADABLE
from apps.operations.failures import LostTooOftenError
from apps.operations.redaction import MASK
from apps.operations.request_ids import NAME

# The class of an exception in its usual form, as in ValueError('...').
EXCEPTION = re.compile(r"\w+(?=\()")
# What may hold values in an event.
PRIVATE_FIELDS = ("exception", "result", "traceback")
# How often a task is run again after its process or its worker died, as Celery's max_retries.
MAX_LOSSES = 3
# What Celery uses of a message without looking, and the form that it takes for granted.
FORMS: dict[str, Any] = {
    "id": str,
    "args": list,
    "kwargs": dict,
    "headers": dict,
    "retries": int,
    "timelimit": list | tuple,
    "stamped_headers": list,
    "stamps": dict,
    LOSSES: int,
    "callbacks": list,
    "errbacks": list,
    "chain": list,
    "chord": dict,
}
LINKS = ("callbacks", "errbacks", "chain")


class Request(request.Request):
    """Celery's message, which marks the lines about itself."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        try:
            self._check()
        except UNREADABLE as error:
            raise InvalidTaskError("its parts have not the form of a task's") from error
        # Until task_received: Celery logs the arrival in between, and offers no other place.
        self._bind()

    def revoked(self) -> bool:
        """Log and return whether the task is not to run: it is revoked, too late, or a poison."""
        with self._lines():
            if super().revoked():
                return True
            if self._losses <= MAX_LOSSES:
                return False
            try:
                raise LostTooOftenError(f"Its worker died {self._losses} times while it had it.")
            except LostTooOftenError:
                super().on_failure(ExceptionInfo())
            return True

    def on_accepted(self, *args: Any) -> None:
        """Note that a child process runs the task."""
        with self._lines():
            super().on_accepted(*args)

    def on_timeout(self, *args: Any) -> None:
        """Log that the task ran into a limit of time."""
        with self._lines():
            # Whoever hears of the failure may ask the task, as after any other failure.
            request: Any = self
            request.task.request_stack.push(request._context)
            try:
                super().on_timeout(*args)
            finally:
                request.task.request_stack.pop()

    def on_failure(self, *args: Any, **options: Any) -> Any:
        """Log and handle that the task failed, or that its child process died."""
        request: Any = self
        if request._already_cancelled:
            return None  # Its message was put back, and may be with another worker by now.
        with self._lines():
            return super().on_failure(*args, **options)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """End the task, because its message was put back while the broker was away.

        Args:
            pool: What runs it.
            signal: With what to end it.
            emit_retry: Taken for not asked: a store of results that is away too would have Celery
                forget that it was this that ended the task, and acknowledge the message.
        """
        super().cancel(pool, signal, emit_retry=False)

    def info(self, safe: bool = True) -> Any:
        """Describe the task for ``celery inspect``, without the values of its arguments.

        Args:
            safe: Taken for granted; Celery asks for the values of tasks that wait.
        """
        return super().info(safe=True)

    def send_event(self, type: str, **fields: Any) -> None:
        """Send an event without what the task returned and what its exception says.

        Args:
            type: Of the event, as ``task-failed``.
            fields: What it tells.
        """
        for name in PRIVATE_FIELDS:
            if fields.get(name) is not None:
                kind = EXCEPTION.match(fields[name]) if name == "exception" else None
                fields[name] = kind[0] if kind else MASK
        super().send_event(type, **fields)

    @property
    def _losses(self) -> int:
        headers: Any = self.request_dict
        return headers.get(LOSSES) or 0

    def _retry_worker_lost(self, *args: Any) -> bool:
        if self._losses >= MAX_LOSSES:
            return False
        context: Any = self._context  # type: ignore[attr-defined]
        context.headers = {**(context.headers or {}), LOSSES: self._losses + 1}
        if not super()._retry_worker_lost(*args):  # type: ignore[misc]
            # Celery would acknowledge a message whose next one never reached the broker.
            self.reject(requeue=True)
        return True

    def _check(self) -> None:
        """Raise unless all has the form that Celery takes for granted later."""
        *_, embed = self._payload  # type: ignore[attr-defined]
        given = {**self.request_dict, **(embed or {})}
        parts = [(given[name], FORMS[name]) for name in FORMS if given.get(name)]
        parts += [(link, dict) for name in LINKS for link in given.get(name) or ()]
        if not given["id"] or not all(isinstance(value, form) for value, form in parts):
            raise TypeError
        if self.eta:
            self.eta.astimezone(UTC)
        for limit in self.time_limits:
            float(limit or 0)

    @contextmanager
    def _lines(self) -> Iterator[None]:
        self._bind()
        try:
            yield
        finally:
            clear_contextvars()

    def _bind(self) -> None:
        headers: Any = self.request_dict
        bind_contextvars(task=self.name, task_id=self.id, **{NAME: headers.get(NAME)})


@signals.task_received.connect
def end_arrival(**_: Any) -> None:
    """Mark no further lines: the message has arrived."""
    clear_contextvars()
