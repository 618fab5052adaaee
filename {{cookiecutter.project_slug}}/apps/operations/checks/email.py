"""Looks at the e-mail provider."""

import time
from functools import lru_cache

from apps.notifications.errors import PermanentDeliveryError, TemporaryDeliveryError
from apps.notifications.login import check_login

# In seconds. The status page asks far more often, and servers lock out those who try a wrong
# password again and again. Each run of ``doctor`` is a process of its own, and asks.
LOGIN_INTERVAL = 300.0


def check_email() -> list[str]:
    """Log in to the e-mail provider; a process does that once in ``LOGIN_INTERVAL``."""
    try:
        return _login_problems(time.monotonic() // LOGIN_INTERVAL)
    except TemporaryDeliveryError as error:
        return [str(error)]


@lru_cache(maxsize=1)
def _login_problems(interval: float) -> list[str]:
    """Return what the provider said; that it said nothing is raised, and not remembered."""
    try:
        check_login()
    except PermanentDeliveryError as error:
        return [str(error)]
    return []
