"""Telling people that something needs them."""

import hashlib
import logging
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone

from apps.notifications import transport
from apps.notifications.errors import PermanentDeliveryError, TemporaryDeliveryError
from apps.operations.models import SentAlert
from apps.operations.pings import ping_database

logger = logging.getLogger(__name__)

# In seconds. One mail for the same thing in this time; the log has them all.
QUIET_TIME = 60 * 60
# In seconds. After a mail that could not be sent; a burst of events must not be one of attempts.
PAUSE = 60
# Their text names hosts and status codes, and nothing private.
TELLING_ERRORS = (PermanentDeliveryError, TemporaryDeliveryError)

# What this process alone knows, for the time in which neither cache nor database answers.
_memory = LocMemCache("alerts", {})


def send_alert(subject: str, body: str) -> bool:
    """Send a mail to ``ALERT_RECIPIENTS``, at most one per subject in ``QUIET_TIME``.

    It is sent at once and not by a task, because tasks may be what fails. Nothing is raised.

    Args:
        subject: What happened, always in the same words for the same thing.
        body: What to know and where to look; no values of arguments, no secrets.

    Returns:
        Whether a mail was sent now.
    """
    if not settings.ALERT_RECIPIENTS or not claim(subject):
        return False
    sent = send_now(subject, body)
    if not sent:
        defer(subject)
    return sent


def claim(subject: str) -> bool:
    """Ask for the right to tell of something; one process gets it, once in ``QUIET_TIME``.

    The cache is asked, or the database if the cache does not answer: a process that can't start
    without one of them still finds the other.

    Args:
        subject: What happened, always in the same words for the same thing.

    Returns:
        Whether this call got the right.
    """
    key = _key(subject)
    limits: tuple[tuple[str, Callable[[str], bool]], ...] = (
        ("cache", _claim_in_cache),
        ("database", _claim_in_database),
    )
    for name, claim_there in limits:
        try:
            return claim_there(key)
        except Exception as error:
            logger.warning(
                "the %s can't tell whether an alert was sent before: %s",
                name,
                type(error).__name__,
            )
    return _memory.add(key, 1, timeout=QUIET_TIME)


def defer(subject: str) -> None:
    """Give the right of :func:`claim` back after ``PAUSE``, because nobody could be told.

    Args:
        subject: As it was claimed.
    """
    key = _key(subject)
    _memory.touch(key, PAUSE)
    with suppress(Exception):
        cache.touch(key, PAUSE)
    with suppress(Exception), transaction.atomic():
        SentAlert.objects.filter(key=key).update(
            sent_at=timezone.now() - timedelta(seconds=QUIET_TIME - PAUSE)
        )


def send_now(subject: str, body: str) -> bool:
    """Send a mail to ``ALERT_RECIPIENTS``, whatever was sent before.

    A mail that can't be sent is logged and no more, so that the mail server's failure does not
    send mail. Nothing is raised.

    Args:
        subject: What happened.
        body: What to know and where to look; no values of arguments, no secrets.

    Returns:
        Whether all who want to hear of it were told; also if nobody does.
    """
    if not settings.ALERT_RECIPIENTS:
        return True
    message = EmailMessage(
        subject=f"{settings.EMAIL_SUBJECT_PREFIX}{subject}",
        body=body,
        from_email=settings.SERVER_EMAIL,
        to=settings.ALERT_RECIPIENTS,
    )
    try:
        transport.send(message, uuid.uuid4().hex)
    except Exception as error:
        logger.error("the alert %r could not be sent: %s", subject, public_text(error))
        return False
    return True


def public_text(error: BaseException) -> str:
    """Return what may be told of an error: its text may hold addresses and other private values.

    Args:
        error: Any error.

    Returns:
        Its class; for one that names hosts and status codes only, its text too.
    """
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, TELLING_ERRORS) else name


def moment(when: datetime) -> str:
    """Return a time as mails tell it, in ``TIME_ZONE``."""
    return timezone.localtime(when).strftime("%Y-%m-%d %H:%M:%S %Z")


def _key(subject: str) -> str:
    # Hashed, because a cache may limit the length and the characters of a key.
    return hashlib.sha256(f"alert:{subject}".encode()).hexdigest()


def _claim_in_cache(key: str) -> bool:
    return cache.add(key, 1, timeout=QUIET_TIME)


def _claim_in_database(key: str) -> bool:
    ping_database()
    now = timezone.now()
    with transaction.atomic():
        _, created = SentAlert.objects.get_or_create(key=key, defaults={"sent_at": now})
        quiet_since = now - timedelta(seconds=QUIET_TIME)
        expired = SentAlert.objects.filter(key=key, sent_at__lte=quiet_since)
        return created or expired.update(sent_at=now) == 1
