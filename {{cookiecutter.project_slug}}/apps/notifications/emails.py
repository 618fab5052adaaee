"""Hands one e-mail to the mail server and says what became of it."""

import errno
import smtplib
import socket
from email.utils import parseaddr

from django.conf import settings
from django.core.mail import EmailMultiAlternatives

from .errors import PermanentDeliveryError, TemporaryDeliveryError

OUTAGES = (smtplib.SMTPServerDisconnected, ConnectionError, TimeoutError, socket.gaierror)
# Python has no class of its own for these.
UNREACHABLE = {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}


def deliver(
    subject: str, body: str, recipients: list[str], html: str | None, message_id: str
) -> None:
    """Send one message to all recipients, who see each other's addresses.

    Args:
        subject: one line.
        body: plain text.
        recipients: addresses for the To header, "Name <address>" or bare.
        html: the same content as HTML, None for a message with plain text only.
        message_id: the local part of the Message-ID header. A server's last answer can be lost
            and the message be sent again; by an equal Message-ID mail systems know it is one.

    Raises:
        TemporaryDeliveryError: the server could not be reached, or answered with a 4xx code.
        PermanentDeliveryError: the server answered with a 5xx code.
        ValueError: no recipients, or a line break in the subject or in a recipient.
    """
    if not recipients:
        raise ValueError("An e-mail needs at least one recipient.")
    # Django refuses line breaks too, but quotes the text, which would then be in the log.
    if any("\n" in text or "\r" in text for text in (subject, *recipients)):
        raise ValueError("The subject or a recipient of an e-mail holds a line break.")
    sender_domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]
    message = EmailMultiAlternatives(
        subject=subject,
        body=body,
        # smtplib counts an address that is listed twice as two when it decides whether all
        # recipients were refused.
        to=list(dict.fromkeys(recipients)),
        headers={"Message-ID": f"<{message_id}@{sender_domain}>"},
    )
    if html is not None:
        message.attach_alternative(html, "text/html")
    # The server's own words are left out (from None) because they may quote a recipient.
    try:
        message.send()
    except smtplib.SMTPRecipientsRefused as exc:
        codes = sorted({code for code, _ in exc.recipients.values()})
        raise _rejection("every recipient", codes) from None
    except smtplib.SMTPResponseException as exc:
        raise _rejection(type(exc).__name__, [exc.smtp_code]) from None
    except OSError as exc:
        if isinstance(exc, OUTAGES) or exc.errno in UNREACHABLE:
            raise TemporaryDeliveryError(f"The mail server cannot be reached: {exc}") from exc
        raise


def _rejection(what: str, codes: list[int]) -> TemporaryDeliveryError | PermanentDeliveryError:
    """Return the error for the SMTP reply codes of a server that did not take the message."""
    text = f"The mail server answered {', '.join(map(str, codes))} ({what})."
    # If some recipients are refused for good, trying again would deliver to the others and hide
    # that: better one error that names both codes.
    if all(400 <= code < 500 for code in codes):
        return TemporaryDeliveryError(text)
    return PermanentDeliveryError(text)
