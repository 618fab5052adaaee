"""The project's webhooks against real receivers with TLS, and through a real worker."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from tests.conftest import Bake
from tests.processes import Process, Stack, python_environment
from tests.production import production, production_environment
from tests.servers.http import HTTPServer, Reply
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.tls import Authority

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("webhooks")]

NAME = "hooks.example.com"
OTHER_NAME = "other.example.com"
ADDRESS = "127.0.0.1"
SECRET = "whsec_" + base64.b64encode(b"a secret of the receiver").decode()

# Nobody's: a worker that does not refuse it would wait for its answer.
PRIVATE_ADDRESS = "10.255.255.1"

# Run by manage.py after `names` and `urls` are set.
DELIVER = """
import json, socket
from apps.notifications import webhooks

system_lookup = socket.getaddrinfo


def getaddrinfo(host, *args, **options):
    return system_lookup(names.get(host, host), *args, **options)


socket.getaddrinfo = getaddrinfo
outcomes = []
for url in urls:
    try:
        webhooks.deliver(url, {"answer": 42}, "message-1")
    except Exception as error:
        outcomes.append(f"{type(error).__name__}: {error}")
    else:
        outcomes.append("delivered")
print("outcomes", json.dumps(outcomes))
"""


def environment(database_url: str, redis_url: str, **more: str) -> dict[str, str]:
    """Return the variables of a project that may send webhooks to this machine."""
    hosts = (NAME, OTHER_NAME, ADDRESS, "localhost", PRIVATE_ADDRESS)
    variables = {
        "WEBHOOK_SECRETS": ",".join(f"{host}={SECRET}" for host in hosts),
        "WEBHOOK_ALLOWED_NETWORKS": f"{ADDRESS}/32",
        **more,
    }
    return production_environment(database_url, redis_url, **variables)


@pytest.fixture(scope="module")
def sender(bake: Bake) -> Iterator[Stack]:
    """The project, to send from one process without any service."""
    variables = environment("postgres://u:p@127.0.0.1:1/n", "redis://127.0.0.1:1/0")
    project = bake()
    with Stack(project, variables, python_environment(project)) as stack:
        yield stack


def deliver(sender: Stack, *urls: str, **variables: str) -> list[str]:
    """Send one webhook to each URL, from one process.

    Args:
        sender: the project.
        urls: where to; the host names of the tests stand for this machine.
        variables: further variables of the process.

    Returns:
        For each URL, `delivered` or the name of the exception and its text.
    """
    names = {NAME: ADDRESS, OTHER_NAME: ADDRESS}
    values = f"names, urls = {names!r}, {urls!r}"
    result = sender.manage("shell", "--command", values + DELIVER, timeout=30, **variables)
    assert result.returncode == 0, result.stderr
    outcomes: list[str] = json.loads(result.stdout.partition("outcomes ")[2])
    assert len(outcomes) == len(urls)
    return outcomes


def test_a_receiver_of_an_unknown_authority_gets_nothing(
    sender: Stack, authority: Authority, unknown_authority: Authority
) -> None:
    with HTTPServer(unknown_authority, NAME) as receiver:
        for trusted in ({}, {"SSL_CERT_FILE": str(authority.file)}):
            [outcome] = deliver(sender, receiver.url(), **trusted)
            assert outcome.startswith("TemporaryDeliveryError"), outcome
            assert "certificate verify failed" in outcome
        assert receiver.requests == []


def test_only_a_certificate_for_the_host_of_the_url_is_accepted(
    sender: Stack, authority: Authority
) -> None:
    with (
        HTTPServer(authority, NAME) as by_name,
        HTTPServer(authority, OTHER_NAME) as by_other_name,
        HTTPServer(authority, ADDRESS) as by_address,
    ):
        outcomes = deliver(
            sender,
            by_name.url("/by-name"),
            by_address.url("/by-address"),
            f"https://{NAME}:{by_other_name.port}/",
            # The connection is made to this address; the certificate must be for the name still.
            f"https://{NAME}:{by_address.port}/",
            f"https://{ADDRESS}:{by_name.port}/",
            SSL_CERT_FILE=str(authority.file),
        )
        assert outcomes[:2] == ["delivered", "delivered"]
        for outcome in outcomes[2:]:
            assert outcome.startswith("TemporaryDeliveryError"), outcome
            assert "is not valid for" in outcome
        assert [request.path for request in by_name.requests] == ["/by-name"]
        assert [request.path for request in by_address.requests] == ["/by-address"]
        assert by_other_name.requests == []
        [request] = by_name.requests
        assert request.headers["host"] == f"{NAME}:{by_name.port}"
        assert Webhook(SECRET).verify(request.body, dict(request.headers)) == {"answer": 42}


def test_a_name_of_this_machine_is_refused_unless_its_network_is_allowed(
    sender: Stack, authority: Authority
) -> None:
    with HTTPServer(authority) as receiver, HTTPServer() as plain:
        [tls, http] = deliver(
            sender,
            receiver.url(),
            f"http://localhost:{plain.port}/",
            SSL_CERT_FILE=str(authority.file),
            WEBHOOK_ALLOWED_NETWORKS="",
        )
        for outcome in (tls, http):
            assert outcome.startswith("PermanentDeliveryError"), outcome
            assert "which is neither public nor in WEBHOOK_ALLOWED_NETWORKS" in outcome
        for server in (receiver, plain):
            assert server.requests == []
            assert server.failures == []


@dataclass
class Site:
    """A worker, and what it talks to."""

    stack: Stack
    worker: Process
    receiver: HTTPServer
    proxy: HTTPServer

    def send(self, path: str) -> int:
        """Queue a webhook to the receiver and return how many lines the worker's log had."""
        before = len(self.worker.lines)
        code = (
            "from apps.notifications.tasks import send_webhook; "
            f"send_webhook.delay_on_commit({self.receiver.url(path)!r}, {{'answer': 42}})"
        )
        result = self.stack.manage("shell", "--command", code)
        assert result.returncode == 0, result.stderr
        return before


@pytest.fixture(scope="module")
def site(
    bake: Bake, postgres: PostgresServer, redis_server: RedisServer, authority: Authority
) -> Iterator[Site]:
    """A worker that trusts the authority of the receiver, with a proxy in its environment."""
    with HTTPServer(authority, ADDRESS) as receiver, HTTPServer() as proxy:
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        proxies = {name: proxy.url() for name in names + tuple(map(str.lower, names))}
        variables = environment(
            postgres.create_database(),
            redis_server.url(),
            SSL_CERT_FILE=str(authority.file),
            **proxies,
        )
        with production(Path(bake()), variables) as stack:
            yield Site(stack, stack.worker(), receiver, proxy)
    redis_server.empty()


def test_a_busy_receiver_gets_the_same_message_again_after_the_time_that_it_asks_for(
    site: Site,
) -> None:
    count = len(site.receiver.requests)
    site.receiver.reply(Reply(503, {"Retry-After": "2"}), Reply(204))
    log = site.send("/busy")
    requests = site.receiver.wait_for(count + 2, 20)[count:]
    # The delay that the project chooses by itself is a random one.
    site.worker.wait_for_line("Retry in 2s", 1, after=log)
    sent = [int(request.headers["webhook-timestamp"]) for request in requests]
    # In whole seconds, and Celery may be some hundredths early.
    assert sent[1] - sent[0] >= 1
    for request in requests:
        assert Webhook(SECRET).verify(request.body, dict(request.headers)) == {"answer": 42}
    first, second = (request.headers["webhook-id"] for request in requests)
    assert first == second
    site.worker.wait_for_line(f"{first}.*succeeded", 20, after=log)
    assert len(site.receiver.requests) == count + 2


def test_a_receiver_that_is_gone_is_asked_once(site: Site) -> None:
    count = len(site.receiver.requests)
    site.receiver.reply(Reply(410, {"Retry-After": "1"}))
    log = site.send("/gone")
    site.worker.wait_for_line("failed for good", 20, after=log)
    lines = site.worker.lines[log:]
    assert any("answered 410" in line for line in lines)
    assert not any("Retry in" in line for line in lines)
    assert len(site.receiver.requests) == count + 1


def test_a_redirect_to_a_private_address_is_not_followed(site: Site) -> None:
    site.receiver.reply(Reply.redirect(f"https://{PRIVATE_ADDRESS}/"))
    log = site.send("/redirect")
    site.worker.wait_for_line("failed for good", 20, after=log)
    reason = f"{PRIVATE_ADDRESS} has the address {PRIVATE_ADDRESS}, which is neither public nor"
    assert any(reason in line for line in site.worker.lines[log:])


def test_a_redirect_to_a_public_name_is_followed_and_signed(site: Site) -> None:
    count = len(site.receiver.requests)
    site.receiver.reply(Reply.redirect("/new", status=308))
    site.send("/old")
    requests = site.receiver.wait_for(count + 2, 20)[count:]
    assert [request.path for request in requests] == ["/old", "/new"]
    assert {request.method for request in requests} == {"POST"}
    assert Webhook(SECRET).verify(requests[1].body, dict(requests[1].headers)) == {"answer": 42}


def test_proxies_in_the_environment_are_not_asked(site: Site) -> None:
    count = len(site.receiver.requests)
    site.send("/direct")
    site.receiver.wait_for(count + 1, 20)
    assert site.proxy.requests == []
    assert site.proxy.failures == []
