"""Hands one message to the mail server and says what became of it."""

import errno
import smtplib
import socket
import ssl
from contextlib import suppress

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.smtp import EmailBackend

from .emails import identify
from .errors import PermanentDeliveryError, TemporaryDeliveryError

OUTAGES = (
    smtplib.SMTPServerDisconnected,
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    ssl.SSLError,  # a server that hangs up in the handshake
)
# Python has no class of its own for these.
UNREACHABLE = {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}


class SMTPBackend(EmailBackend):
    """Django's backend, but one that says QUIT without waiting for the answer.

    What became of the message is known by then. A time limit interrupts a task only once, so a
    server that sends a byte now and then could hold the worker in a second wait.
    """

    def _close_connection(self, connection: smtplib.SMTP) -> None:
        with suppress(OSError):
            connection.putcmd("QUIT")
        connection.close()


def send(message: EmailMessage, message_id: str) -> None:
    """Send one message.

    Args:
        message: the message; it gets a Message-ID header.
        message_id: the same for every try of one message.

    Raises:
        TemporaryDeliveryError: the server could not be reached, or answered with a 4xx code.
        PermanentDeliveryError: the server answered with a 5xx code, or an address cannot be used.
    """
    identify(message, message_id)
    # The server's and the library's own words are left out (from None): they may quote a recipient.
    connection = get_connection(settings.EMAIL_DELIVERY_BACKEND)
    try:
        connection.send_messages([message])
    except smtplib.SMTPRecipientsRefused as exc:
        codes = sorted({code for code, _ in exc.recipients.values()})
        raise _rejection("every recipient", codes) from None
    except smtplib.SMTPResponseException as exc:
        raise _rejection(type(exc).__name__, [exc.smtp_code]) from None
    except ssl.SSLCertVerificationError:
        raise
    except OSError as exc:
        if isinstance(exc, OUTAGES) or exc.errno in UNREACHABLE:
            raise TemporaryDeliveryError(f"The mail server cannot be reached: {exc}") from exc
        raise
    except ValueError as exc:
        text = f"A header or an address of the message cannot be used ({type(exc).__name__})."
        raise PermanentDeliveryError(text) from None
    finally:
        # Django leaves a connection that it could not log in on to the garbage collector.
        connection.close()


def _rejection(what: str, codes: list[int]) -> TemporaryDeliveryError | PermanentDeliveryError:
    """Return the error for the SMTP reply codes of a server that did not take the message."""
    text = f"The mail server answered {', '.join(map(str, codes))} ({what})."
    # If some recipients are refused for good, trying again would deliver to the others and hide
    # that: better one error that names both codes.
    if all(400 <= code < 500 for code in codes):
        return TemporaryDeliveryError(text)
    return PermanentDeliveryError(text)
