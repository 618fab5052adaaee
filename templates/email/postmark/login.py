"""Asks Postmark whether it takes the login; nothing is sent."""

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


def check_login() -> None:
    """Ask Postmark about the server that the token is for, if mail goes there.

    https://postmarkapp.com/developer/api/server-api

    Raises:
        TemporaryDeliveryError: Postmark could not be reached, or is out of order.
        PermanentDeliveryError: it refused the login.
    """
    if settings.EMAIL_DELIVERY_BACKEND != "anymail.backends.postmark.EmailBackend":
        return  # the console, or the outbox of a test
    token = str(settings.ANYMAIL["POSTMARK_SERVER_TOKEN"])
    headers = {"Accept": "application/json", "X-Postmark-Server-Token": token}
    response = _request("GET", "server", headers=headers)
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        raise PermanentDeliveryError(
            f"{_where()} refuses the login (401): is POSTMARK_SERVER_TOKEN right, and the token "
            "of a server rather than of the account?"
        )
    _expect(ACCEPTED, response)

{% include ["templates/email/http/login.py", "email/http/login.py"] -%}
