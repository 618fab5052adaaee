"""Asks Mailgun whether it takes the login; nothing is sent."""

from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from django.conf import settings

from .errors import PermanentDeliveryError, TemporaryDeliveryError

# In seconds, to connect and for each read.
TIMEOUT = 3
# What is no message is refused, or there were too many.
ACCEPTED = {HTTPStatus.BAD_REQUEST, HTTPStatus.TOO_MANY_REQUESTS}
REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
UNUSABLE_STATES = {"unverified", "disabled"}


def check_login() -> None:
    """Hand Mailgun a form without any field and ask it about the domain, if mail goes there.

    A sending key can do nothing but hand over a message, so only that tells whether it is right.
    https://documentation.mailgun.com/docs/mailgun/user-manual/api-key-mgmt/rbac-mgmt

    Raises:
        TemporaryDeliveryError: Mailgun could not be reached, or is out of order.
        PermanentDeliveryError: it refused the login, or the domain cannot be used.
    """
    if settings.EMAIL_DELIVERY_BACKEND != "anymail.backends.mailgun.EmailBackend":
        return  # the console, or the outbox of a test
    login = ("api", str(settings.ANYMAIL["MAILGUN_API_KEY"]))
    domain = settings.ANYMAIL["MAILGUN_SENDER_DOMAIN"]
    response = _request("POST", f"{domain}/messages", auth=login)
    status = response.status_code
    if status in REFUSED:
        raise PermanentDeliveryError(
            f"{_where()} refuses the login ({status}): is MAILGUN_API_KEY right, and "
            "MAILGUN_API_URL that of its region?"
        )
    if status == HTTPStatus.NOT_FOUND:
        raise PermanentDeliveryError(
            f"{_where()} has no domain {domain}: is MAILGUN_SENDER_DOMAIN right, and "
            "MAILGUN_API_URL that of its region?"
        )
    _expect(ACCEPTED, response)
    response = _request("GET", f"../v4/domains/{domain}", auth=login)
    state = response.json().get("domain", {}).get("state") if response.ok else None
    if state in UNUSABLE_STATES:
        raise PermanentDeliveryError(
            f"{_where()} does not send for {domain}, which is {state}: see Sending, Domains there."
        )

{% include ["templates/email/http/login.py", "email/http/login.py"] -%}
