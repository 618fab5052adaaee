"""What happens when a task fails for good."""

import inspect
import logging
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Task, signals
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from kombu import Message

from apps.operations.alerts import (
    TELLING_ERRORS,
    claim,
    defer,
    public_text,
    send_now,
)
from apps.operations.models import FailedMessage, FailedTask
from apps.operations.pings import ping_database
from apps.operations.reports import DISCARDED, FailureGroup, failures_subject
from apps.operations.retry import NotKeptError, message_to_keep
from apps.operations.tasks import (
    record_discarded_message,
    send_failure_alert,
    send_failure_digest,
)

logger = logging.getLogger(__name__)

# In seconds. What fails within this time after the first failure is in the same mail.
GROUPING_TIME = 60
# In characters; the end of a traceback says most.
LONGEST_TRACEBACK = 10_000
# In characters; an id or a name in a message may be anything.
LONGEST_NAME = 100
# Nobody is alerted that an alert failed.
SILENT_TASKS = {send_failure_alert.name, send_failure_digest.name}


class LostTooOftenError(Exception):
    """A task is not run any more, because its worker died each time; the text tells no values."""


def argument_names(
    task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[str]:
    """Name the arguments of a call without their values, which may be private.

    Args:
        task: The task that was called.
        args: Its positional arguments.
        kwargs: Its named arguments.

    Returns:
        The names in the order of the task's signature.
    """
    return list(_arguments_by_name(task, args, kwargs))


def _arguments_by_name(
    task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Mapping[str, Any]:
    try:
        return inspect.signature(task.run).bind(*args, **kwargs).arguments
    except TypeError:
        return {f"#{position}": value for position, value in enumerate(args, 1)} | dict(kwargs)


def traceback_without_values(exception: BaseException) -> str:
    """Return where an exception and those that led to it were raised.

    Args:
        exception: The last one.

    Returns:
        Frames and classes as Python prints them, the first cause first. The exceptions' texts are
        left out, because they may hold private values.
    """
    chain = [exception]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    parts = [
        f"{''.join(traceback.format_tb(error.__traceback__))}{type(error).__qualname__}\n"
        for error in reversed(chain)
    ]
    return "\n".join(parts)[-LONGEST_TRACEBACK:]


@signals.task_failure.connect
def report_failure(
    sender: Task[..., Any],
    task_id: str,
    exception: BaseException,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    **_: Any,
) -> None:
    """Log and record which task failed with which arguments, and see to it that people hear.

    Celery logs the traceback.

    Args:
        sender: The task.
        task_id: Its id.
        exception: Why it failed.
        args: Its positional arguments.
        kwargs: Its named arguments.
    """
    telling = (*TELLING_ERRORS, LostTooOftenError)
    known = sender.request.id == task_id and not isinstance(exception, LostTooOftenError)
    failure = FailedTask(
        task=sender.name,
        task_id=task_id,
        reason=type(exception).__name__,
        detail=str(exception) if isinstance(exception, telling) else "",
        # Nothing is known of it where the process that ran the task has died.
        attempts=sender.request.retries + 1 if known else None,
        argument_names=argument_names(sender, args, kwargs),
        traceback=traceback_without_values(exception),
        failed_at=timezone.now(),
    )
    message = None
    try:
        arguments = _arguments_by_name(sender, args, kwargs)
        message = FailedMessage(content=message_to_keep(sender, args, kwargs, arguments))
    except NotKeptError as refusal:
        failure.not_kept = str(refusal)
    logger.error(
        "task %s[%s] failed for good: %s",
        failure.task,
        failure.task_id,
        public_text(exception),
        extra={
            "task": failure.task,
            "task_id": failure.task_id,
            "argument_names": failure.argument_names,
            "attempts": failure.attempts,
        },
    )
    _tell(failure, recorded=_record(failure, message))


def _tell(failure: FailedTask, *, recorded: bool) -> None:
    """See to it that people hear of a failure, with others of its kind if it is recorded."""
    subject = failures_subject(failure.task, failure.reason)
    if failure.task in SILENT_TASKS or not settings.ALERT_RECIPIENTS or not claim(subject):
        return
    if recorded and _enqueue_alert(failure):
        return
    group = FailureGroup.of_one(failure)
    if not send_now(group.subject(), group.body()):
        defer(subject)


def _record(failure: FailedTask, message: FailedMessage | None) -> bool:
    """Write a failure down, and return whether that was possible."""
    try:
        ping_database()
        with transaction.atomic():
            failure.save()
            if message:
                message.failure = failure
                message.save()
    except Exception as error:
        logger.warning("a failure could not be recorded: %s", type(error).__name__)
        return False
    return True


def _enqueue_alert(failure: FailedTask) -> bool:
    """Let a worker tell of all such failures in a while; return whether that was possible."""
    try:
        send_failure_alert.apply_async((failure.task, failure.reason), countdown=GROUPING_TIME)
    except Exception as error:
        logger.warning("an alert could not be enqueued: %s", type(error).__name__)
        return False
    return True


@signals.task_unknown.connect
def report_unknown_task(message: Message, name: str, id: str, **_: Any) -> None:
    """Log that a message asked for a task that this worker does not have; people hear of it.

    Args:
        message: The message.
        name: The name in the message.
        id: The task's id.
    """
    name, id = _legible(name), _legible(id)
    logger.error(
        "task %s[%s] is unknown to this worker and was discarded",
        name,
        id,
        extra={"task": name, "task_id": id, "request_id": message.headers.get("request_id")},
    )
    _report_discarded("unknown task", id, detail=name)


@signals.task_rejected.connect
def report_unreadable(message: Message | None, exc: BaseException | None, **_: Any) -> None:
    """Log that a message could not be read, and see to it that people hear.

    Args:
        message: The message; nothing if it is not even JSON.
        exc: How that was noticed; nothing if it asked for no task at all.
    """
    task_id = _legible(message.headers.get("id", "none") if message else "none")
    reason = type(exc).__name__ if exc else "no task"
    logger.error(
        "a message could not be read and was discarded: %s", reason, extra={"task_id": task_id}
    )
    _report_discarded("unreadable", task_id, detail=reason)


def _report_discarded(reason: str, task_id: str, detail: str) -> None:
    """Leave it to a task: a worker's main process must not wait for a database that hangs."""
    try:
        record_discarded_message.apply_async((reason, task_id, detail), retry=False)
    except Exception as error:
        logger.warning("a discarded message could not be recorded: %s", type(error).__name__)
        _tell(_discarded(reason, task_id, detail), recorded=False)


def record_discarded(reason: str, task_id: str, detail: str) -> None:
    """Record a message that was discarded, and see to it that people hear.

    Args:
        reason: Why, in the same words for the same thing.
        task_id: The id in the message.
        detail: What else may be told of it.
    """
    failure = _discarded(reason, task_id, detail)
    _tell(failure, recorded=_record(failure, None))


def _discarded(reason: str, task_id: str, detail: str) -> FailedTask:
    return FailedTask(
        task=DISCARDED,
        task_id=task_id,
        reason=reason,
        detail=detail,
        failed_at=timezone.now(),
        not_kept="It is no message of a task that this worker has.",
    )


def _legible(text: Any) -> str:
    """Return what may stand in a mail and in PostgreSQL of a text that anybody may have written."""
    shown = str(text)[:LONGEST_NAME]
    return "".join(character if character.isprintable() else "?" for character in shown)
