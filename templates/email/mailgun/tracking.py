"""What Mailgun's reports mean, and which of them to believe.

https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
"""

import hashlib
import json
import time
from datetime import timedelta
from typing import Any

from anymail.exceptions import AnymailWebhookValidationFailure
from anymail.signals import EventType
from anymail.webhooks.mailgun import MailgunTrackingWebhookView
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse

from .models import SuppressedAddress

# Mailgun repeats a report that was not taken for eight hours.
LONGEST_SIGNATURE_AGE = timedelta(days=1)
HARD_BOUNCES = {"bounce", "suppress-bounce"}


def reason_to_suppress(event: Any) -> SuppressedAddress.Reason | None:
    """Tell hard bounces and complaints from everything else.

    Args:
        event: Anymail's tracking event.
    """
    if event.event_type == EventType.COMPLAINED:
        return SuppressedAddress.Reason.COMPLAINT
    # Only failures with the severity "permanent" are bounces to Anymail. Among them are messages
    # that were too old or refused for what they hold.
    reason = event.esp_event["event-data"].get("reason")
    if event.event_type == EventType.BOUNCED and reason in HARD_BOUNCES:
        return SuppressedAddress.Reason.BOUNCE
    return None


class SignedOnceWebhookView(MailgunTrackingWebhookView):  # type: ignore[misc]
    """Anymail's view, which uses a signature once.

    Mailgun signs a random token and the time, not the report: whoever has seen one signature could
    send any report with it.
    """

    def validate_request(self, request: HttpRequest) -> None:
        """Refuse an old signature; Anymail calls this and its own checks."""
        if request.content_type != "application/json":
            raise AnymailWebhookValidationFailure("Mailgun's reports are JSON.")
        super().validate_request(request)
        signed_at = int(_signature(request)["timestamp"])
        if time.time() - signed_at > LONGEST_SIGNATURE_AGE.total_seconds():
            raise AnymailWebhookValidationFailure("The signature of the report is too old.")

    def parse_events(self, request: HttpRequest) -> list[Any]:
        """Return the event, or none if its signature was used before."""
        if cache.get(_cache_key(request)):
            return []
        events: list[Any] = super().parse_events(request)
        return events

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Take a report; one that could not be written down may come again."""
        response: HttpResponse = super().post(request, *args, **kwargs)
        cache.set(_cache_key(request), 1, timeout=LONGEST_SIGNATURE_AGE.total_seconds())
        return response


def _signature(request: HttpRequest) -> dict[str, Any]:
    signature: dict[str, Any] = json.loads(request.body)["signature"]
    return signature


def _cache_key(request: HttpRequest) -> str:
    # Hashed, because a cache may limit the length and the characters of a key.
    token = str(_signature(request)["token"])
    return f"mailgun-token:{hashlib.sha256(token.encode()).hexdigest()}"
