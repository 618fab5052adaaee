"""Sending a task that failed once more, and what is kept of it for that.

The message of a failed task may hold private values. It is kept in a table that nothing but
:func:`send_again` reads.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from celery import Task, current_app
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from kombu.utils import json as celery_json

from apps.operations.alerts import public_text
from apps.operations.background import answer, begin
from apps.operations.models import FailedMessage, FailedTask
from apps.operations.pings import ping_broker
from apps.operations.redaction import Redaction
from apps.operations.request_ids import NAME, current_request_id

logger = logging.getLogger(__name__)

# How long messages are kept; what nobody has retried by then, nobody will.
RETENTION = timedelta(days=7)
# In characters, as JSON.
LONGEST_MESSAGE = 256 * 1024
# In seconds: how long the broker may take to say that it is there.
PATIENCE = 1.5


class NotKeptError(Exception):
    """The message of a failed task is not kept; the text says why."""


class NotRetriedError(Exception):
    """A failed task was not sent again; the text says why."""


def message_to_keep(
    task: Task[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> str:
    """Return what it takes to send a task again, as JSON.

    Args:
        task: The task that failed, with its request.
        args: Its positional arguments.
        kwargs: Its named arguments.
        arguments: Both by name.

    Raises:
        NotKeptError: If it is not to be kept.
    """
    if any(fnmatchcase(task.name, pattern) for pattern in settings.TASKS_NOT_KEPT):
        raise NotKeptError("TASKS_NOT_KEPT says that its message is not kept.")
    request: Any = task.request
    if request.chain or request.chord or request.callbacks:
        raise NotKeptError("It was part of a chain or chord, which one task can't take up again.")
    try:
        message = celery_json.dumps(
            {
                "args": args,
                "kwargs": kwargs,
                "queue": (request.delivery_info or {}).get("routing_key"),
                NAME: current_request_id(),
            }
        )
        plain_arguments = json.loads(celery_json.dumps(arguments))
    except (TypeError, ValueError):
        raise NotKeptError("Its arguments are no JSON.") from None
    if len(message) > LONGEST_MESSAGE:
        raise NotKeptError(f"Its message is longer than {LONGEST_MESSAGE // 1024} KiB.")
    if Redaction(settings.SECRET_VALUES)(plain_arguments) != plain_arguments:
        raise NotKeptError("Its message holds a password, a token or another secret.")
    return message


def obstacle(failure: FailedTask, *, has_message: bool) -> str:
    """Return why a failed task can't be sent again, or nothing if it can.

    Args:
        failure: The failure.
        has_message: Whether its message is there.
    """
    if failure.retried_at:
        return "It has been sent again already."
    if failure.not_kept:
        return failure.not_kept
    if failure.task not in _tasks():
        return "No app has this task any more."
    if not has_message:
        return f"Its message was kept for {RETENTION.days} days, and then deleted."
    return ""


def send_again(failure_id: int) -> str:
    """Send a failed task once more, to the queue that it came from, and forget its message.

    Of several calls for one failure, one sends. A process that is killed just after it has sent
    the task sends it a second time when it is asked again, as a worker that is killed does.

    Args:
        failure_id: The failure's primary key.

    Returns:
        The task's name.

    Raises:
        NotRetriedError: If it was not sent.
        django.db.Error: If the database does not answer.
    """
    # The broker first, because sending waits for one that hangs.
    deadline = time.monotonic() + PATIENCE
    if not answer(begin(_broker_answers), deadline, "the broker"):
        raise NotRetriedError("The broker does not answer, so nothing was sent. Try again later.")
    messages = FailedMessage.objects.filter(failure=failure_id)
    with transaction.atomic():
        contents = list(messages.values_list("content", flat=True))
        # After the message: who has sent it meanwhile has left a mark here.
        failure = FailedTask.objects.filter(pk=failure_id).first()
        if failure is None:
            raise NotRetriedError("This failure is no longer known.")
        if reason := obstacle(failure, has_message=bool(contents)):
            raise NotRetriedError(f"Nothing was sent. {reason}")
        # A second call waits here for the end of the first.
        deleted, _ = messages.delete()
        if not deleted:
            raise NotRetriedError("Nothing was sent. It has been sent again already.")
        task_id = _send(failure, celery_json.loads(contents[0]))
        FailedTask.objects.filter(pk=failure_id).update(retried_at=timezone.now())
    logger.info("task %s[%s] was sent again as %s", failure.task, failure.task_id, task_id)
    return failure.task


def _broker_answers() -> bool:
    ping_broker()
    return True


def _send(failure: FailedTask, message: Mapping[str, Any]) -> str:
    options = {"queue": message["queue"]} if message["queue"] else {}
    try:
        result = _tasks()[failure.task].apply_async(
            message["args"],
            message["kwargs"],
            # The lines of the log about both runs have the same request.
            headers={NAME: message[NAME]},
            retry=False,
            **options,
        )
    except Exception as error:
        raise NotRetriedError(f"It could not be sent: {public_text(error)}.") from error
    return str(result.id)


def _tasks() -> Mapping[str, Any]:
    # A web process knows but the tasks that something has imported; a worker imports all.
    current_app.autodiscover_tasks(force=True)
    tasks: Mapping[str, Any] = current_app.tasks
    return tasks
