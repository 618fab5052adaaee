"""What Mailgun's reports mean, and which of them to believe.

https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
"""

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
        """Refuse a signature of another day; Anymail calls this and its own checks."""
        if request.content_type != "application/json":
            raise AnymailWebhookValidationFailure("Mailgun's reports are JSON.")
        super().validate_request(request)
        # Nothing is signed between the time and the token: digits that were moved from one to the
        # other leave the signature good, and the time far away or no number.
        try:
            age = time.time() - int(_signature(request)["timestamp"])
        except ValueError:
            raise AnymailWebhookValidationFailure("The report's time is no number.") from None
        if abs(age) > LONGEST_SIGNATURE_AGE.total_seconds():
            raise AnymailWebhookValidationFailure("The signature of the report is of another day.")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Take a report, once; one that could not be written down may come again."""
        # First of all, so that no forged report changes which signatures were used.
        self.run_validators(request)
        # Not the token: another one, with other digits of the time, can have the same signature.
        key = f"mailgun-signature:{_signature(request)['signature']}"
        # The time may lie ahead, too.
        timeout = 2 * LONGEST_SIGNATURE_AGE.total_seconds()
        if not cache.add(key, 1, timeout=timeout):
            return HttpResponse()
        try:
            response: HttpResponse = super().post(request, *args, **kwargs)
        except BaseException:
            cache.delete(key)
            raise
        return response


def _signature(request: HttpRequest) -> dict[str, Any]:
    signature: dict[str, Any] = json.loads(request.body)["signature"]
    return signature
