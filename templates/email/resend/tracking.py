"""What Resend's reports mean: https://resend.com/docs/webhooks/event-types"""

from typing import Any

from anymail.signals import EventType

from .models import SuppressedAddress


def reason_to_suppress(event: Any) -> SuppressedAddress.Reason | None:
    """Tell hard bounces and complaints from everything else.

    Args:
        event: Anymail's tracking event.
    """
    data = event.esp_event["data"]
    # Resend does not say which of several recipients it was.
    if len([*data["to"], *data.get("cc", ()), *data.get("bcc", ())]) != 1:
        return None
    if event.event_type == EventType.COMPLAINED:
        return SuppressedAddress.Reason.COMPLAINT
    # The others are "Transient" and "Undetermined".
    if event.event_type == EventType.BOUNCED and data["bounce"].get("type") == "Permanent":
        return SuppressedAddress.Reason.BOUNCE
    return None
