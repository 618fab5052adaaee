"""What Brevo's reports mean: https://developers.brevo.com/docs/transactional-webhooks"""

from typing import Any

from anymail.signals import EventType

from .models import SuppressedAddress

HARD_BOUNCES = {"hard_bounce", "invalid_email"}


def reason_to_suppress(event: Any) -> SuppressedAddress.Reason | None:
    """Tell hard bounces and complaints from everything else.

    Args:
        event: Anymail's tracking event.
    """
    if event.event_type == EventType.COMPLAINED:
        return SuppressedAddress.Reason.COMPLAINT
    if event.esp_event["event"] in HARD_BOUNCES:
        return SuppressedAddress.Reason.BOUNCE
    return None
