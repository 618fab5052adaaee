"""Addresses that bounced for good or complained: written down, and left out of what is sent."""

import logging
from contextlib import suppress
from datetime import timedelta
from typing import Any

import idna
from anymail.exceptions import AnymailInvalidAddress
from anymail.signals import tracking
from anymail.utils import EmailAddress, parse_address_list
from django.core.mail import EmailMessage
from django.db import InterfaceError, OperationalError
from django.dispatch import receiver
from django.utils import timezone

from .errors import PermanentDeliveryError, TemporaryDeliveryError
from .models import SuppressedAddress
from .tracking import reason_to_suppress

logger = logging.getLogger(__name__)

# An old report that comes again must not undo what an administrator lifted since. {{ cookiecutter.__email_name }}
# gives up repeating a report that was not taken before that.
LONGEST_REPORT_AGE = timedelta(days=3)


# In characters: 64 before the @ and 255 after it. No longer address can be sent to.
LONGEST_ADDRESS = 320


def normalized(address: EmailAddress) -> str:
    """Return an address as it is compared: bare, in lower case, the domain as DNS has it."""
    local, _, domain = address.addr_spec.lower().rpartition("@")
    if not domain.isascii():
        with suppress(idna.IDNAError):  # it could not be sent to
            domain = idna.encode(domain, uts46=True).decode("ascii")
    return f"{local}@{domain}"


@receiver(tracking)
def record(event: Any, **kwargs: Any) -> None:
    """Write down the address of a hard bounce or a complaint, once.

    A report that names no address, or several, of which nobody knows which it was, says nothing.

    Args:
        event: a report whose sender Anymail has verified.
    """
    reason = reason_to_suppress(event)
    if reason is None or not event.recipient:
        return
    if event.timestamp and timezone.now() - event.timestamp > LONGEST_REPORT_AGE:
        return
    try:
        recipients = _parse([event.recipient])
    except AnymailInvalidAddress:
        return
    if len(recipients) != 1:
        return
    address = normalized(recipients[0])
    if len(address) > LONGEST_ADDRESS:
        return
    _, is_new = SuppressedAddress.objects.get_or_create(
        address=address, defaults={"reason": reason}
    )
    if is_new:
        logger.warning("an address is suppressed: %s", reason.label)


def leave_out(message: EmailMessage) -> None:
    """Take the suppressed addresses out of To, Cc and Bcc.

    Args:
        message: the message; nobody may be left.

    Raises:
        TemporaryDeliveryError: the database does not answer.
        PermanentDeliveryError: a recipient is no address.
    """
    try:
        # One item may hold several addresses, separated by commas.
        recipients = {name: _parse(getattr(message, name)) for name in ("to", "cc", "bcc")}
    except AnymailInvalidAddress:
        # Anymail's own words quote the address.
        raise PermanentDeliveryError("A recipient of the message is no address.") from None
    addresses = {normalized(address) for parsed in recipients.values() for address in parsed}
    rows = SuppressedAddress.objects.filter(address__in=addresses)
    try:
        suppressed = set(rows.values_list("address", flat=True))
    except (InterfaceError, OperationalError) as exc:
        raise TemporaryDeliveryError("The database with the suppressed addresses is away.") from exc
    if not suppressed:
        return
    for name, parsed in recipients.items():
        setattr(message, name, [str(item) for item in parsed if normalized(item) not in suppressed])
    logger.warning(
        "left %d suppressed addresses out of a message; %d are left",
        len(suppressed),
        len(message.recipients()),
    )


def _parse(items: list[str]) -> list[EmailAddress]:
    """Return all addresses in the items; there is no error for an empty item, as in Django."""
    addresses: list[EmailAddress] = parse_address_list([item for item in items if item])
    # Anymail overlooks that there is nothing before the @ of a domain that is not ASCII.
    if not all(address.username for address in addresses):
        raise AnymailInvalidAddress
    return addresses
