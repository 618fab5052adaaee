"""What Mailjet's reports mean: https://dev.mailjet.com/email/guides/webhooks/"""

from typing import Any

from anymail.signals import EventType

from .models import SuppressedAddress


def reason_to_suppress(event: Any) -> SuppressedAddress.Reason | None:
    """Tell hard bounces and complaints from everything else.

    Args:
        event: Anymail's tracking event.
    """
    if event.event_type == EventType.COMPLAINED:
        return SuppressedAddress.Reason.COMPLAINT
    if event.event_type == EventType.BOUNCED and event.esp_event.get("hard_bounce"):
        return SuppressedAddress.Reason.BOUNCE
    return None
