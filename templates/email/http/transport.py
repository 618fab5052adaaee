"""Hands one message to {{ cookiecutter.__email_name }} and says what became of it."""

from http import HTTPStatus
from typing import Any

from anymail.exceptions import AnymailError, AnymailRequestsAPIError
from django.conf import settings
from django.core.mail import EmailMessage, get_connection

{% if cookiecutter.email_provider in ("sendgrid", "mailgun", "postmark") -%}
from .emails import identify
{% endif -%}
from .errors import PermanentDeliveryError, TemporaryDeliveryError
from .retries import parse_retry_after

TEMPORARY = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
{%- if cookiecutter.email_provider == "resend" %}
# Resend's name for the 409 that passes: an earlier request with the same Idempotency-Key is still
# being worked on. The other one, for the same key with another message, stays.
IN_PROGRESS = '"concurrent_idempotent_requests"'
{%- endif %}
{%- if cookiecutter.email_provider in ("postmark", "mailjet") %}
# What Anymail calls the state of a recipient whom {{ cookiecutter.__email_name }} took.
TAKEN = {"sent", "queued"}
{%- endif %}


def send(message: EmailMessage, message_id: str) -> None:
    """Send one message.

    Args:
{%- if cookiecutter.email_provider in ("sendgrid", "mailgun", "postmark") %}
        message: the message; it gets a Message-ID header.
        message_id: the same for every try of one message.
{%- elif cookiecutter.email_provider == "resend" %}
        message: the message.
        message_id: the same for every try of one message; Resend sends a message once for each.
{%- else %}
        message: the message.
        message_id: the same for every try of one message; {{ cookiecutter.__email_name }} has no use for it.
{%- endif %}

    Raises:
        TemporaryDeliveryError: {{ cookiecutter.__email_name }} could not be reached, or answered with a code that
            may pass.
        PermanentDeliveryError: it answered anything else{% if cookiecutter.email_provider in ("postmark", "mailjet") %}, or took the message for nobody{% endif %}.
    """
{%- if cookiecutter.email_provider in ("sendgrid", "mailgun", "postmark") %}
    identify(message, message_id)
{%- endif %}
    # Anymail's own words are left out (from None): they quote the message and the answer.
    try:
{%- if cookiecutter.email_provider == "resend" %}
        with get_connection(settings.EMAIL_DELIVERY_BACKEND) as connection:
            # https://resend.com/docs/dashboard/emails/idempotency-keys
            if session := getattr(connection, "session", None):
                session.headers["Idempotency-Key"] = message_id
            connection.send_messages([message])
{%- else %}
        get_connection(settings.EMAIL_DELIVERY_BACKEND).send_messages([message])
{%- endif %}
    except AnymailRequestsAPIError as exc:
        raise _failure(exc) from None
    except (AnymailError, ValueError) as exc:
        text = f"{{ cookiecutter.__email_name }} cannot be given the message ({type(exc).__name__})."
        raise PermanentDeliveryError(text) from None
{%- if cookiecutter.email_provider in ("postmark", "mailjet") %}
    # Anymail raises if every recipient is said to be refused, but not if none is said to be taken.
    status = getattr(message, "anymail_status", None)
    if status is not None and not status.status & TAKEN:
        raise PermanentDeliveryError("{{ cookiecutter.__email_name }} took the message for no recipient.")
{%- endif %}


def _failure(exc: Any) -> TemporaryDeliveryError | PermanentDeliveryError:
    """Return the error for an answer that is none, or none of success."""
    if exc.response is None:
        text = f"{{ cookiecutter.__email_name }} cannot be reached ({type(exc.__cause__).__name__})."
        # A URL that makes no sense will make none later.
        if isinstance(exc, ValueError):
            return PermanentDeliveryError(text)
        return TemporaryDeliveryError(text)
    status = exc.response.status_code
    text = f"{{ cookiecutter.__email_name }} answered {status}."
{%- if cookiecutter.email_provider == "resend" %}
    is_in_progress = status == HTTPStatus.CONFLICT and IN_PROGRESS in exc.response.text
    if is_in_progress or status in TEMPORARY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
{%- else %}
    if status in TEMPORARY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
{%- endif %}
        retry_after = parse_retry_after(exc.response.headers.get("Retry-After", ""))
        return TemporaryDeliveryError(text, retry_after=retry_after)
    return PermanentDeliveryError(text)
