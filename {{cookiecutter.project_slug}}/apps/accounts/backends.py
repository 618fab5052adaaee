"""Logging in with a name and a password, not more often than makes sense."""

import logging
from datetime import timedelta
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.cache.backends.base import BaseCache
from django.core.exceptions import PermissionDenied
from django.dispatch import Signal
from django.http import HttpRequest

from apps.accounts.client_address import client_address
from apps.accounts.limits import Limit, counting, digest
from apps.accounts.models import User

logger = logging.getLogger(__name__)

# Failed logins. Several people may share an address.
ACCOUNT = Limit("login-account", 10, timedelta(minutes=15))
ADDRESS = Limit("login-address", 50, timedelta(minutes=15))
# How long an address is remembered from which somebody has logged in, in seconds.
KNOWN_FOR = 30 * 24 * 60 * 60

# Sent with the request, for a login that was not tried because too many had failed.
login_refused = Signal()


class LimitedBackend(ModelBackend):
    """Django's own check of passwords, behind limits per account and per address.

    From an address that somebody has logged in from, only the failures from there count against
    the account. So whoever guesses from elsewhere does not lock its owner out.
    """

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """Return the user with that name and password, if there is one.

        Args:
            request: The request; none if a program logs in, which has no limit.
            username: The name.
            password: The password.
            kwargs: What other backends want.

        Raises:
            PermissionDenied: After too many failures; ``request.retry_after`` says for how many
                seconds.
        """
        if request is None or username is None:
            return super().authenticate(request, username, password, **kwargs)
        address = client_address(request)
        wait, limited = counting(lambda cache: _count(cache, username, address))
        if wait:
            logger.warning(
                "login from %s refused for %s s: too many failures of the %s",
                address,
                wait,
                limited,
            )
            request.retry_after = wait  # type: ignore[attr-defined]
            login_refused.send(type(self), request=request)
            raise PermissionDenied
        user = super().authenticate(request, username, password, **kwargs)
        if user is None:
            # What is no name may be a password in the wrong field.
            exists = User.objects.filter(username=username).exists()
            name = username if exists else "(nobody)"
            logger.warning("login from %s failed: %s", address, name)
        else:
            counting(lambda cache: _forgive(cache, username, address))
        return user


def _known(username: str, address: str) -> str:
    return f"login-known:{digest(username, address)}"


def _account(cache: BaseCache, username: str, address: str) -> tuple[str, ...]:
    return (username, address) if cache.get(_known(username, address)) else (username,)


def _count(cache: BaseCache, username: str, address: str) -> tuple[int, str]:
    wait = ADDRESS.count(cache, address)
    if wait:
        return wait, "address"
    return ACCOUNT.count(cache, *_account(cache, username, address)), "account"


def _forgive(cache: BaseCache, username: str, address: str) -> None:
    # Of the address only this try: who has an account could guess at others for ever otherwise.
    ADDRESS.take_back(cache, address)
    ACCOUNT.lift(cache, *_account(cache, username, address))
    cache.set(_known(username, address), value=True, timeout=KNOWN_FOR)
