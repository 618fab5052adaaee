"""A webhook reaches public addresses and nothing else."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from pytest_django import Settings

from apps.notifications import addresses, webhooks
from apps.notifications.errors import PermanentDeliveryError

Names = dict[str, list[str]]


class SecretForEveryHost(dict[str, str]):
    """Lets a test reach the address check whatever the host is."""

    def get(self, key: str, default: Any = None) -> Any:
        return "whsec_c2VjcmV0"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """A name server whose entries the test writes; other names do not exist."""
    entries: Names = {}

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> list[tuple[Any, ...]]:
        if host not in entries:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, 1, 6, "", (address, 0))
            for address in entries[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return entries


@pytest.fixture
def no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an attempt to connect a TypeError, which no code expects."""
    monkeypatch.setattr(socket, "create_connection", None)


REFUSED_HOSTS = [
    # loopback and unspecified
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104 (an address to refuse)
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    # private and link-local
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.0.1",
    "[fc00::1]",
    "[fd12:3456:789a::1]",
    "[fe80::1]",
    "[fec0::1]",
    # metadata services
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    # shared, special, documentation, benchmarks, multicast, reserved, broadcast
    "100.64.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "[ff02::1]",
    "[100::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[5f00::1]",
    # an IPv4 address inside an IPv6 address
    "[::ffff:127.0.0.1]",
    "[::ffff:8.8.8.8]",
    "[::ffff:a9fe:a9fe]",
    "[::127.0.0.1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:7f00:1::]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::10.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",  # Teredo of 127.0.0.1, whose bits are inverted
    "[fe80::5efe:127.0.0.1]",  # ISATAP
    # other ways to write 127.0.0.1
    "127.1",
    "127.0.1",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7F.1",
    "0x",
    "127.0.0.0x1",
    "127.000.000.001",
    "0x7f.0.0.0x1",
    "00000177.1",
    "4294967295",
    "18446744071562067969",  # 127.0.0.1 beyond 32 bits
    "0xa9fea9fe",
    "2852039166",  # 169.254.169.254
    "0251.0376.0251.0376",
    "127.0.0.1.",
    "127\u30020\u30020\u30021",
    "\uff11\uff12\uff17.0.0.1",  # full-width digits
    "\u2460\u2461\u2466.0.0.\u2460",  # circled digits
    "\u0661\u0662\u0667.0.0.1",  # Arabic-Indic digits
    "127\uff0e0\uff0e0\uff0e1",  # full-width dots
    "%31%32%37.0.0.1",
    "[127.0.0.1]",
    # names of private addresses
    "localhost",
    "LOCALHOST",
    "127.0.0.1.nip.io",
    "metadata.google.internal",
    "mapped.example.com",
    # zones, dots, blanks
    "[fe80::1%25eth0]",
    "[::1%25lo]",
    "localhost.",
    "[2606:4700:4700::1111%25eth0]",
    "hooks.example.com.",
    "hooks..example.com",
    ".example.com",
    "",
    "hooks example.com",
    "hooks.example.com%00.evil.example",
    "x" * 64 + ".example.com",
    "x." * 127 + "com",
    # one host to one parser, another to the next
    "hooks.example.com@127.0.0.1",
    "127.0.0.1\\@hooks.example.com",
    "127.0.0.1#@hooks.example.com",
    "127.0.0.1:443@hooks.example.com",
    "hooks.example.com:443@127.0.0.1:6379",
    "hooks.example.com:0",
    "hooks.example.com:65536",
    "hooks.example.com:-1",
    "hooks.example.com:http",
]


PRIVATE_NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "mapped.example.com": ["::ffff:10.0.0.1"],
}


@pytest.mark.parametrize("host", REFUSED_HOSTS)
@pytest.mark.usefixtures("no_connections")
def test_webhook_to_this_host_is_refused(host: str, names: Names, settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = SecretForEveryHost()
    names["hooks.example.com"] = ["8.8.8.8"]
    names |= PRIVATE_NAMES

    with pytest.raises(PermanentDeliveryError):
        webhooks.deliver(f"https://{host}/", {}, "1")


@pytest.mark.parametrize(
    "url",
    ["//8.8.8.8/", "8.8.8.8", "", "ftp://8.8.8.8/", "file:///etc/passwd", "gopher://8.8.8.8/"],
)
@pytest.mark.usefixtures("no_connections")
def test_webhook_by_this_scheme_is_refused(url: str, settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = SecretForEveryHost()

    with pytest.raises(PermanentDeliveryError, match="https://"):
        webhooks.deliver(url, {}, "1")


@pytest.mark.usefixtures("no_connections")
def test_plain_http_to_a_public_address_is_refused(settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = SecretForEveryHost()

    with pytest.raises(PermanentDeliveryError, match="needs https://"):
        webhooks.deliver("http://8.8.8.8/", {}, "1")


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::",
        "2001:4860:4860::8888",
        "2606:4700:4700::1111",
        "64:ff9b::8.8.8.8",
    ],
)
def test_public_address_is_accepted(address: str, names: Names) -> None:
    names["hooks.example.com"] = [address]

    assert addresses.resolve(address) == addresses.resolve("hooks.example.com")


@pytest.mark.parametrize(
    "found",
    [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["8.8.8.8", "::1"]],
)
def test_name_is_refused_if_any_of_its_addresses_is(found: list[str], names: Names) -> None:
    names["hooks.example.com"] = found

    with pytest.raises(PermanentDeliveryError, match=r"hooks\.example\.com has the address"):
        addresses.resolve("hooks.example.com")


def test_first_address_is_taken(names: Names) -> None:
    names["hooks.example.com"] = ["8.8.4.4", "8.8.8.8"]

    assert str(addresses.resolve("hooks.example.com")) == "8.8.4.4"


@pytest.mark.parametrize("network", ["10.1.0.0/16", "fd00::/8"])
def test_private_address_is_accepted_in_an_allowed_network_only(
    network: str, names: Names, settings: Settings
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [network]
    inside = {"10.1.0.0/16": "10.1.2.3", "fd00::/8": "fd00::3"}[network]
    names["hooks.internal"] = [inside]

    assert str(addresses.resolve("hooks.internal")) == inside
    with pytest.raises(PermanentDeliveryError):
        addresses.resolve("10.2.0.1")


def test_unknown_name_may_be_known_later(names: Names) -> None:
    with pytest.raises(socket.gaierror):
        addresses.resolve("hooks.example.com")


def test_verdict_does_not_come_from_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables differ between Python releases."""
    for version in (IPv4Address, IPv6Address):
        for name in ("is_global", "is_private", "is_reserved"):
            monkeypatch.delattr(version, name)

    assert addresses.is_public(ip_address("8.8.8.8"))
    assert not addresses.is_public(ip_address("::ffff:8.8.8.8"))
