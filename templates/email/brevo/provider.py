"""Brevo as the tests play it: https://developers.brevo.com/"""

import base64
import json
import time
from http import HTTPStatus
from typing import Any

from django.test import Client

PATH = "/smtp/email"
CREDENTIALS = {"BREVO_API_KEY": "key"}
AUTHORIZATION = ("api-key", "key")
ACCEPTED = (HTTPStatus.CREATED, json.dumps({"messageId": "<1@smtp-relay.mailin.fr>"}))

# What may be answered when the login is checked, one answer to each request.
LOGIN_PATHS = ["/account"]
MAY_NOT_ASK = json.dumps({"message": 'Access denied for resource "account".'})
LOGIN_ACCEPTED = [
    [(HTTPStatus.OK, "{}")],
    [(HTTPStatus.FORBIDDEN, MAY_NOT_ASK)],
    [(HTTPStatus.UNAUTHORIZED, MAY_NOT_ASK)],
    [(HTTPStatus.TOO_MANY_REQUESTS, "{}")],
]
LOGIN_REFUSED = [
    ([(HTTPStatus.UNAUTHORIZED, "{}")], r"refuses the login \(401\): is BREVO_API_KEY right"),
]

NOW = time.time()
VERIFICATION = {"WEBHOOK_SECRET": "brevo:secret"}
WEBHOOK = "/anymail/brevo/tracking/"


def fields(body: bytes) -> dict[str, Any]:
    """Return what a request says of the message."""
    message = json.loads(body)
    return {
        "from": message["sender"]["email"],
        "to": [recipient["email"] for recipient in message["to"]],
        "subject": message["subject"],
        "text": message["textContent"],
        "html": message["htmlContent"],
    }


def event(kind: str, address: str = "Ann@Example.org", at: float = NOW) -> dict[str, Any]:
    """Return a report."""
    return {"event": kind, "email": address, "message-id": "<1@x>", "ts_epoch": int(at * 1000)}


def hard_bounce(address: str, at: float = NOW) -> dict[str, Any]:
    """Return the report of an address that there is not."""
    return event("hard_bounce", address, at)


BOUNCES = [event("hard_bounce"), event("invalid_email")]
COMPLAINTS = [event("spam"), event("complaint")]
OTHERS = [
    *(event(kind) for kind in ("soft_bounce", "deferred", "blocked", "delivered", "unsubscribe")),
    {"event": "hard_bounce"},
]


def report(client: Client, event: Any, *, forged: bool = False) -> int:
    """Send a report as Brevo does and return the status of the answer."""
    secret = "brevo:guess" if forged else "brevo:secret"
    authorization = f"Basic {base64.b64encode(secret.encode()).decode()}"
    response = client.post(
        WEBHOOK, event, "application/json", headers={"Authorization": authorization}
    )
    return response.status_code
