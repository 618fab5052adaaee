"""What SendGrid's reports mean.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
"""

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
    # The other type is "blocked": the server refused this message, not the address.
    if event.event_type == EventType.BOUNCED and event.esp_event.get("type") == "bounce":
        return SuppressedAddress.Reason.BOUNCE
    return None
