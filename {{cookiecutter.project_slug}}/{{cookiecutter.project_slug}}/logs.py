"""One logging configuration for Django, Celery and gunicorn."""

import logging
import sys
from collections.abc import Iterable
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from apps.operations.redaction import Redaction

FORMATS = ("json", "console")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class WithoutValues(logging.Filter):
    """Takes the values of arguments and results out of what Celery logs about messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; it is logged all the same."""
        text = str(record.msg)
        if text.startswith("Could not restore message"):
            record.args = ("(not shown)",)
        if record.name == "celery.worker.consumer.consumer" and "body" in text:
            record.msg = f"{text.partition('%')[0].splitlines()[0]} (not shown)"
            record.args = ()
            record.exc_info = None
        if isinstance(record.args, dict) and "return_value" in record.args:
            record.args = {**record.args, "return_value": "(not shown)"}
        return True


def _leave_values_out(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep the task's name and id of a line that Celery wrote, and drop the arguments' values.

    Django's lines carry the request, and with it a query that may hold a token.
    """
    for name in ("request", "server_time"):
        event.pop(name, None)
    data = event.pop("data", None)
    if isinstance(data, dict):
        event.update(task=data.get("name"), task_id=data.get("id"))
    return event


def _mask(secrets: Iterable[str]) -> Processor:
    """Return a processor that masks secrets in all that a line holds, its traceback too."""
    redaction = Redaction(secrets)

    def mask(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        masked: EventDict = redaction(event)
        return masked

    return mask


def logging_config(level: str, log_format: str, secrets: Iterable[str] = ()) -> dict[str, Any]:
    """Describe the logging of a process for ``logging.config.dictConfig``.

    Args:
        level: The lowest level that is logged, one of ``LEVELS``.
        log_format: ``json`` for one JSON object per line, ``console`` for people.
        secrets: Values that no line shows.

    Returns:
        A configuration with one handler that writes to standard output.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _leave_values_out,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    render: Processor = structlog.processors.JSONRenderer()
    if log_format == "console":
        render = structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "default": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    # As text: the structured form would print the values of local variables.
                    structlog.processors.format_exc_info,
                    _mask(secrets),
                    render,
                ],
            },
        },
        "filters": {"without_values": {"()": WithoutValues}},
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "filters": ["without_values"],
                "formatter": "default",
                "stream": "ext://sys.stdout",
            },
            "null": {"class": "logging.NullHandler"},
        },
        "root": {"level": level, "handlers": ["stdout"]},
        "loggers": {
            # Django's and gunicorn's own handlers would write lines of another form.
            "django": {"handlers": [], "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
            "gunicorn.error": {"handlers": [], "propagate": True},
            "gunicorn.access": {"handlers": [], "propagate": True},
            # Scanners send forged Host headers all day; the answer is 400 all the same.
            "django.security.DisallowedHost": {"handlers": ["null"], "propagate": False},
            # Its lines for debugging hold the arguments of every task.
            "celery.pool": {"level": "INFO"},
{%- if cookiecutter.email_provider == "ses" %}
            # Its lines for debugging hold whole messages.
            "botocore": {"level": "INFO"},
{%- endif %}
            # httpx logs whole URLs, which may carry tokens.
            "httpx": {"level": "WARNING"},
        },
    }
