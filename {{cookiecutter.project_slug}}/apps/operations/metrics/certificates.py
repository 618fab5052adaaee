"""Until when the certificates of the site are valid, as a visitor sees them."""

import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

PORT = 443
# In seconds.
TIMEOUT = 5.0
# In seconds: how long what was seen is told again.
MAX_AGE = 600.0


@dataclass(frozen=True)
class Certificate:
    """What a host shows.

    Attributes:
        host: Its name.
        expires_at: Until when the certificate is valid, in seconds since the epoch. None if it is
            not valid now, not of that name, of an unknown authority, or if nothing answers.
    """

    host: str
    expires_at: float | None


def names(allowed_hosts: Iterable[str]) -> list[str]:
    """Return what of ``ALLOWED_HOSTS`` has a certificate of its own.

    Args:
        allowed_hosts: Names, addresses, and with a leading dot whole domains.
    """
    return [host for host in allowed_hosts if not host.startswith(".") and not _is_address(host)]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def look(host: str) -> Certificate:
    """Ask a host for its certificate and verify it.

    Args:
        host: A name of the site.
    """
    try:
        with (
            socket.create_connection((host, PORT), TIMEOUT) as plain,
            ssl.create_default_context().wrap_socket(plain, server_hostname=host) as connection,
        ):
            certificate: Any = connection.getpeercert()
    except OSError as error:  # among them what TLS finds wrong
        logger.warning("the certificate of %s is not verified: %s", host, error)
        return Certificate(host, None)
    return Certificate(host, ssl.cert_time_to_seconds(certificate["notAfter"]))


class Certificates:
    """Looks at the certificates of some hosts now and then."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = list(hosts)
        self._seen: list[Certificate] = []
        self._seen_at = float("-inf")

    def current(self) -> list[Certificate]:
        """Return what the hosts show, not older than ``MAX_AGE``."""
        if time.monotonic() - self._seen_at > MAX_AGE:
            self._seen = [look(host) for host in self._hosts]
            self._seen_at = time.monotonic()
        return self._seen
