"""Where a request comes from, as far as that can be believed.

Whoever asks may send any ``X-Forwarded-For``; only what our own proxies have written counts.
"""

import ipaddress

from django.conf import settings
from django.http import HttpRequest

# An IPv6 customer has at least such a network, and with it more addresses than can be counted.
IPV6_PREFIX = 64


def client_address(request: HttpRequest) -> str:
    """Return the address of the visitor, in the form of :func:`normalized`.

    Args:
        request: The request; what it tells is believed as far as ``CLIENT_ADDRESS_HEADER`` and
            ``TRUSTED_PROXIES`` say.
    """
    forwarded = request.META.get(settings.CLIENT_ADDRESS_HEADER, "").split(",")
    # Each proxy adds an address at the end, so these can't be forged; the first of them is asked.
    added = forwarded[-settings.TRUSTED_PROXIES :]
    return normalized(added[0]) or normalized(request.META.get("REMOTE_ADDR", ""))


def normalized(address: str) -> str:
    """Return an address in one form: an IPv4 address, or the /64 network of an IPv6 address.

    Args:
        address: The address as text.

    Returns:
        The form that is counted by, or nothing if it is no address.
    """
    try:
        parsed = ipaddress.ip_address(address.strip())
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), IPV6_PREFIX), strict=False))
