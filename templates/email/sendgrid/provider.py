"""SendGrid as the tests play it: https://www.twilio.com/docs/sendgrid"""

import base64
import json
import time
from http import HTTPStatus
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client

PATH = "/mail/send"
CREDENTIALS = {"SENDGRID_API_KEY": "key"}
AUTHORIZATION = ("authorization", "Bearer key")
ACCEPTED = (HTTPStatus.ACCEPTED, "")

# What may be answered when the login is checked, one answer to each request.
LOGIN_PATHS = ["/scopes"]
LOGIN_ACCEPTED = [
    [(HTTPStatus.OK, json.dumps({"scopes": ["mail.send", "sender_verification_eligible"]}))],
    [(HTTPStatus.FORBIDDEN, json.dumps({"errors": [{"message": "access forbidden"}]}))],
    [(HTTPStatus.TOO_MANY_REQUESTS, "{}")],
]
LOGIN_REFUSED = [
    ([(HTTPStatus.UNAUTHORIZED, "{}")], r"refuses the login \(401\): is SENDGRID_API_KEY right"),
    ([(HTTPStatus.OK, json.dumps({"scopes": ["stats.read"]}))], "not let SENDGRID_API_KEY send"),
]

NOW = time.time()
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC_KEY = KEY.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)
VERIFICATION = {"SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY": base64.b64encode(PUBLIC_KEY).decode()}
WEBHOOK = "/anymail/sendgrid/tracking/"


def fields(body: bytes) -> dict[str, Any]:
    """Return what a request says of the message."""
    message = json.loads(body)
    content = {part["type"]: part["value"] for part in message["content"]}
    [personalization] = message["personalizations"]
    return {
        "from": message["from"]["email"],
        "to": [recipient["email"] for recipient in personalization["to"]],
        "subject": message["subject"],
        "text": content["text/plain"],
        "html": content["text/html"],
    }


def headers(body: bytes) -> dict[str, str]:
    """Return the headers that a request asks for, by lower-case name."""
    return {name.lower(): value for name, value in json.loads(body)["headers"].items()}


def event(
    kind: str, address: str = "Ann@Example.org", at: float = NOW, **more: Any
) -> dict[str, Any]:
    """Return a report."""
    return {"event": kind, "email": address, "timestamp": int(at), "sg_event_id": "1", **more}


def hard_bounce(address: str, at: float = NOW) -> list[dict[str, Any]]:
    """Return the report of an address that there is not."""
    return [event("bounce", address, at, type="bounce", status="5.1.1")]


BOUNCES = [hard_bounce("Ann@Example.org"), [event("delivered"), event("bounce", type="bounce")]]
COMPLAINTS = [[event("spamreport")]]
OTHERS = [
    [event("bounce", type="blocked"), event("deferred"), event("delivered")],
    [event("dropped", reason="Bounced Address")],
    [{"event": "bounce", "type": "bounce"}],
]


def report(client: Client, event: Any, *, forged: bool = False) -> int:
    """Send a report as SendGrid does and return the status of the answer."""
    body = json.dumps(event)
    timestamp = str(int(time.time()))
    key = OTHER_KEY if forged else KEY
    signature = key.sign((timestamp + body).encode(), ec.ECDSA(hashes.SHA256()))
    headers = {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
    }
    return client.post(WEBHOOK, body, "application/json", headers=headers).status_code
