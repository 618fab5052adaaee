"""What happens when a task fails for good."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Task, signals

from apps.operations.alerts import send_alert

logger = logging.getLogger(__name__)


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
    try:
        return list(inspect.signature(task.run).bind(*args, **kwargs).arguments)
    except TypeError:
        return [*(f"#{position}" for position in range(1, len(args) + 1)), *kwargs]


@signals.task_failure.connect
def report_failure(
    sender: Task[..., Any],
    task_id: str,
    exception: BaseException,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    **_: Any,
) -> None:
    """Log which task failed with which arguments, and alert; Celery logs the traceback.

    Args:
        sender: The task.
        task_id: Its id.
        exception: Why it failed.
        args: Its positional arguments.
        kwargs: Its named arguments.
    """
    names = argument_names(sender, args, kwargs)
    reason = type(exception).__name__
    logger.error(
        "task %s[%s] failed for good: %s",
        sender.name,
        task_id,
        reason,
        extra={"task": sender.name, "task_id": task_id, "argument_names": names},
    )
    send_alert(
        f"{sender.name} failed: {reason}",
        f"The task {sender.name} failed for good with {reason}.\n\n"
        f"Task id: {task_id}\nArguments: {', '.join(names) or 'none'}\n\n"
        "The traceback is in the worker's log, under the task id.\n",
    )


@signals.task_unknown.connect
def report_unknown_task(name: str, id: str, **_: Any) -> None:
    """Log and alert that a message asked for a task that this worker does not have.

    Args:
        name: The name in the message.
        id: The task's id.
    """
    logger.error("task %s[%s] is unknown to this worker and was discarded", name, id)
    send_alert(
        f"{name} is unknown to a worker",
        f"A message for the task {name} was discarded, because a worker has no such task.\n\n"
        f"Task id: {id}\n\n"
        "Is the worker older than the process that sent the message, or was the task renamed?\n",
    )
