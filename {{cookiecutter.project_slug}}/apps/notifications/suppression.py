"""Addresses that bounced for good or complained: written down, and left out of what is sent."""

import logging
from contextlib import suppress
from datetime import timedelta
from email.utils import parseaddr
from typing import Any

import idna
from anymail.signals import tracking
from django.core.mail import EmailMessage
from django.db import InterfaceError, OperationalError
from django.dispatch import receiver
from django.utils import timezone

from .errors import TemporaryDeliveryError
from .models import SuppressedAddress
from .tracking import reason_to_suppress

logger = logging.getLogger(__name__)

# An old report that comes again must not undo what an administrator lifted since. {{ cookiecutter.__email_name }}
# gives up repeating a report that was not taken before that.
LONGEST_REPORT_AGE = timedelta(days=3)


def normalized(address: str) -> str:
    """Return an address as it is compared: bare, in lower case, the domain as DNS has it.

    Args:
        address: "Name <address>" or bare.
    """
    local, _, domain = parseaddr(address)[1].lower().rpartition("@")
    if not domain.isascii():
        with suppress(idna.IDNAError):  # it could not be sent to
            domain = idna.encode(domain, uts46=True).decode("ascii")
    return f"{local}@{domain}"


@receiver(tracking)
def record(event: Any, **kwargs: Any) -> None:
    """Write down the address of a hard bounce or a complaint, once.

    Args:
        event: a report whose sender Anymail has verified.
    """
    reason = reason_to_suppress(event)
    if reason is None or not event.recipient:
        return
    if event.timestamp and timezone.now() - event.timestamp > LONGEST_REPORT_AGE:
        return
    _, is_new = SuppressedAddress.objects.get_or_create(
        address=normalized(event.recipient), defaults={"reason": reason}
    )
    if is_new:
        logger.warning("an address is suppressed: %s", reason.label)


def leave_out(message: EmailMessage) -> None:
    """Take the suppressed addresses out of To, Cc and Bcc.

    Args:
        message: the message; nobody may be left.

    Raises:
        TemporaryDeliveryError: the database does not answer.
    """
    addresses = {normalized(address) for address in message.recipients()}
    rows = SuppressedAddress.objects.filter(address__in=addresses)
    try:
        suppressed = set(rows.values_list("address", flat=True))
    except (InterfaceError, OperationalError) as exc:
        raise TemporaryDeliveryError("The database with the suppressed addresses is away.") from exc
    if not suppressed:
        return
    for name in ("to", "cc", "bcc"):
        kept = [item for item in getattr(message, name) if normalized(item) not in suppressed]
        setattr(message, name, kept)
    logger.warning(
        "left %d suppressed addresses out of a message; %d are left",
        len(suppressed),
        len(message.recipients()),
    )
