"""The id that marks every log line of a request, and of all tasks that follow from it.

It comes with the request or is made, stands in the answer, and travels in the header of each
message to the worker. A task that nobody's request has caused, a periodic one, gets one of its own.
"""

import re
import uuid
from collections.abc import Callable
from typing import Any

from celery import Task, signals
from django.http import HttpRequest, HttpResponse
from structlog.contextvars import (
    bind_contextvars,
    clear_contextvars,
    get_contextvars,
    reset_contextvars,
)

HEADER = "X-Request-ID"
META_HEADER = "HTTP_X_REQUEST_ID"
# An id from outside is written into every log line, so it is held to what ids are made of.
SANE = re.compile(r"[A-Za-z0-9._-]{8,64}")
# The header of a message, and the name in log lines.
NAME = "request_id"


def new_request_id() -> str:
    """Return an id that nothing else has: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def current_request_id() -> str:
    """Return the id of the request or task that runs here, or nothing outside of one."""
    return str(get_contextvars().get(NAME, ""))


def begin_request(given: str) -> str:
    """Mark the lines that follow in this thread as those of a new request.

    Args:
        given: The id that came with it, if any.

    Returns:
        That id if it is sane, or a new one.
    """
    request_id = given if SANE.fullmatch(given) else new_request_id()
    clear_contextvars()
    bind_contextvars(**{NAME: request_id})
    return request_id


class RequestIDMiddleware:
    """Gives each request its id: the proxy's ``X-Request-ID`` if it is sane, or a new one.

    The id stays bound after the answer, because Django and gunicorn log the request only then;
    the next request of the thread takes its place.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Bind the id and return it with the answer."""
        # Not from `headers`, which costs most requests more than all else here.
        request_id = begin_request(request.META.get(META_HEADER, ""))
        response = self._get_response(request)
        response[HEADER] = request_id
        return response


@signals.before_task_publish.connect
def send_along(headers: dict[str, Any], **_: Any) -> None:
    """Put the id into a message, whoever sends it.

    Args:
        headers: The message's headers.
    """
    if not headers.get(NAME):
        headers[NAME] = current_request_id() or new_request_id()


@signals.task_prerun.connect
def begin_task(task: Task[..., Any], task_id: str, **_: Any) -> None:
    """Mark the lines of a task.

    Args:
        task: The task that is about to run.
        task_id: Its id.
    """
    request: Any = task.request
    # A task that is called without a message may have headers too, or belongs to its caller.
    given = getattr(request, NAME, None) or (request.headers or {}).get(NAME)
    request_id = given or current_request_id() or new_request_id()
    request.log_context = bind_contextvars(task=task.name, task_id=task_id, **{NAME: request_id})


@signals.task_postrun.connect
def end_task(task: Task[..., Any], **_: Any) -> None:
    """Mark the lines as they were marked before the task.

    Args:
        task: The task that has run.
    """
    request: Any = task.request
    reset_contextvars(**getattr(request, "log_context", {}))
