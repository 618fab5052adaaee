"""Asks Amazon SES whether it takes the access key; nothing is sent."""

from http import HTTPStatus

from anymail.backends.amazon_ses import EmailBackend
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.mail import get_connection

from .errors import PermanentDeliveryError, TemporaryDeliveryError

# In seconds, to connect and for each read.
TIMEOUT = 3
# https://docs.aws.amazon.com/ses/latest/APIReference-V2/CommonErrors.html and what the signature's
# own page adds.
REFUSED = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
# The signature was right: the key may send, and not ask; or it was asked too often.
ACCEPTED = {
    "AccessDenied",
    "AccessDeniedException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}


def check_login() -> None:
    """Ask Amazon SES about the account, if mail goes there.

    https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetAccount.html

    Raises:
        TemporaryDeliveryError: Amazon SES could not be reached, or is broken.
        PermanentDeliveryError: it refused the access key, or has paused sending.
    """
    backend = get_connection(settings.EMAIL_DELIVERY_BACKEND)
    if not isinstance(backend, EmailBackend):
        return  # the console, or the outbox of a test
    timeouts = Config(connect_timeout=TIMEOUT, read_timeout=TIMEOUT)
    backend.client_params["config"] = backend.client_params["config"].merge(timeouts)
    where = f"Amazon SES in {backend.client_params['region_name']}"
    # The library's own words are left out (from None): they quote the answer.
    try:
        with backend:
            account = backend.client.get_account()
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        if code in ACCEPTED:
            return
        raise _failure(where, code, exc) from None
    except (BotoCoreError, ValueError) as exc:
        raise TemporaryDeliveryError(
            f"{where} does not answer ({type(exc).__name__}): is it out of order, or "
            "AWS_DEFAULT_REGION wrong?"
        ) from None
    if not account["SendingEnabled"]:
        raise PermanentDeliveryError(
            f"{where} has paused sending for this account: see Reputation metrics in its console."
        )


def _failure(
    where: str, code: str, exc: ClientError
) -> TemporaryDeliveryError | PermanentDeliveryError:
    """Return the error for an answer that is none of success."""
    status = exc.response["ResponseMetadata"]["HTTPStatusCode"]
    if code in REFUSED:
        return PermanentDeliveryError(
            f"{where} refuses the login ({code}): are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "right, and this machine's clock?"
        )
    text = f"{where} answered {status} ({code}): is it out of order, or closed to this account?"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TemporaryDeliveryError(text)
    return PermanentDeliveryError(text)
