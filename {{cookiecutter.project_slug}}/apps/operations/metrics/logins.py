"""How many logins succeed, fail, and are refused after too many failures."""

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.dispatch import receiver
from prometheus_client import Counter

from apps.accounts.backends import login_refused
from apps.operations.metrics.requests import REGISTRY

LOGINS = Counter(
    "logins",
    "Logins with a name and a password, by how they ended.",
    ("outcome",),
    registry=REGISTRY,
)


@receiver(user_logged_in)
def count_success(**_: Any) -> None:
    """Count a login that went well."""
    LOGINS.labels("success").inc()


@receiver(login_refused)
def count_refusal(**_: Any) -> None:
    """Count a login that was not tried."""
    LOGINS.labels("refused").inc()


@receiver(user_login_failed)
def count_failure(request: Any, **_: Any) -> None:
    """Count a login that failed; Django tells of those that were refused too."""
    if not getattr(request, "retry_after", 0):
        LOGINS.labels("failure").inc()
