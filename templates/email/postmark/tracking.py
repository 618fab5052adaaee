"""What Postmark's reports mean: https://postmarkapp.com/developer/webhooks/webhooks-overview"""

from typing import Any

from anymail.signals import EventType

from .models import SuppressedAddress

# https://postmarkapp.com/developer/api/bounce-api#bounce-types
HARD_BOUNCES = {"BadEmailAddress", "HardBounce"}


def reason_to_suppress(event: Any) -> SuppressedAddress.Reason | None:
    """Tell hard bounces and complaints from everything else.

    Args:
        event: Anymail's tracking event.
    """
    report = event.esp_event
    # Of a bounce or a complaint, or of the change of a suppression that follows.
    kind = report.get("Type") or report.get("SuppressionReason")
    # A "SpamNotification", to Anymail a complaint as well, is a filter's opinion.
    if event.event_type == EventType.COMPLAINED and kind == "SpamComplaint":
        return SuppressedAddress.Reason.COMPLAINT
    if event.event_type in {EventType.BOUNCED, EventType.REJECTED} and kind in HARD_BOUNCES:
        return SuppressedAddress.Reason.BOUNCE
    return None
