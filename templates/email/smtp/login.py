"""Logs in to the mail server as a message would; nothing is sent."""

import smtplib
import ssl

from django.conf import settings
from django.core.mail import get_connection
from django.core.mail.backends.smtp import EmailBackend

from .errors import PermanentDeliveryError, TemporaryDeliveryError

# In seconds, to connect and for each answer.
TIMEOUT = 3


def check_login() -> None:
    """Log in to the mail server, if that is where mail goes.

    Raises:
        TemporaryDeliveryError: it could not be reached, or has no time.
        PermanentDeliveryError: it refused the login, or the settings do not fit it.
    """
    connection = get_connection(settings.EMAIL_DELIVERY_BACKEND, timeout=TIMEOUT)
    if not isinstance(connection, EmailBackend):
        return  # the console, or the outbox of a test
    server = f"{connection.host}:{connection.port}"
    # The server's own words are left out (from None): they may quote the login.
    try:
        connection.open()
    except smtplib.SMTPServerDisconnected as exc:
        raise TemporaryDeliveryError(_outage(server, str(exc))) from exc
    except smtplib.SMTPResponseException as exc:
        raise _refusal(server, exc) from None
    except (smtplib.SMTPException, UnicodeError) as exc:
        raise PermanentDeliveryError(
            f"{server} cannot be logged in to ({type(exc).__name__}): are EMAIL_USE_TLS, "
            "EMAIL_PORT, EMAIL_HOST_USER and EMAIL_HOST_PASSWORD right?"
        ) from None
    except ssl.SSLCertVerificationError as exc:
        raise PermanentDeliveryError(
            f"the certificate of {server} is not accepted ({exc.verify_message}): is EMAIL_HOST "
            "the name in it?"
        ) from exc
    except OSError as exc:
        raise TemporaryDeliveryError(_outage(server, str(exc))) from exc
    finally:
        connection.close()


def _refusal(
    server: str, exc: smtplib.SMTPResponseException
) -> TemporaryDeliveryError | PermanentDeliveryError:
    """Return the error for the SMTP reply code of a server that lets nobody in."""
    code = exc.smtp_code
    if 400 <= code < 500:
        return TemporaryDeliveryError(f"{server} takes no mail now (it answered {code}).")
    if isinstance(exc, smtplib.SMTPAuthenticationError):
        return PermanentDeliveryError(
            f"{server} refuses the login (it answered {code}): are EMAIL_HOST_USER and "
            "EMAIL_HOST_PASSWORD right?"
        )
    return PermanentDeliveryError(
        f"{server} takes no mail from here (it answered {code}): is EMAIL_HOST right?"
    )


def _outage(server: str, reason: str) -> str:
    return (
        f"{server} does not answer ({reason}): is it out of order, or are EMAIL_HOST, "
        "EMAIL_PORT or EMAIL_USE_SSL wrong?"
    )
