"""What the reports of Amazon SES mean, and who may send them.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

from typing import Any

from anymail.signals import EventType
from anymail.webhooks.amazon_ses import AmazonSESTrackingWebhookView
from anymail.webhooks.base import AnymailBasicAuthMixin
from django.http import HttpRequest

from .models import SuppressedAddress


def reason_to_suppress(event: Any) -> SuppressedAddress.Reason | None:
    """Tell hard bounces and complaints from everything else.

    Args:
        event: Anymail's tracking event.
    """
    report = event.esp_event
    if event.event_type == EventType.COMPLAINED:
        # Somebody may also say that a message was taken for spam by mistake.
        if report["complaint"].get("complaintFeedbackType") == "not-spam":
            return None
        # Of several, all to whom the message went at the receiver's, only one has complained.
        if len(report["complaint"]["complainedRecipients"]) != 1:
            return None
        return SuppressedAddress.Reason.COMPLAINT
    # The others are "Transient" and "Undetermined".
    if event.event_type == EventType.BOUNCED and report["bounce"]["bounceType"] == "Permanent":
        return SuppressedAddress.Reason.BOUNCE
    return None


class PasswordFirstWebhookView(AmazonSESTrackingWebhookView):  # type: ignore[misc]
    """Anymail's view, which looks at nothing else before the password.

    Anymail itself reads the report first, and quotes one that it can't read in the log.
    """

    def validate_request(self, request: HttpRequest) -> None:
        """Check the password; Anymail calls this first and its own checks then."""
        AnymailBasicAuthMixin.validate_request(self, request)
