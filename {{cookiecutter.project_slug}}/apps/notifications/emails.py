"""Makes e-mails, and turns them into JSON and back so that they can wait in the queue."""

import base64
{%- if cookiecutter.email_provider in ("smtp", "sendgrid", "mailgun", "postmark") %}
from email.utils import parseaddr
{%- endif %}
from typing import Any

{% if cookiecutter.email_provider != "smtp" -%}
from anymail.backends.base import BasePayload
from anymail.utils import UNSET
{% endif -%}
from django.core.mail import EmailMessage, EmailMultiAlternatives

# In bytes. The broker keeps messages in memory, and base64 makes them a third longer.
MAX_ATTACHMENTS = 5 * 1024 * 1024

ADDRESS_FIELDS = ("to", "cc", "bcc", "reply_to")
{%- if cookiecutter.email_provider != "smtp" %}
# What Anymail adds to a message: tags, metadata, template_id, esp_extra and so on.
ANYMAIL_FIELDS = tuple(name for name, _, _ in BasePayload.anymail_message_attrs)
{%- endif %}


def compose(
    subject: str, body: str, recipients: list[str], html: str | None
) -> EmailMultiAlternatives:
    """Make a message from DEFAULT_FROM_EMAIL to recipients who see each other's addresses.

    Args:
        subject: one line.
        body: plain text.
        recipients: addresses for the To header, "Name <address>" or bare.
        html: the same content as HTML, None for a message with plain text only.

    Raises:
        ValueError: no recipients, or a line break in the subject or in a recipient.
    """
    if not recipients:
        raise ValueError("An e-mail needs at least one recipient.")
    # Django refuses line breaks too, but quotes the text, which would then be in the log.
    if any("\n" in text or "\r" in text for text in (subject, *recipients)):
        raise ValueError("The subject or a recipient of an e-mail holds a line break.")
    # Listed twice, an address would be two recipients, of which one can be refused.
    message = EmailMultiAlternatives(subject, body, to=list(dict.fromkeys(recipients)))
    if html is not None:
        message.attach_alternative(html, "text/html")
    return message
{%- if cookiecutter.email_provider in ("smtp", "sendgrid", "mailgun", "postmark") %}


def identify(message: EmailMessage, message_id: str) -> None:
    """Set the Message-ID header, unless the message has one.

    The last answer to a message can be lost and the message be sent again; by an equal Message-ID
    mail systems know that it is one.

    Args:
        message: the message.
        message_id: the local part, equal for every try.
    """
    headers = message.extra_headers
    if not any(name.lower() == "message-id" for name in headers):
        domain = parseaddr(message.from_email)[1].rpartition("@")[2]
        headers["Message-ID"] = f"<{message_id}@{domain}>"
{%- if cookiecutter.email_provider == "postmark" %}
    # Or Postmark replaces it by one of its own.
    headers["X-PM-KeepID"] = "true"
{%- endif %}
{%- endif %}


def as_json(message: EmailMessage) -> dict[str, Any]:
    """Return all that makes up a message, in types that JSON has.

    Raises:
        ValueError: the attachments are too large, or one is not given as name, content and type
{%- if cookiecutter.email_provider == "smtp" %}.
    """
{%- else %};
            or the message has a field of Anymail's.
    """
    for name in ANYMAIL_FIELDS:
        if getattr(message, name, UNSET) not in (UNSET, None):
            raise ValueError(f"A queued e-mail cannot have Anymail's {name}: it would be lost.")
{%- endif %}
    data: dict[str, Any] = {
        "subject": str(message.subject),
        "body": str(message.body),
        "content_subtype": message.content_subtype,
        "from_email": str(message.from_email),
        **{field: list(map(str, getattr(message, field))) for field in ADDRESS_FIELDS},
        "headers": {name: str(value) for name, value in message.extra_headers.items()},
        "alternatives": [
            [str(content), mimetype] for content, mimetype in getattr(message, "alternatives", ())
        ],
        "attachments": [],
    }
    size = 0
    for attachment in message.attachments:
        if not isinstance(attachment, tuple) or not isinstance(attachment[1], str | bytes):
            raise ValueError("An attachment of a queued e-mail must be name, content and type.")
        name, content, mimetype = attachment
        content = content.encode() if isinstance(content, str) else content
        size += len(content)
        data["attachments"].append([name, base64.b64encode(content).decode("ascii"), mimetype])
    if size > MAX_ATTACHMENTS:
        raise ValueError(
            f"The attachments of an e-mail have {size} bytes; {MAX_ATTACHMENTS} may be queued. "
            "Send a link to the file instead."
        )
    return data


def from_json(data: dict[str, Any]) -> EmailMultiAlternatives:
    """Return the message that `as_json` was given."""
    message = EmailMultiAlternatives(
        data["subject"],
        data["body"],
        data["from_email"],
        headers=data["headers"],
        alternatives=data["alternatives"],
        **{field: data[field] for field in ADDRESS_FIELDS},
    )
    message.content_subtype = data["content_subtype"]
    for name, content, mimetype in data["attachments"]:
        message.attach(name, base64.b64decode(content), mimetype)
    return message
