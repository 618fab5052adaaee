"""Which network addresses a webhook may be sent to.

The URL of a webhook often comes from a user, while the worker stands inside the network:
unchecked, it reaches the database, an admin page or the cloud's metadata service
(server-side request forgery).
"""

import re
import socket
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from django.conf import settings

from .errors import PermanentDeliveryError

IPAddress = IPv4Address | IPv6Address

# ipaddress.is_global is not asked: its answers differ between Python releases. Unless a line says
# otherwise, the source is the special-purpose registry of IANA:
# https://www.iana.org/assignments/iana-ipv4-special-registry/
IPV4_NOT_PUBLIC = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 reaches the local machine
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata service is 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform services (Microsoft Learn, "What is 168.63.129.16?")
        "169.254.0.0/16",  # link-local; the metadata service of most clouds is 169.254.169.254
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service is 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, withdrawn
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast (IANA multicast address space registry)
        "240.0.0.0/4",  # reserved, and broadcast
    )
)

# The only IPv6 space that IANA has given out for public use (IPv6 address space registry). What
# lies outside needs no line below: loopback, unspecified, IPv4-mapped and IPv4-compatible,
# unique local fc00::/7 (Amazon's metadata service is fd00:ec2::254), link-local, multicast.
IPV6_PUBLIC = IPv6Network("2000::/3")
# https://www.iana.org/assignments/iana-ipv6-special-registry/
IPV6_NOT_PUBLIC = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them: an IPv4 address is hidden inside
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address is hidden inside
        "3fff::/20",  # documentation
    )
)
# The last 32 bits are the IPv4 address that the gateway connects to (RFC 6052).
NAT64 = IPv6Network("64:ff9b::/96")

# Letters, digits, "-" and "_" in dotted labels: no zone id, no percent sign, no empty label and
# so no trailing dot, which would make another name of the same host.
HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
# The C library reads 127.1, 2130706433, 0x7f000001 and 017700000001 as 127.0.0.1; no top-level
# domain looks like this.
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def is_public(address: IPAddress) -> bool:
    """Tell whether the address belongs to the public Internet and to nothing else."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in IPV4_NOT_PUBLIC)
    if address in NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in IPV6_PUBLIC and not any(address in network for network in IPV6_NOT_PUBLIC)


def is_allowed(address: IPAddress) -> bool:
    """Tell whether the address lies in one of the WEBHOOK_ALLOWED_NETWORKS."""
    return any(address in ip_network(network) for network in settings.WEBHOOK_ALLOWED_NETWORKS)


def resolve(host: str) -> IPAddress:
    """Look up a host once and return the address to connect to.

    Connect to the returned address, not to the name: a second look-up may give another answer
    (DNS rebinding). The operating system's resolver decides how long a look-up may take.

    Args:
        host: a name or an IP address as httpx.URL.raw_host gives it: ASCII, lower case, IPv6
            without brackets.

    Raises:
        PermanentDeliveryError: the host is written in a form that is not accepted, or one of its
            addresses is neither public nor in WEBHOOK_ALLOWED_NETWORKS.
        socket.gaierror: the name cannot be resolved, perhaps only now.
    """
    addresses = _literal(host) or _look_up(host)
    for address in addresses:
        if not (is_public(address) or is_allowed(address)):
            raise PermanentDeliveryError(
                f"{host} has the address {address}, which is neither public nor in"
                " WEBHOOK_ALLOWED_NETWORKS."
            )
    return addresses[0]


def _literal(host: str) -> list[IPAddress]:
    """Return the IP address that the host is, or nothing if it is none or names a zone."""
    try:
        return [] if "%" in host else [ip_address(host)]
    except ValueError:
        return []


def _look_up(name: str) -> list[IPAddress]:
    """Return all addresses of a host name, in the order in which they should be tried."""
    last_label = name.rpartition(".")[2]
    if len(name) > 253 or not HOST_NAME.fullmatch(name) or NUMBER.fullmatch(last_label):
        raise PermanentDeliveryError(
            "The host of the webhook is neither a plain host name (without a dot at its end) nor"
            " an IP address in its usual form."
        )
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [ip_address(address[0]) for *_, address in found]
