"""Mailgun as the tests play it: https://documentation.mailgun.com/"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from email.utils import getaddresses
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from django.test import Client

PATH = "/mail.example.com/messages"
CREDENTIALS = {"MAILGUN_API_KEY": "key", "MAILGUN_SENDER_DOMAIN": "mail.example.com"}
AUTHORIZATION = ("authorization", f"Basic {base64.b64encode(b'api:key').decode()}")
ACCEPTED = (
    HTTPStatus.OK,
    json.dumps({"id": "<1@mail.example.com>", "message": "Queued. Thank you."}),
)

# What may be answered when the login is checked, one answer to each request.
LOGIN_PATHS = [PATH, "/v4/domains/mail.example.com"]
NO_MESSAGE = (HTTPStatus.BAD_REQUEST, json.dumps({"message": "from parameter is missing"}))
LOGIN_ACCEPTED = [
    [NO_MESSAGE, (HTTPStatus.OK, json.dumps({"domain": {"state": "active"}}))],
    [NO_MESSAGE, (HTTPStatus.OK, "{}")],
    # A sending key.
    [NO_MESSAGE, (HTTPStatus.UNAUTHORIZED, "Forbidden")],
    [(HTTPStatus.TOO_MANY_REQUESTS, "{}"), (HTTPStatus.TOO_MANY_REQUESTS, "{}")],
]
LOGIN_REFUSED = [
    ([(HTTPStatus.UNAUTHORIZED, "Forbidden")], r"refuses the login \(401\): is MAILGUN_API_KEY"),
    ([(HTTPStatus.NOT_FOUND, "{}")], "has no domain mail.example.com: is MAILGUN_SENDER_DOMAIN"),
    (
        [NO_MESSAGE, (HTTPStatus.OK, json.dumps({"domain": {"state": "unverified"}}))],
        "does not send for mail.example.com, which is unverified",
    ),
]

NOW = time.time()
VERIFICATION = {"MAILGUN_WEBHOOK_SIGNING_KEY": "signing-key"}
WEBHOOK = "/anymail/mailgun/tracking/"


def fields(body: bytes) -> dict[str, Any]:
    """Return what a request says of the message."""
    form = parse_qs(body.decode())
    return {
        "from": getaddresses(form["from"])[0][1],
        "to": [address for _, address in getaddresses(form["to"])],
        "subject": form["subject"][0],
        "text": form["text"][0],
        "html": form["html"][0],
    }


def headers(body: bytes) -> dict[str, str]:
    """Return the headers that a request asks for, by lower-case name."""
    form = parse_qs(body.decode())
    return {
        name.removeprefix("h:").lower(): values[0]
        for name, values in form.items()
        if name.startswith("h:")
    }


def event(
    kind: str, address: str = "Ann@Example.org", at: float = NOW, **more: Any
) -> dict[str, Any]:
    """Return what a report says; Mailgun signs something else."""
    return {"event-data": {"event": kind, "recipient": address, "timestamp": at, **more}}


def hard_bounce(address: str, at: float = NOW) -> dict[str, Any]:
    """Return the report of an address that there is not."""
    return event("failed", address, at, severity="permanent", reason="bounce")


BOUNCES = [
    hard_bounce("Ann@Example.org"),
    event("failed", severity="permanent", reason="suppress-bounce"),
]
COMPLAINTS = [event("complained")]
OTHERS = [
    event("failed", severity="temporary", reason="generic"),
    event("failed", severity="permanent", reason="old"),
    event("delivered"),
    event("unsubscribed"),
    {"event-data": {"event": "complained"}},
]


def sign(
    key: str = "signing-key", at: float | None = None, token: str | None = None
) -> dict[str, str]:
    """Return a signature as Mailgun makes it."""
    timestamp = str(int(time.time() if at is None else at))
    token = token or secrets.token_hex(25)
    digest = hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256)
    return {"timestamp": timestamp, "token": token, "signature": digest.hexdigest()}


def report(
    client: Client,
    event: Any,
    *,
    forged: bool = False,
    signature: dict[str, str] | None = None,
    content_type: str = "application/json",
) -> int:
    """Send a report as Mailgun does and return the status of the answer."""
    signature = signature or sign("guess" if forged else "signing-key")
    body = json.dumps({"signature": signature, **event})
    return client.post(WEBHOOK, body, content_type).status_code
