"""Resend as the tests play it: https://resend.com/docs/"""

import json
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from django.test import Client
from svix.webhooks import Webhook

PATH = "/emails"
CREDENTIALS = {"RESEND_API_KEY": "key"}
AUTHORIZATION = ("authorization", "Bearer key")
ACCEPTED = (HTTPStatus.OK, json.dumps({"id": "1"}))

# What may be answered when the login is checked, one answer to each request.
LOGIN_PATHS = ["/domains"]
MAY_ONLY_SEND = json.dumps({"statusCode": 401, "name": "restricted_api_key"})
LOGIN_ACCEPTED = [
    [(HTTPStatus.OK, json.dumps({"object": "list", "data": []}))],
    [(HTTPStatus.UNAUTHORIZED, MAY_ONLY_SEND)],
    [(HTTPStatus.TOO_MANY_REQUESTS, "{}")],
]
LOGIN_REFUSED = [
    ([(status, "{}")], rf"refuses the login \({status}\): is RESEND_API_KEY right")
    for status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
]

NOW = time.time()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
VERIFICATION = {"RESEND_SIGNING_SECRET": SECRET}
WEBHOOK = "/anymail/resend/tracking/"


def fields(body: bytes) -> dict[str, Any]:
    """Return what a request says of the message."""
    message = json.loads(body)
    return {
        "from": message["from"].partition("<")[2].rstrip(">"),
        "to": message["to"],
        "subject": message["subject"],
        "text": message["text"],
        "html": message["html"],
    }


def event(kind: str, *addresses: str, bounce: str | None = None, at: float = NOW) -> dict[str, Any]:
    """Return a report."""
    data: dict[str, Any] = {"email_id": "1", "to": list(addresses or ["Ann@Example.org"])}
    if bounce is not None:
        data["bounce"] = {"type": bounce, "subType": "General", "message": "hard bounce message"}
    return {
        "type": kind,
        "created_at": datetime.fromtimestamp(at, UTC).isoformat(),
        "data": data,
    }


def hard_bounce(address: str, at: float = NOW) -> dict[str, Any]:
    """Return the report of an address that there is not."""
    return event("email.bounced", address, bounce="Permanent", at=at)


BOUNCES = [hard_bounce("Ann@Example.org")]
COMPLAINTS = [event("email.complained")]
OTHERS = [
    event("email.bounced", bounce="Transient"),
    event("email.bounced", bounce="Undetermined"),
    event("email.delivery_delayed"),
    event("email.delivered"),
    # Which of them bounced is not known.
    event("email.bounced", "ann@example.org", "bob@example.net", bounce="Permanent"),
    event("email.complained", "ann@example.org", "bob@example.net"),
    event("email.complained", " "),
]


def report(client: Client, event: Any, *, forged: bool = False) -> int:
    """Send a report as Resend does and return the status of the answer."""
    body = json.dumps(event)
    now = datetime.now(UTC)
    signature = Webhook(OTHER_SECRET if forged else SECRET).sign("msg_1", now, body)
    headers = {
        "svix-id": "msg_1",
        "svix-timestamp": str(int(now.timestamp())),
        "svix-signature": signature,
    }
    return client.post(WEBHOOK, body, "application/json", headers=headers).status_code
