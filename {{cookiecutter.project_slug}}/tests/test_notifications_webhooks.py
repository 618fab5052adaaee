"""Webhooks reach real HTTP servers on this machine, signed, or fail for a reason."""

import binascii
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from django.core.mail import EmailMessage
from django.db import transaction
from django.utils.http import http_date
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings
from standardwebhooks import Webhook, WebhookVerificationError

from apps.notifications import webhooks
from apps.notifications.errors import PermanentDeliveryError, TemporaryDeliveryError
from apps.notifications.tasks import MAX_RETRIES, send_webhook

pytestmark = pytest.mark.usefixtures("eager_retries")

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
NAME = "hooks.example.com"


class Receiver(ThreadingHTTPServer):
    """Gives the answers in `script` and then 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ReceiverConversation)
        self.script: list[tuple[int, dict[str, str]]] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.requests]


class ReceiverConversation(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, body))
        status, answer = self.server.script.pop(0) if self.server.script else (204, {})
        self.send_response(status)
        for name, value in answer.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Keep the output of the tests clean."""


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    settings.WEBHOOK_SECRETS = {"127.0.0.1": SECRET}
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.001})
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[str]:
    """Give NAME the address 127.0.0.1 once, then another one; return the names asked for."""
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    settings.WEBHOOK_SECRETS = {NAME: SECRET}
    system_lookup = socket.getaddrinfo
    asked: list[str] = []

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> Any:
        if host != NAME:
            return system_lookup(host, *args, **kwargs)
        asked.append(host)
        return system_lookup("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Let a function talk to the first client, and yield the port."""

    def serve() -> None:
        connection, _ = listener.accept()
        # A client that hangs up ends the talk.
        with connection, suppress(OSError):
            talk(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_receiver_can_verify_the_signature(receiver: Receiver, settings: Settings) -> None:
    settings.SERVICE_NAME, settings.VERSION = "service", "1.2.3"
    payload = {"type": "order.paid", "data": {"id": 7, "name": "Zoë ☂"}}

    send_webhook.delay(f"{receiver.url}/hooks?token=1", payload).get()

    [(path, headers, body)] = receiver.requests
    assert path == "/hooks?token=1"
    assert headers["host"] == f"127.0.0.1:{receiver.server_port}"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "service/1.2.3"
    assert Webhook(SECRET).verify(body, headers) == payload
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER_SECRET).verify(body, headers)


@pytest.mark.django_db
def test_webhook_leaves_after_the_transaction(
    receiver: Receiver, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        send_webhook.delay_on_commit(receiver.url, {})
        assert not receiver.requests

    assert len(receiver.requests) == 1


def test_webhook_id_is_the_task_id_for_every_try(receiver: Receiver) -> None:
    receiver.script = [(500, {}), (503, {})]

    send_webhook.apply_async((receiver.url, {"n": 1}), task_id="order-7-paid").get()

    assert [headers["webhook-id"] for _, headers, _ in receiver.requests] == ["order-7-paid"] * 3
    for _, headers, body in receiver.requests:
        assert Webhook(SECRET).verify(body, headers) == {"n": 1}


def test_task_works_as_a_plain_function(receiver: Receiver) -> None:
    send_webhook(receiver.url, {})

    [(_, headers, _)] = receiver.requests
    assert headers["webhook-id"]


@pytest.mark.parametrize("status", [408, 429, 500, 503, 599])
def test_answer_that_may_change_is_tried_again(
    status: int, receiver: Receiver, delays: list[float]
) -> None:
    receiver.script = [(status, {})]

    send_webhook.delay(receiver.url, {}).get()

    assert len(receiver.requests) == 2
    assert len(delays) == 1


@pytest.mark.parametrize("status", [300, 301, 302, 303, 400, 404, 410])
def test_any_other_answer_is_final(status: int, receiver: Receiver, delays: list[float]) -> None:
    receiver.script = [(status, {"Location": f"{receiver.url}/elsewhere"})]

    with pytest.raises(PermanentDeliveryError, match=f"127.0.0.1 answered {status}") as failure:
        send_webhook.delay(f"{receiver.url}/hooks?token=1", {}).get()

    assert len(receiver.requests) == 1
    assert not delays
    assert "token" not in str(failure.value)


def test_gives_up_after_the_last_retry(receiver: Receiver, delays: list[float]) -> None:
    receiver.script = [(500, {})] * (MAX_RETRIES + 2)

    with pytest.raises(TemporaryDeliveryError, match="answered 500"):
        send_webhook.delay(receiver.url, {}).get()

    assert len(receiver.requests) == MAX_RETRIES + 1
    assert len(delays) == MAX_RETRIES
    assert max(delays) <= 900


@pytest.mark.django_db
def test_delivery_that_is_given_up_is_logged_and_alerted_once(
    receiver: Receiver,
    settings: Settings,
    mailoutbox: list[EmailMessage],
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.ALERT_RECIPIENTS = ["operator@example.com"]
    receiver.script = [*[(500, {})] * MAX_RETRIES, (503, {})]

    with pytest.raises(TemporaryDeliveryError):
        send_webhook.delay(f"{receiver.url}/hooks?token=1", {"private": 1}).get()

    [record] = [record for record in caplog.records if "failed for good" in record.getMessage()]
    assert "127.0.0.1 answered 503." in record.getMessage()
    assert record.attempts == MAX_RETRIES + 1  # type: ignore[attr-defined]
    [alert] = mailoutbox
    assert f"127.0.0.1 answered 503. (attempts: {MAX_RETRIES + 1})" in alert.body
    for private in ("token", "hooks?", "private"):
        assert private not in alert.body


@pytest.mark.parametrize(
    ("status", "header", "least", "most"),
    [
        (429, "700", 700, 700),
        (503, "700", 700, 700),
        (429, "0", 1, 1),
        (503, "86400", 1800, 1800),
        (429, http_date(time.time() + 900), 600, 900),
        (503, http_date(time.time() - 900), 1, 1),
        (429, "soon", 0, 30),
        (503, "-5", 0, 30),
        (429, "9" * 5000, 0, 30),
    ],
    ids=["429", "503", "now", "a day", "date", "past date", "words", "negative", "endless"],
)
def test_receiver_says_when_to_come_back(
    status: int, header: str, least: int, most: int, receiver: Receiver, delays: list[float]
) -> None:
    receiver.script = [(status, {"Retry-After": header})]

    send_webhook.delay(receiver.url, {}).get()

    [delay] = delays
    assert least <= delay <= most


def test_receiver_that_is_down_is_tried_again(receiver: Receiver, delays: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(TemporaryDeliveryError, match=r"127\.0\.0\.1: .*refused"):
        send_webhook.delay(f"http://127.0.0.1:{port}/", {}).get()

    assert len(delays) == MAX_RETRIES


def test_receiver_that_hangs_up_may_answer_later(receiver: Receiver) -> None:
    with (
        raw_server(lambda connection: None) as port,
        pytest.raises(TemporaryDeliveryError),
    ):
        webhooks.deliver(f"http://127.0.0.1:{port}/", {}, "1")


def test_unknown_name_may_be_known_later(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    settings.WEBHOOK_SECRETS = {NAME: SECRET}

    with pytest.raises(TemporaryDeliveryError, match=f"{NAME} cannot be resolved"):
        webhooks.deliver(f"https://{NAME}/", {}, "1")


@pytest.mark.parametrize("status", [307, 308])
def test_redirect_repeats_the_signed_request(status: int, receiver: Receiver) -> None:
    receiver.script = [(status, {"Location": "/second"}), (status, {"Location": receiver.url})]

    webhooks.deliver(f"{receiver.url}/first", {"n": 1}, "1")

    assert receiver.paths() == ["/first", "/second", "/"]
    for _, headers, body in receiver.requests:
        assert Webhook(SECRET).verify(body, headers) == {"n": 1}


def test_fourth_redirect_is_refused(receiver: Receiver) -> None:
    receiver.script = [(307, {"Location": "/again"})] * 4

    with pytest.raises(PermanentDeliveryError, match="redirects more than 3 times"):
        webhooks.deliver(receiver.url, {}, "1")

    assert len(receiver.requests) == 4


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://10.0.0.1/", "10.0.0.1 has the address"),
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254 has the address"),
        ("http://8.8.8.8/", "needs https://"),
        ("http://unknown.example.com/", "no secret for unknown.example.com"),
        ("file:///etc/passwd", "must start with https://"),
        ("http://127.0.0.1:http/", "cannot be read"),
        ("http://me@127.0.0.1/", "must not hold a user name"),
    ],
)
def test_redirect_is_checked_like_the_first_url(
    location: str, reason: str, receiver: Receiver, settings: Settings
) -> None:
    for host in ("10.0.0.1", "169.254.169.254", "8.8.8.8"):
        settings.WEBHOOK_SECRETS[host] = SECRET
    receiver.script = [(307, {"Location": location})]

    with pytest.raises(PermanentDeliveryError, match=reason):
        webhooks.deliver(receiver.url, {}, "1")

    assert len(receiver.requests) == 1


def test_redirect_to_nowhere_ends(receiver: Receiver) -> None:
    receiver.script = [(307, {})] * 4

    with pytest.raises(PermanentDeliveryError):
        webhooks.deliver(receiver.url, {}, "1")


def test_nothing_is_sent_unsigned(receiver: Receiver, settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = {"127.0.0.2": SECRET}

    with pytest.raises(PermanentDeliveryError, match=r"no secret for 127\.0\.0\.1"):
        webhooks.deliver(receiver.url, {}, "1")

    assert not receiver.requests


def test_broken_secret_or_payload_is_an_error(receiver: Receiver, settings: Settings) -> None:
    with pytest.raises(ValueError, match="JSON"):
        webhooks.deliver(receiver.url, {"n": float("nan")}, "1")
    settings.WEBHOOK_SECRETS = {"127.0.0.1": "whsec_x"}
    with pytest.raises(binascii.Error):
        webhooks.deliver(receiver.url, {}, "1")

    assert not receiver.requests


def test_unreadable_url_is_not_quoted() -> None:
    with pytest.raises(PermanentDeliveryError, match="cannot be read") as failure:
        webhooks.deliver("https://hooks.example.com:password/", {}, "1")

    assert "password" not in str(failure.value)


def test_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    webhooks.deliver(receiver.url, {}, "1")

    assert len(receiver.requests) == 1


def test_name_is_looked_up_once_and_stays_in_the_host_header(
    receiver: Receiver, looked_up: list[str], settings: Settings
) -> None:
    webhooks.deliver(f"http://{NAME.upper()}:{receiver.server_port}/", {}, "1")

    assert looked_up == [NAME]
    [(_, headers, _)] = receiver.requests
    assert headers["host"] == f"{NAME}:{receiver.server_port}"


def test_tls_asks_for_the_name_though_the_address_is_connected_to(looked_up: list[str]) -> None:
    client_hello: list[bytes] = []

    with (
        raw_server(lambda connection: client_hello.append(connection.recv(16384))) as port,
        pytest.raises(TemporaryDeliveryError),
    ):
        webhooks.deliver(f"https://{NAME}:{port}/", {}, "1")

    assert NAME.encode() in client_hello[0]
    assert looked_up == [NAME]


def test_certificates_are_verified(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts: list[ssl.SSLContext] = []

    class Transport(httpx.HTTPTransport):
        def __init__(self, *, verify: ssl.SSLContext) -> None:
            contexts.append(verify)
            super().__init__(verify=verify)

    monkeypatch.setattr(httpx, "HTTPTransport", Transport)

    webhooks.deliver(receiver.url, {}, "1")

    [context] = contexts
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def drip(connection: socket.socket, beginning: bytes) -> None:
    connection.sendall(beginning)
    while True:
        time.sleep(0.02)
        connection.sendall(b"x")


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nX-Endless: "])
def test_receiver_that_drips_headers_is_left(
    beginning: bytes, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TOTAL_SECONDS", 0.1)

    with (
        raw_server(lambda connection: drip(connection, beginning)) as port,
        pytest.raises(TemporaryDeliveryError, match="no answer within"),
    ):
        webhooks.deliver(f"http://127.0.0.1:{port}/", {}, "1")


@pytest.mark.parametrize("size", [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"])
def test_status_counts_though_the_body_drips(
    size: bytes, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TOTAL_SECONDS", 0.1)

    with raw_server(
        lambda connection: drip(connection, b"HTTP/1.1 200 OK\r\n" + size + b"\r\n\r\n")
    ) as port:
        webhooks.deliver(f"http://127.0.0.1:{port}/", {}, "1")


def test_endless_body_is_cut(receiver: Receiver) -> None:
    sent = 0

    def pour(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent += connection.send(b"x" * 65536)

    with raw_server(pour) as port:
        webhooks.deliver(f"http://127.0.0.1:{port}/", {}, "1")

    assert sent < 1000 * webhooks.MAX_RESPONSE_BYTES  # the system buffers some of it


def test_connection_made_after_the_deadline_is_shut_down() -> None:
    class Stream:
        def get_extra_info(self, name: str) -> socket.socket:
            assert name == "socket"
            return ours

    ours, theirs = socket.socketpair()
    with ours, theirs, webhooks.Deadline(0.01) as deadline:
        theirs.settimeout(5)
        deadline._timer.join(5)
        assert deadline.expired

        deadline.watch("connection.connect_tcp.complete", {"return_value": Stream()})

        assert theirs.recv(1) == b""


def test_payload_is_compact_json_of_the_argument(receiver: Receiver) -> None:
    webhooks.deliver(receiver.url, {"b": [1, None], "a": True}, "1")

    [(_, _, body)] = receiver.requests
    assert json.loads(body) == {"b": [1, None], "a": True}


def test_url_is_not_logged(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    webhooks.deliver(f"{receiver.url}/hooks?token=1", {}, "1")

    assert len(receiver.requests) == 1
    assert "token" not in caplog.text
