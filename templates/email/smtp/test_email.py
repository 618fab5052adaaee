"""E-mail leaves through a real SMTP conversation with a server that answers as it is told."""

import errno
import signal
import smtplib
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from pytest_django import Settings

from apps.notifications import transport
from apps.notifications.emails import compose
from apps.notifications.errors import PermanentDeliveryError, TemporaryDeliveryError
from apps.notifications.login import check_login
from apps.notifications.tasks import MAX_RETRIES, send_email

pytestmark = pytest.mark.usefixtures("eager_retries")

HANG_UP = ""
DRIP = "drip"
USUAL_ANSWERS = {
    "CONNECT": "220 mail.test ESMTP",
    "EHLO": "250-mail.test\r\n250-AUTH PLAIN\r\n250 8BITMIME",
    "DATA": "354 go on",
    "QUIT": "221 2.0.0 bye",
}


class SMTPServer(socketserver.ThreadingTCPServer):
    """Gives the answers in `script`, command by command, and then the usual ones."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SMTPConversation)
        self.script: dict[str, list[str]] = {}
        self.conversations = 0
        self.received: list[tuple[list[str], EmailMessage]] = []


class SMTPConversation(socketserver.StreamRequestHandler):
    server: SMTPServer

    def handle(self) -> None:
        self.server.conversations += 1
        recipients: list[str] = []
        answer = self.answer("CONNECT")
        command = ""
        while answer != HANG_UP and command != "QUIT" and (line := self.rfile.readline()):
            command, _, argument = line.decode("ascii").strip().partition(" ")
            command = command.upper()
            answer = self.answer(command)
            if command == "RCPT" and answer.startswith("250"):
                recipients.append(argument.partition(":")[2])
            if command == "DATA" and answer.startswith("354"):
                body = b"".join(iter(self.rfile.readline, b".\r\n"))
                message = message_from_bytes(body, policy=policy.default)
                self.server.received.append((recipients, message))
                answer = self.answer("BODY")

    def answer(self, command: str) -> str:
        script = self.server.script.get(command)
        answer = script.pop(0) if script else USUAL_ANSWERS.get(command, "250 2.0.0 ok")
        while answer == DRIP:
            try:
                self.wfile.write(b"2")
            except OSError:  # the client has gone
                return HANG_UP
            time.sleep(0.01)
        if answer != HANG_UP:
            self.wfile.write(f"{answer}\r\n".encode())
        return answer


@pytest.fixture
def server(settings: Settings) -> Iterator[SMTPServer]:
    settings.EMAIL_DELIVERY_BACKEND = "apps.notifications.transport.SMTPBackend"
    with SMTPServer() as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address[:2]
        settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.001})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def send(recipients: list[str] | None = None) -> None:
    send_email.delay("Hello", "Text", recipients or ["ann@example.org"]).get()


def test_all_recipients_get_one_message_with_text_and_html(
    server: SMTPServer, settings: Settings
) -> None:
    settings.DEFAULT_FROM_EMAIL = "Post Office <office@example.com>"

    send_email.delay(
        "Grüße", "Text ☂", ["ann@example.org", "bob@example.net"], html="<p>☂</p>"
    ).get()

    [(recipients, message)] = server.received
    assert recipients == ["<ann@example.org>", "<bob@example.net>"]
    assert message["Subject"] == "Grüße"
    assert message["From"] == "Post Office <office@example.com>"
    assert message["To"] == "ann@example.org, bob@example.net"
    assert message["Message-ID"].endswith("@example.com>")
    text, html = message.iter_parts()
    assert text.get_content().strip() == "Text ☂"
    assert html.get_content().strip() == "<p>☂</p>"


def test_message_without_html_is_plain_text(server: SMTPServer) -> None:
    send()

    [(_, message)] = server.received
    assert message.get_content_type() == "text/plain"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("CONNECT", "421 4.3.2 closing"),
        ("CONNECT", "454 4.7.0 busy"),
        ("CONNECT", HANG_UP),
        ("MAIL", "451 4.3.0 try later"),
        ("RCPT", "450 4.2.0 greylisted"),
        ("RCPT", "421 4.3.2 closing"),
        ("DATA", "452 4.3.1 disk full"),
        ("BODY", "451 4.7.1 try later"),
        ("BODY", HANG_UP),
    ],
)
def test_what_may_pass_is_tried_again(
    command: str, answer: str, server: SMTPServer, delays: list[float]
) -> None:
    server.script[command] = [answer, answer]

    send()

    assert server.conversations == 3
    assert len(delays) == 2


def test_message_id_is_equal_for_every_try(server: SMTPServer) -> None:
    """The last answer is lost, so the server may have the message already."""
    server.script["BODY"] = [HANG_UP]

    send()

    [first, second] = [message["Message-ID"] for _, message in server.received]
    assert first == second


def test_gives_up_after_the_last_retry(server: SMTPServer, delays: list[float]) -> None:
    server.script["MAIL"] = ["451 4.3.0 try later"] * (MAX_RETRIES + 2)

    with pytest.raises(TemporaryDeliveryError, match="451"):
        send()

    assert server.conversations == MAX_RETRIES + 1
    assert len(delays) == MAX_RETRIES


@pytest.mark.parametrize(
    ("command", "answers"),
    [
        ("CONNECT", ["554 5.7.1 no service"]),
        ("MAIL", ["530 5.7.0 log in first"]),
        ("RCPT", ["550 5.1.1 ann@example.org unknown", "550 5.1.1 bob@example.org unknown"]),
        ("RCPT", ["450 4.2.0 ann@example.org later", "550 5.1.1 bob@example.org unknown"]),
        ("BODY", ["554 5.7.1 ann@example.org: spam"]),
    ],
)
def test_refusal_is_final_and_quotes_no_recipient(
    command: str, answers: list[str], server: SMTPServer, delays: list[float]
) -> None:
    server.script[command] = [*answers]

    with pytest.raises(PermanentDeliveryError, match=answers[-1][:3]) as refusal:
        send(["ann@example.org", "bob@example.org"])

    assert server.conversations == 1
    assert not delays
    assert "ann@" not in str(refusal.value)
    # Nor do the errors that a traceback would show with it.
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


def test_refused_login_is_final(server: SMTPServer, settings: Settings) -> None:
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = "x"
    server.script["AUTH"] = ["535 5.7.8 wrong password"]

    with pytest.raises(PermanentDeliveryError, match="535"):
        transport.send(compose("Hello", "Text", ["ann@example.org"], None), "1")

    assert server.conversations == 1


def test_accepted_recipients_get_the_message_once(server: SMTPServer) -> None:
    server.script["RCPT"] = ["250 2.1.5 ok", "450 4.2.0 greylisted"]

    send(["ann@example.org", "bob@example.net"])

    assert server.conversations == 1
    [(recipients, _)] = server.received
    assert recipients == ["<ann@example.org>"]


def test_recipient_listed_twice_is_refused_once(server: SMTPServer) -> None:
    server.script["RCPT"] = ["450 4.2.0 greylisted"]

    send(["ann@example.org", "ann@example.org"])

    assert server.conversations == 2
    [(recipients, _)] = server.received
    assert recipients == ["<ann@example.org>"]


def test_server_that_is_down_is_an_outage(server: SMTPServer, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        settings.EMAIL_PORT = free.getsockname()[1]

    with pytest.raises(TemporaryDeliveryError, match="cannot be reached"):
        transport.send(compose("Hello", "Text", ["ann@example.org"], None), "1")


def test_server_that_says_nothing_is_an_outage(server: SMTPServer, settings: Settings) -> None:
    settings.EMAIL_TIMEOUT = 0.05
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.EMAIL_PORT = silent.getsockname()[1]

        with pytest.raises(TemporaryDeliveryError, match="timed out"):
            transport.send(compose("Hello", "Text", ["ann@example.org"], None), "1")


@pytest.fixture
def interrupt_after() -> Iterator[Callable[[float], Any]]:
    """Raise SoftTimeLimitExceeded once, after so many seconds, as the prefork pool does."""

    def interrupt(*args: Any) -> None:
        raise SoftTimeLimitExceeded

    handler = signal.signal(signal.SIGALRM, interrupt)
    yield partial(signal.setitimer, signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)


@pytest.mark.parametrize("command", ["EHLO", "BODY"])
def test_dripping_server_is_left_at_the_time_limit(
    command: str, server: SMTPServer, interrupt_after: Callable[[float], Any]
) -> None:
    server.script[command] = [DRIP]
    started = time.monotonic()
    interrupt_after(0.1)

    with pytest.raises(SoftTimeLimitExceeded):
        transport.send(compose("Hello", "Text", ["ann@example.org"], None), "1")

    assert time.monotonic() - started < 5


def test_nobody_waits_for_the_answer_to_quit(
    server: SMTPServer, interrupt_after: Callable[[float], Any]
) -> None:
    server.script["QUIT"] = [DRIP]
    interrupt_after(5)

    transport.send(compose("Hello", "Text", ["ann@example.org"], None), "1")

    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError("timed out"), TemporaryDeliveryError),
        (socket.gaierror(socket.EAI_AGAIN, "no name server"), TemporaryDeliveryError),
        (OSError(errno.EHOSTUNREACH, "no route to host"), TemporaryDeliveryError),
        (OSError(errno.ENETUNREACH, "network is unreachable"), TemporaryDeliveryError),
        (ssl.SSLEOFError("EOF in violation of protocol"), TemporaryDeliveryError),
        (ssl.SSLCertVerificationError("certificate has expired"), ssl.SSLCertVerificationError),
        (smtplib.SMTPNotSupportedError("no STARTTLS"), smtplib.SMTPNotSupportedError),
        (FileNotFoundError(errno.ENOENT, "no client certificate"), FileNotFoundError),
    ],
    ids=lambda value: getattr(value, "__name__", None) or repr(value),
)
def test_outage_is_told_from_misconfiguration(
    error: OSError,
    expected: type[Exception],
    server: SMTPServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def connect(*args: Any, **kwargs: Any) -> socket.socket:
        raise error

    monkeypatch.setattr(socket, "create_connection", connect)

    with pytest.raises(expected):
        transport.send(compose("Hello", "Text", ["ann@example.org"], None), "1")


def test_address_that_smtp_cannot_carry_is_final_and_not_quoted(server: SMTPServer) -> None:
    message = compose("Hello", "Text", ["Ann <ann@@example.org>"], None)

    with pytest.raises(PermanentDeliveryError, match="ValueError") as refusal:
        transport.send(message, "1")

    assert "ann@" not in str(refusal.value)


def test_message_keeps_a_message_id_of_its_own(server: SMTPServer) -> None:
    message = compose("Hello", "Text", ["ann@example.org"], None)
    message.extra_headers["Message-Id"] = "<mine@example.com>"

    transport.send(message, "1")

    [(_, received)] = server.received
    assert received["Message-ID"] == "<mine@example.com>"


@pytest.fixture
def _user(settings: Settings, server: SMTPServer) -> None:
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "mailer", "private"


@pytest.mark.usefixtures("_user")
def test_login_that_is_right_is_no_problem(server: SMTPServer) -> None:
    server.script["AUTH"] = ["235 2.7.0 welcome"]

    check_login()

    assert not server.script["AUTH"]
    assert not server.received


@pytest.mark.usefixtures("_user")
@pytest.mark.parametrize(
    ("command", "answer", "expected", "problem"),
    [
        ("CONNECT", "421 closing", TemporaryDeliveryError, r"no mail now \(it answered 421\)"),
        ("CONNECT", "554 mailer?", PermanentDeliveryError, r"answered 554\): is EMAIL_HOST right"),
        ("CONNECT", HANG_UP, TemporaryDeliveryError, r"unexpectedly closed\): .* EMAIL_HOST,"),
        ("AUTH", "454 later", TemporaryDeliveryError, r"no mail now \(it answered 454\)"),
        ("AUTH", "535 no mailer", PermanentDeliveryError, r"answered 535\): are EMAIL_HOST_USER"),
        ("EHLO", "250 mail", PermanentDeliveryError, r"NotSupportedError\): are EMAIL_USE_TLS"),
    ],
)
def test_login_that_fails_names_the_variable(
    command: str, answer: str, expected: type[Exception], problem: str, server: SMTPServer
) -> None:
    server.script[command] = [answer]

    with pytest.raises(expected, match=problem) as error:
        check_login()

    assert str(error.value).count(f"127.0.0.1:{server.server_address[1]} ") == 1
    assert "mailer" not in str(error.value)


def test_password_that_smtp_cannot_carry_is_not_quoted(
    server: SMTPServer, settings: Settings
) -> None:
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "mailer", "ключ"

    with pytest.raises(PermanentDeliveryError, match=r"UnicodeEncodeError\)") as error:
        check_login()

    assert "ключ" not in str(error.value)
    assert error.value.__suppress_context__


def test_login_cannot_be_checked_without_the_server(server: SMTPServer, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        settings.EMAIL_PORT = free.getsockname()[1]

    with pytest.raises(TemporaryDeliveryError, match=r"not answer \(.*refused\): .* EMAIL_PORT"):
        check_login()


def test_certificate_that_is_not_accepted_is_told(
    server: SMTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"

    def connect(*args: Any, **kwargs: Any) -> socket.socket:
        raise error

    monkeypatch.setattr(socket, "create_connection", connect)

    with pytest.raises(PermanentDeliveryError, match=r"\(self-signed certificate\): is EMAIL_HOST"):
        check_login()


def test_no_login_where_mail_goes_elsewhere(server: SMTPServer, settings: Settings) -> None:
    settings.EMAIL_DELIVERY_BACKEND = "django.core.mail.backends.console.EmailBackend"

    check_login()

    assert not server.conversations
