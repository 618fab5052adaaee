"""Amazon SES and SNS as the tests play them: https://docs.aws.amazon.com/ses/"""

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

from django.test import Client

NOW = time.time()
VERIFICATION = {"WEBHOOK_SECRET": "sns:secret"}
WEBHOOK = "/anymail/amazon_ses/tracking/"


def event(kind: str, at: float = NOW, **more: Any) -> dict[str, Any]:
    """Return a report of Amazon SES in an envelope of Amazon SNS."""
    report = {
        "eventType": kind,
        "mail": {"messageId": "1", "destination": ["ann@example.org"], "headers": []},
        **more,
    }
    return {
        "Type": "Notification",
        "MessageId": "1",
        "TopicArn": "arn:aws:sns:eu-central-1:123456789012:mail",
        "Message": json.dumps(report),
        "Timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
    }


def bounce(kind: str, *addresses: str, at: float = NOW) -> dict[str, Any]:
    """Return the report of a bounce."""
    recipients = [{"emailAddress": address} for address in addresses or ["Ann@Example.org"]]
    details = {"bounceType": kind, "bounceSubType": "General", "bouncedRecipients": recipients}
    return event("Bounce", at, bounce=details)


def complaint(feedback: str, *addresses: str) -> dict[str, Any]:
    """Return the report of a complaint."""
    recipients = [{"emailAddress": address} for address in addresses or ["Ann@Example.org"]]
    details = {"complaintFeedbackType": feedback, "complainedRecipients": recipients}
    return event("Complaint", complaint=details)


def hard_bounce(address: str, at: float = NOW) -> dict[str, Any]:
    """Return the report of an address that there is not."""
    return bounce("Permanent", address, at=at)


BOUNCES = [bounce("Permanent")]
COMPLAINTS = [complaint("abuse")]
OTHERS = [
    bounce("Transient"),
    bounce("Undetermined"),
    complaint("not-spam"),
    # Which of them complained is not known.
    complaint("abuse", "ann@example.org", "bob@example.org"),
    event("Delivery", delivery={"recipients": ["ann@example.org"]}),
    event("Reject", reject={"reason": "Bad content"}),
    bounce("Permanent", ""),
]


def report(client: Client, event: Any, *, forged: bool = False) -> int:
    """Send a report as Amazon SNS does and return the status of the answer."""
    secret = "sns:guess" if forged else "sns:secret"
    headers = {
        "x-amz-sns-message-type": event["Type"],
        "x-amz-sns-message-id": event["MessageId"],
        "Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}",
    }
    body = json.dumps(event)
    return client.post(WEBHOOK, body, "text/plain; charset=UTF-8", headers=headers).status_code
