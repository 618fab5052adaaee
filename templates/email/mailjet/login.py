"""Asks Mailjet whether it takes the login; nothing is sent."""

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
    """Ask Mailjet for a sender, if mail goes there.

    https://dev.mailjet.com/docs/email-api/email_api_overview/status_codes

    Raises:
        TemporaryDeliveryError: Mailjet could not be reached, or is out of order.
        PermanentDeliveryError: it refused the login.
    """
    if settings.EMAIL_DELIVERY_BACKEND != "anymail.backends.mailjet.EmailBackend":
        return  # the console, or the outbox of a test
    login = (str(settings.ANYMAIL["MAILJET_API_KEY"]), str(settings.ANYMAIL["MAILJET_SECRET_KEY"]))
    response = _request("GET", "../v3/REST/sender?Limit=1", auth=login)
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        raise PermanentDeliveryError(
            f"{_where()} refuses the login (401): are MAILJET_API_KEY and MAILJET_SECRET_KEY right?"
        )
    _expect(ACCEPTED, response)

{% include ["templates/email/http/login.py", "email/http/login.py"] -%}
