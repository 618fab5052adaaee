"""Asks Resend whether it takes the login; nothing is sent."""

from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from django.conf import settings

from .errors import PermanentDeliveryError, TemporaryDeliveryError

# In seconds, to connect and for each read.
TIMEOUT = 3
# Who asks too often may be right.
ACCEPTED = {HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS}
# 400 and 403 are what a key gets that there is not.
REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
# Resend's name for the 401 that a key gets which may send, and not ask.
MAY_ONLY_SEND = '"restricted_api_key"'


def check_login() -> None:
    """Ask Resend for the domains, if mail goes there.

    https://resend.com/docs/api-reference/errors

    Raises:
        TemporaryDeliveryError: Resend could not be reached, or is out of order.
        PermanentDeliveryError: it refused the login.
    """
    if settings.EMAIL_DELIVERY_BACKEND != "anymail.backends.resend.EmailBackend":
        return  # the console, or the outbox of a test
    authorization = f"Bearer {settings.ANYMAIL['RESEND_API_KEY']}"
    response = _request("GET", "domains", headers={"Authorization": authorization})
    status = response.status_code
    if status in REFUSED:
        if MAY_ONLY_SEND in response.text:
            return
        raise PermanentDeliveryError(
            f"{_where()} refuses the login ({status}): is RESEND_API_KEY right?"
        )
    _expect(ACCEPTED, response)

{% include ["templates/email/http/login.py", "email/http/login.py"] -%}
