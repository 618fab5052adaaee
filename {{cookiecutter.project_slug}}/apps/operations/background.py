"""Asking what may hang, without waiting for it any longer than one wants to."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

from django.db import connections

logger = logging.getLogger(__name__)

T = TypeVar("T")


def begin(function: Callable[[], T]) -> Future[T]:
    """Call a function in a thread of its own, with database connections of its own.

    Args:
        function: What to call. While it hangs, it keeps the process from nothing, not even from
            its end.

    Returns:
        What will be its result.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            try:
                result = function()
            finally:
                connections.close_all()
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    Thread(target=run, name="background", daemon=True).start()
    return future


def answer(future: Future[T], deadline: float, what: str) -> T | None:
    """Wait for a result.

    Args:
        future: What :func:`begin` returned.
        deadline: Until when, on the monotonic clock.
        what: What was asked, for the log.

    Returns:
        The result, or nothing if it did not come in time or was an error.
    """
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except Exception as error:
        logger.warning("%s: no answer: %s", what, type(error).__name__)
        return None
