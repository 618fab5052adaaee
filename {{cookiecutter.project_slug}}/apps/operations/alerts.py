"""Telling people that something needs them."""

import hashlib
import logging
from contextlib import suppress

from django.conf import settings
from django.core.cache import cache
from django.core.mail import EmailMessage

logger = logging.getLogger(__name__)

# In seconds. One mail for the same thing in this time; the log has them all.
QUIET_TIME = 60 * 60


def send_alert(subject: str, body: str) -> None:
    """Send a mail to ``ALERT_RECIPIENTS``, at most one per subject in ``QUIET_TIME``.

    It is sent at once and not by a task, because tasks may be what fails. An alert that can't be
    sent is logged; nothing is raised.

    Args:
        subject: What happened, always in the same words for the same thing.
        body: What to know and where to look; no values of arguments, no secrets.
    """
    # Hashed, because a cache may limit the length and the characters of a key.
    key = f"alert:{hashlib.sha256(subject.encode()).hexdigest()}"
    if not settings.ALERT_RECIPIENTS or not _is_news(key):
        return
    message = EmailMessage(
        subject=f"{settings.EMAIL_SUBJECT_PREFIX}{subject}",
        body=body,
        from_email=settings.SERVER_EMAIL,
        to=settings.ALERT_RECIPIENTS,
    )
    try:
        message.send()
    except Exception:
        logger.exception("the alert %r could not be sent", subject)
        _forget(key)


def _is_news(key: str) -> bool:
    try:
        return cache.add(key, 1, timeout=QUIET_TIME)
    except Exception:
        logger.warning("the cache can't tell whether an alert was sent before")
        return True


def _forget(key: str) -> None:
    with suppress(Exception):
        cache.delete(key)
