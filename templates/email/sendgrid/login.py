"""Asks SendGrid whether it takes the login; nothing is sent."""

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


def check_login() -> None:
    """Ask SendGrid what the key may do, if mail goes there.

    https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions

    Raises:
        TemporaryDeliveryError: SendGrid could not be reached, or is out of order.
        PermanentDeliveryError: it refused the login, or the key may not send.
    """
    if settings.EMAIL_DELIVERY_BACKEND != "anymail.backends.sendgrid.EmailBackend":
        return  # the console, or the outbox of a test
    authorization = f"Bearer {settings.ANYMAIL['SENDGRID_API_KEY']}"
    response = _request("GET", "scopes", headers={"Authorization": authorization})
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        raise PermanentDeliveryError(
            f"{_where()} refuses the login (401): is SENDGRID_API_KEY right, and SENDGRID_API_URL "
            "that of its region?"
        )
    _expect(ACCEPTED, response)
    if response.status_code == HTTPStatus.OK and '"mail.send"' not in response.text:
        raise PermanentDeliveryError(
            f"{_where()} does not let SENDGRID_API_KEY send: give the key Mail Send access."
        )

{% include ["templates/email/http/login.py", "email/http/login.py"] -%}
