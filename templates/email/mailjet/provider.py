"""Mailjet as the tests play it: https://dev.mailjet.com/"""

import base64
import json
import time
from http import HTTPStatus
from typing import Any

from django.test import Client

PATH = "/send"
CREDENTIALS = {"MAILJET_API_KEY": "key", "MAILJET_SECRET_KEY": "secret"}
AUTHORIZATION = ("authorization", f"Basic {base64.b64encode(b'key:secret').decode()}")
ACCEPTED = (
    HTTPStatus.OK,
    json.dumps(
        {"Messages": [{"Status": "success", "To": [{"Email": "ann@example.org", "MessageID": 1}]}]}
    ),
)

# What may be answered when the login is checked, one answer to each request.
LOGIN_PATHS = ["/v3/REST/sender?Limit=1"]
LOGIN_ACCEPTED = [
    [(HTTPStatus.OK, "{}")],
    [(HTTPStatus.FORBIDDEN, "{}")],
    [(HTTPStatus.TOO_MANY_REQUESTS, "{}")],
]
LOGIN_REFUSED = [
    ([(HTTPStatus.UNAUTHORIZED, "")], "are MAILJET_API_KEY and MAILJET_SECRET_KEY right"),
]

NOW = time.time()
VERIFICATION = {"WEBHOOK_SECRET": "mailjet:secret"}
WEBHOOK = "/anymail/mailjet/tracking/"


def fields(body: bytes) -> dict[str, Any]:
    """Return what a request says of the message."""
    data = json.loads(body)
    message = {**data["Globals"], **data["Messages"][0]}
    return {
        "from": message["From"]["Email"],
        "to": [recipient["Email"] for recipient in message["To"]],
        "subject": message["Subject"],
        "text": message["TextPart"],
        "html": message["HTMLPart"],
    }


def event(
    kind: str, address: str = "Ann@Example.org", at: float = NOW, **more: Any
) -> dict[str, Any]:
    """Return a report."""
    return {"event": kind, "email": address, "time": int(at), "MessageID": 1, **more}


def hard_bounce(address: str, at: float = NOW) -> dict[str, Any]:
    """Return the report of an address that there is not."""
    return event("bounce", address, at, hard_bounce=True, error="user unknown")


BOUNCES = [hard_bounce("Ann@Example.org"), [hard_bounce("Ann@Example.org")]]
COMPLAINTS = [event("spam", source="JMRPP")]
OTHERS = [
    event("bounce", hard_bounce=False, error="mailbox inactive"),
    event("bounce", hard_bounce=False, error="greylisted"),
    event("blocked", error="preblocked"),
    event("sent"),
    event("unsub"),
    {"event": "bounce", "hard_bounce": True},
]


def report(client: Client, event: Any, *, forged: bool = False) -> int:
    """Send a report as Mailjet does and return the status of the answer."""
    secret = "mailjet:guess" if forged else "mailjet:secret"
    authorization = f"Basic {base64.b64encode(secret.encode()).decode()}"
    response = client.post(
        WEBHOOK, json.dumps(event), "application/json", headers={"Authorization": authorization}
    )
    return response.status_code
