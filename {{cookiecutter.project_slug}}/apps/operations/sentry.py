"""Sending errors, and check-ins of periodic tasks, to Sentry.

Imported only if ``SENTRY_DSN`` is set. What is sent is kept to what names the fault: no values of
arguments or local variables, no bodies, cookies, headers or queries of requests, no users, no log
lines. The text of an exception is sent, with secrets and e-mail addresses masked. The request's id
leads to the lines in the log.
"""

import os
from typing import Any

import sentry_sdk
{% if cookiecutter.scheduler == "platform" -%}
from celery import signals
{% endif -%}
from django.conf import settings
{% if cookiecutter.scheduler == "platform" -%}
from sentry_sdk.crons import MonitorStatus, capture_checkin
{% endif -%}
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.integrations.logging import LoggingIntegration, ignore_logger
from sentry_sdk.types import Event, Hint

from apps.operations.middleware import PROBES
from apps.operations.redaction import Redaction
from apps.operations.request_ids import current_request_id

IGNORED_LOGGERS = (
    # What raised is sent already.
    "apps.operations.failures",
    # Each attempt to reach a broker that is down, and messages with the values they hold.
    "celery.worker.consumer.consumer",
    # Scanners send forged Host headers all day.
    "django.security.DisallowedHost",
)
# In seconds: how long a process that ends may go on sending. It is part of its grace period.
LAST_SECONDS = 2


def start() -> None:
    """Send from now on, from a thread of its own that nobody waits for."""
    for name in IGNORED_LOGGERS:
        ignore_logger(name)
    redact = Redaction(settings.SECRET_VALUES, addresses=True)

    def prepare(event: Event, hint: Hint) -> Event:
        prepared: Event = redact(leave_values_out(event))
        return prepared

    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        release=f"{settings.SERVICE_NAME}@{settings.VERSION}",
        # As in DJANGO_ENVIRONMENT, which may be unset.
        environment=os.environ["DJANGO_SETTINGS_MODULE"].rpartition(".")[2],
        # Only these: the others would be imported, and record commands and addresses.
        auto_enabling_integrations=False,
        integrations=[
            DjangoIntegration(),
{%- if cookiecutter.scheduler == "platform" %}
            # Follows a task from its caller, and tells how a periodic task ended.
            CeleryIntegration(True, True),
{%- else %}
            CeleryIntegration(monitor_beat_tasks=True),
{%- endif %}
            LoggingIntegration(sentry_logs_level=None),
            # The usual one prints at the end of a process, which is no log line.
            AtexitIntegration(callback=lambda pending, timeout: None),
        ],
        traces_sampler=sample_rate,
        before_send=prepare,
        before_send_transaction=prepare,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_session_tracking=False,
        shutdown_timeout=LAST_SECONDS,
    )
{%- if cookiecutter.scheduler == "platform" %}
    signals.before_task_publish.connect(check_in)
{%- endif %}


def leave_values_out(event: Any) -> Any:
    """Reduce an event to what names the fault, and add the request's id to it.

    Args:
        event: What Sentry would send.

    Returns:
        The same event.
    """
    for private in ("breadcrumbs", "extra", "user"):
        event.pop(private, None)
    for part, told in (("request", ("method", "url")), ("logentry", ("message", "formatted"))):
        values: Any = event.get(part)
        if values:
            event[part] = {name: values[name] for name in told if name in values}
    request_id = current_request_id()
    if request_id:
        event.setdefault("tags", {})["request_id"] = request_id
    return event


def sample_rate(context: dict[str, Any]) -> float:
    """Return which share of something's durations is sent; of probes none.

    Args:
        context: What Sentry knows when it begins.
    """
    path = context.get("wsgi_environ", {}).get("PATH_INFO")
    return 0.0 if path in PROBES else settings.SENTRY_TRACES_SAMPLE_RATE
{%- if cookiecutter.scheduler == "platform" %}


def check_in(headers: dict[str, Any], **_: Any) -> None:
    """Tell Sentry that a periodic task is on its way; the worker tells how it ends.

    Args:
        headers: Those of its message, by which the worker knows what to tell.
    """
    entries = {entry.name: entry for entry in settings.PERIODIC_TASKS}
    entry = entries.get(headers.get("periodic_task_name", ""))
    if entry is None or headers["retries"]:
        return
    schedule: Any = {"type": "crontab", "value": entry.as_cron()}
    config: Any = {"schedule": schedule, "timezone": settings.TIME_ZONE}
    check_in_id = capture_checkin(
        monitor_slug=entry.name, monitor_config=config, status=MonitorStatus.IN_PROGRESS
    )
    # Where Sentry's own headers stand, and are looked for by the worker.
    headers["headers"] |= {
        "sentry-monitor-slug": entry.name,
        "sentry-monitor-config": config,
        "sentry-monitor-check-in-id": check_in_id,
    }
{%- endif %}
