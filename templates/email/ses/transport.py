"""Hands one message to Amazon SES and says what became of it."""

from http import HTTPStatus

from anymail.exceptions import AnymailAPIError, AnymailError
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from .errors import PermanentDeliveryError, TemporaryDeliveryError
from .retries import parse_retry_after

# Some come with status 400.
# https://docs.aws.amazon.com/ses/latest/APIReference-V2/CommonErrors.html
TEMPORARY = {
    "LimitExceededException",
    "RequestTimeout",
    "RequestTimeoutException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}


def send(message: EmailMessage, message_id: str) -> None:
    """Send one message.

    Args:
        message: the message.
        message_id: the same for every try of one message; Amazon SES has no use for it.

    Raises:
        TemporaryDeliveryError: Amazon SES could not be reached, has no time or is broken.
        PermanentDeliveryError: it refused the message or the login.
    """
    # The libraries' own words are left out (from None): they quote the message and the answer.
    try:
        get_connection(settings.EMAIL_DELIVERY_BACKEND).send_messages([message])
    except AnymailAPIError as exc:
        raise _failure(exc.__cause__) from None
    except (AnymailError, ValueError) as exc:
        text = f"Amazon SES cannot be given the message ({type(exc).__name__})."
        raise PermanentDeliveryError(text) from None


def _failure(exc: BaseException | None) -> TemporaryDeliveryError | PermanentDeliveryError:
    """Return the error for what boto3 raised."""
    if isinstance(exc, ConnectionError | HTTPClientError):
        return TemporaryDeliveryError(f"Amazon SES cannot be reached ({type(exc).__name__}).")
    if not isinstance(exc, ClientError):
        return PermanentDeliveryError(f"Amazon SES cannot be asked ({type(exc).__name__}).")
    code = exc.response["Error"]["Code"]
    status = exc.response["ResponseMetadata"]["HTTPStatusCode"]
    text = f"Amazon SES answered {status} ({code})."
    if code in TEMPORARY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        header = exc.response["ResponseMetadata"]["HTTPHeaders"].get("retry-after", "")
        return TemporaryDeliveryError(text, retry_after=parse_retry_after(header))
    return PermanentDeliveryError(text)
