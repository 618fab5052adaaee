"""Asks Brevo whether it takes the login; nothing is sent."""

from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from django.conf import settings

from .errors import PermanentDeliveryError, TemporaryDeliveryError

# In seconds, to connect and for each read.
TIMEOUT = 3
# A key may be right and not be allowed to ask, or have asked too often.
ACCEPTED = {HTTPStatus.OK, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
# https://help.brevo.com/hc/en-us/articles/40158277171474
MAY_NOT_ASK = "Access denied for resource"


def check_login() -> None:
    """Ask Brevo about the account, if mail goes there.

    https://developers.brevo.com/reference/get-account

    Raises:
        TemporaryDeliveryError: Brevo could not be reached, or is out of order.
        PermanentDeliveryError: it refused the login.
    """
    if settings.EMAIL_DELIVERY_BACKEND != "anymail.backends.brevo.EmailBackend":
        return  # the console, or the outbox of a test
    headers = {"api-key": str(settings.ANYMAIL["BREVO_API_KEY"])}
    response = _request("GET", "account", headers=headers)
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        if MAY_NOT_ASK in response.text:
            return
        raise PermanentDeliveryError(
            f"{_where()} refuses the login (401): is BREVO_API_KEY right, and is this machine's IP "
            "address allowed there?"
        )
    _expect(ACCEPTED, response)

{% include ["templates/email/http/login.py", "email/http/login.py"] -%}
