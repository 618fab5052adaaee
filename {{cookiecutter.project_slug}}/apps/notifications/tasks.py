"""Tasks that notify the world outside; call them with `delay_on_commit`.

A task that gives up raises: what happens then (log, alert) is up to the project, not to the task.
"""

from typing import Any, NoReturn

from celery import Task, shared_task
from celery.contrib.django.task import DjangoTask
from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.utils import uuid
from celery.utils.time import get_exponential_backoff_interval
from django.core.mail import EmailMessage

{% if cookiecutter.email_provider == "smtp" -%}
from . import emails, transport
{%- else -%}
from . import emails, suppression, transport
{%- endif %}
from .errors import TemporaryDeliveryError

# With the delays below, about an hour, and two at most.
MAX_RETRIES = 12
# Seconds. Every delay must stay far below the broker's visibility timeout of an hour, after which
# a waiting task would be delivered a second time.
BACKOFF_BASE = 30
LONGEST_BACKOFF = 900
LONGEST_RETRY_AFTER = 1800
# Seconds for one try of an e-mail. The timeouts of the clients are for each read, so a server that
# sends a byte now and then would hold a worker for hours. Only the prefork pool, Celery's default,
# can interrupt a task.
SENDING_TIME = 60


def backoff(retries: int) -> int:
    """Return a random number of seconds up to 30, 60, 120, ... for the retries made so far.

    The chance ("full jitter") keeps tasks that failed together from coming back together.
    """
    return get_exponential_backoff_interval(
        BACKOFF_BASE, retries, maximum=LONGEST_BACKOFF, full_jitter=True
    )


def try_again(task: Task[..., Any], error: Exception, countdown: int) -> NoReturn:
    """Have a task tried again, though the broker may not take the message for that.

    Args:
        task: The task that is running.
        error: Why, and what it fails with after its last retry.
        countdown: When, in seconds.

    Raises:
        celery.exceptions.Retry: If the broker has taken the message.
        celery.exceptions.Reject: If it has not: the present message goes back to its queue, which
            counts no retry. Celery itself would drop it.
        Exception: The error, if this was the last try.
    """
    try:
        raise task.retry(exc=error, countdown=countdown) from error
    except Reject as rejection:
        raise Reject(rejection.reason, requeue=True) from error  # type: ignore[attr-defined]


@shared_task(bind=True, base=DjangoTask, max_retries=MAX_RETRIES, soft_time_limit=SENDING_TIME)
def send_email(
    self: DjangoTask[..., None],
    subject: str,
    body: str,
    recipients: list[str],
    html: str | None = None,
) -> None:
    """Send one e-mail from DEFAULT_FROM_EMAIL to all recipients.
{%- if cookiecutter.email_provider == "smtp" %}

    It is tried again for about an hour, after growing delays, while the mail server cannot be
    reached or answers with a 4xx code. A 5xx answer, a refused login or a broken argument fails at
    once.

    The server takes or refuses each recipient. Only if it refuses all of them is this an error.
    If it takes some, those get the message once, the task has succeeded, and nobody hears of the
    others: Django's SMTP backend drops what smtplib tells about them. Use one task for each
    recipient where every single one matters.
{%- else %}

    It is tried again for about an hour while {{ cookiecutter.__email_name }} cannot be reached, is too busy or
    broken: after the seconds of its Retry-After header, half an hour at most, else after growing
    delays. Any other refusal or a broken argument fails at once.

    Suppressed addresses are left out. If nobody is left, the task has succeeded.
{%- endif %}

    Args:
        subject: one line.
        body: plain text.
        recipients: addresses for the To header; every recipient sees them all.
        html: the same content as HTML, if there is any.
    """
    _send(self, emails.compose(subject, body, recipients, html))


@shared_task(bind=True, base=DjangoTask, max_retries=MAX_RETRIES, soft_time_limit=SENDING_TIME)
def send_message(self: DjangoTask[..., None], message: dict[str, Any]) -> None:
    """Send a message that Django was asked to send; `QueueEmailBackend` calls it.

    It is tried again as `send_email` is.

    Args:
        message: what `emails.as_json` made of it.
    """
    _send(self, emails.from_json(message))


@shared_task(bind=True, base=DjangoTask, max_retries=MAX_RETRIES)
def send_webhook(self: DjangoTask[..., None], url: str, payload: dict[str, Any]) -> None:
    """Post a signed webhook, by Standard Webhooks, to a public https URL.

    It is tried again for about an hour while the receiver cannot be reached or answers 408, 429 or
    5xx: after the seconds of its Retry-After header, half an hour at most, else after growing
    delays. Any other answer but 2xx fails at once, and so does an address that is not public (see
    WEBHOOK_ALLOWED_NETWORKS) or a host without a secret in WEBHOOK_SECRETS. The webhook-id is the
    task's id and stays the same, so the receiver can tell a second copy.

    Args:
        url: where to; up to three redirects (307, 308) are followed.
        payload: what to send, JSON.
    """
    # Here, because its HTTP client would make every process start later.
    from . import webhooks  # noqa: PLC0415

    message_id = self.request.id or uuid()
    try:
        webhooks.deliver(url, payload, message_id)
    except TemporaryDeliveryError as error:
        try_again(self, error, _delay(self, error))


def _send(task: DjangoTask[..., None], message: EmailMessage) -> None:
    """Send a message, and have the task tried again if that may help."""
    error: TemporaryDeliveryError
    try:
{%- if cookiecutter.email_provider == "smtp" %}
        transport.send(message, task.request.id or uuid())  # no id: a plain function
        return
{%- else %}
        suppression.leave_out(message)
        if message.recipients():
            transport.send(message, task.request.id or uuid())  # no id: a plain function
        return
{%- endif %}
    except TemporaryDeliveryError as exc:
        error = exc
    except SoftTimeLimitExceeded:
        error = TemporaryDeliveryError(f"Sending was not over after {SENDING_TIME} s.")
    try_again(task, error, _delay(task, error))


def _delay(task: DjangoTask[..., None], error: TemporaryDeliveryError) -> int:
    """Return after how many seconds a task is tried again: those that the other side named."""
    if error.retry_after is None:
        return backoff(task.request.retries)
    return min(max(error.retry_after, 1), LONGEST_RETRY_AFTER)
