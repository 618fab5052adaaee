"""Postmark as the tests play it: https://postmarkapp.com/developer"""

import base64
import json
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from django.test import Client

PATH = "/email"
CREDENTIALS = {"POSTMARK_SERVER_TOKEN": "token"}
AUTHORIZATION = ("x-postmark-server-token", "token")
ACCEPTED = (
    HTTPStatus.OK,
    json.dumps({"To": "ann@example.org", "ErrorCode": 0, "Message": "OK", "MessageID": "1"}),
)

# What may be answered when the login is checked, one answer to each request.
LOGIN_PATHS = ["/server"]
LOGIN_ACCEPTED = [[(HTTPStatus.OK, "{}")], [(HTTPStatus.TOO_MANY_REQUESTS, "{}")]]
LOGIN_REFUSED = [
    ([(HTTPStatus.UNAUTHORIZED, '{"ErrorCode": 10}')], r"\(401\): is POSTMARK_SERVER_TOKEN right"),
]

NOW = datetime.now(UTC).isoformat()
VERIFICATION = {"WEBHOOK_SECRET": "postmark:secret"}
WEBHOOK = "/anymail/postmark/tracking/"


def fields(body: bytes) -> dict[str, Any]:
    """Return what a request says of the message."""
    message = json.loads(body)
    return {
        "from": message["From"].partition("<")[2].rstrip(">"),
        "to": message["To"].split(", "),
        "subject": message["Subject"],
        "text": message["TextBody"],
        "html": message["HtmlBody"],
    }


def headers(body: bytes) -> dict[str, str]:
    """Return the headers that a request asks for, by lower-case name."""
    return {header["Name"].lower(): header["Value"] for header in json.loads(body)["Headers"]}


def bounce(kind: str, address: str = "Ann@Example.org", at: str = NOW) -> dict[str, Any]:
    """Return the report of a bounce."""
    return {"RecordType": "Bounce", "Type": kind, "ID": 1, "Email": address, "BouncedAt": at}


def hard_bounce(address: str, at: str = NOW) -> dict[str, Any]:
    """Return the report of an address that there is not."""
    return bounce("HardBounce", address, at)


def change(reason: str | None, suppressed: bool = True) -> dict[str, Any]:
    """Return the report of a suppression that began or ended."""
    return {
        "RecordType": "SubscriptionChange",
        "Recipient": "ann@example.org",
        "ChangedAt": NOW,
        "SuppressSending": suppressed,
        "SuppressionReason": reason,
    }


COMPLAINT = {**bounce("SpamComplaint"), "RecordType": "SpamComplaint"}
BOUNCES = [bounce("HardBounce"), bounce("BadEmailAddress"), change("HardBounce")]
COMPLAINTS = [COMPLAINT, change("SpamComplaint")]
OTHERS = [
    bounce("SoftBounce"),
    bounce("Transient"),
    bounce("SpamNotification"),
    change("ManualSuppression"),
    change(None, suppressed=False),
    {"RecordType": "Delivery", "Recipient": "ann@example.org", "DeliveredAt": NOW},
    {"RecordType": "Bounce", "Type": "HardBounce", "BouncedAt": NOW},
]


def report(client: Client, event: Any, *, forged: bool = False) -> int:
    """Send a report as Postmark does and return the status of the answer."""
    secret = "postmark:guess" if forged else "postmark:secret"
    authorization = f"Basic {base64.b64encode(secret.encode()).decode()}"
    response = client.post(
        WEBHOOK, event, "application/json", headers={"Authorization": authorization}
    )
    return response.status_code
