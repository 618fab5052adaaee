"""How often somebody may try, how much a request may bring, and how slowly."""

import io
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.core import mail
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.management import CommandError, call_command
from django.test import Client, RequestFactory, override_settings

from apps.accounts import backends, limits, views
from apps.accounts.client_address import client_address, normalized
from apps.accounts.forms import wait_message
from apps.accounts.limits import Limit
from apps.accounts.models import User
from apps.operations import slow_clients

PASSWORD = "a pass phrase"
LOGIN_PAGES = ("/accounts/login/", "/admin/login/")


@pytest.fixture(autouse=True)
def _own_counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let all tries of a test fall into one period, and nothing be left of others."""
    clock = SimpleNamespace(time=lambda: 1_000_000_000.0, monotonic=time.monotonic)
    monkeypatch.setattr(limits, "time", clock)
    monkeypatch.setattr(limits.counting, "_resting_until", 0.0)
    yield
    caches["process"].clear()


@pytest.fixture
def user() -> User:
    """Return somebody of the staff."""
    return User.objects.create_user("ann", "ann@example.com", PASSWORD, is_staff=True)


def log_in(
    client: Client,
    password: str,
    name: str = "ann",
    *,
    page: str = LOGIN_PAGES[0],
    address: str = "127.0.0.1",
) -> Any:
    """Try to log in."""
    return client.post(page, {"username": name, "password": password}, REMOTE_ADDR=address)


@pytest.mark.django_db
@pytest.mark.parametrize("page", LOGIN_PAGES)
def test_an_account_is_tried_so_often_and_then_not_even_with_its_password(
    client: Client, user: User, page: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(backends.ACCOUNT.tries):
        assert log_in(client, "a guess", page=page).status_code == 200
    refused = log_in(client, PASSWORD, page=page)
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 900
    assert "Too many attempts. Try again in" in refused.text
    assert "_auth_user_id" not in client.session
    assert "login from 127.0.0.1 failed: ann" in caplog.text
    assert "too many failures of the account" in caplog.text


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["ann", "nobody"])
def test_whether_there_is_an_account_is_not_told(client: Client, user: User, name: str) -> None:
    answers = [log_in(client, "a guess", name) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 2
    assert all(answer.text.count("errorlist") == 1 for answer in answers)


@pytest.mark.django_db
def test_what_is_no_name_may_be_a_password_and_is_not_logged(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    log_in(client, "a guess", PASSWORD)
    assert "login from 127.0.0.1 failed: (nobody)" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.django_db
def test_an_address_is_limited_over_all_accounts(
    client: Client, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "ADDRESS", Limit("test", 5, timedelta(minutes=15)))
    for number in range(5):
        log_in(client, "a guess", f"name-{number}")
    assert log_in(client, PASSWORD).status_code == 429
    assert log_in(client, PASSWORD, address="192.0.2.7").status_code == 302


@pytest.mark.django_db
def test_a_login_takes_back_what_counted_against_the_account_but_not_the_address(
    client: Client, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "ACCOUNT", Limit("test", 3, timedelta(minutes=15)))
    monkeypatch.setattr(backends, "ADDRESS", Limit("test", 6, timedelta(minutes=15)))
    for status in (302, 302, 429):
        assert log_in(client, "a guess").status_code == 200
        assert log_in(client, "a guess").status_code == 200
        assert log_in(client, PASSWORD).status_code == status
    assert log_in(client, PASSWORD).status_code == 429


@pytest.mark.django_db
def test_who_has_logged_in_from_somewhere_is_not_locked_out_by_others(
    client: Client, user: User
) -> None:
    log_in(client, PASSWORD)
    for _ in range(backends.ACCOUNT.tries + 1):
        others = log_in(client, "a guess", address="192.0.2.7")
    assert others.status_code == 429
    assert log_in(client, PASSWORD).status_code == 302


@pytest.mark.django_db
def test_a_program_logs_in_without_a_limit(client: Client, user: User) -> None:
    assert not any(client.login(username="ann", password="a guess") for _ in range(12))
    assert client.login(username="ann", password=PASSWORD)


@pytest.mark.django_db
@pytest.mark.parametrize("whose", [["ann"], ["127.0.0.1", "ann"]])
def test_a_command_lifts_the_limits(client: Client, user: User, whose: list[str]) -> None:
    if len(whose) > 1:
        log_in(client, PASSWORD)
    for _ in range(backends.ACCOUNT.tries + 1):
        log_in(client, "a guess")
    assert log_in(client, PASSWORD).status_code == 429
    output = io.StringIO()
    call_command("lift_limits", *whose, stdout=output)
    assert output.getvalue() == f"{len(whose)} lifted\n"
    assert log_in(client, PASSWORD).status_code == 302


@pytest.mark.django_db
def test_a_command_lifts_what_an_address_in_capitals_has_asked_for(client: Client) -> None:
    for _ in range(views.RECIPIENT.tries + 1):
        asked = client.post("/accounts/password_reset/", {"email": "Ann@Example.org"})
    assert asked.status_code == 429
    call_command("lift_limits", "Ann@Example.org", stdout=io.StringIO())
    asked = client.post("/accounts/password_reset/", {"email": "Ann@Example.org"})
    assert asked.status_code == 302


def test_the_command_says_so_where_nothing_was_counted() -> None:
    with pytest.raises(CommandError, match="Nothing is counted for bob now"):
        call_command("lift_limits", "bob")


def test_what_was_counted_is_forgotten_after_the_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each who ever tried would take some of the cache's memory for ever."""
    cache, limit = caches["process"], Limit("trial", 1, timedelta(minutes=1))
    assert [limit.count(cache, "ann") > 0 for _ in range(2)] == [False, True]
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert limit.count(cache, "ann") == 0


def test_a_limit_that_is_lifted_while_a_try_is_counted_counts_from_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache, limit = caches["process"], Limit("lifted", 1, timedelta(hours=1))
    with monkeypatch.context() as lifted:
        lifted.setattr(cache, "add", lambda *_, **__: True)
        assert limit.count(cache, "ann") == 0
    assert limit.count(cache, "ann") > 0


class BrokenCache:
    """A cache whose server is away."""

    def __init__(self) -> None:
        self.asked = 0

    def add(self, *args: object, **kwargs: object) -> bool:
        """Fail."""
        self.asked += 1
        raise redis.ConnectionError("no server")


@pytest.mark.django_db
def test_without_the_cache_a_process_counts_by_itself_and_says_so(
    client: Client,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = BrokenCache()
    found: dict[str, Any] = {"default": broken, "process": caches["process"]}
    monkeypatch.setattr(limits, "caches", found)
    answers = [log_in(client, "a guess").status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]
    assert broken.asked == 1
    assert "limits hold per process: no server" in caplog.text
    caches["process"].clear()
    assert log_in(client, PASSWORD).status_code == 302


def test_a_try_of_the_period_before_is_not_taken_back() -> None:
    def forget(cache: BaseCache) -> None:
        backends.ADDRESS.take_back(cache, "192.0.2.7")

    limits.counting(forget)
    assert limits.counting(lambda cache: backends.ADDRESS.count(cache, "192.0.2.7")) == 0


@pytest.mark.parametrize(("seconds", "words"), [(1, "1 minute."), (61, "2 minutes.")])
def test_the_time_to_wait_is_told_in_minutes(seconds: int, words: str) -> None:
    assert wait_message(seconds).endswith(words)


@pytest.mark.django_db
def test_nobody_is_sent_a_flood_of_mails(client: Client, user: User) -> None:
    page = "/accounts/password_reset/"
    for _ in range(views.RECIPIENT.tries):
        assert client.post(page, {"email": "Ann@example.com"}).status_code == 302
    refused = client.post(page, {"email": "ann@example.com"})
    assert refused.status_code == 429
    assert "Too many attempts. Try again in" in refused.text
    assert len(mail.outbox) == views.RECIPIENT.tries


@pytest.mark.django_db
def test_nobody_asks_for_mails_to_many(client: Client) -> None:
    answers = [
        client.post("/accounts/password_reset/", {"email": f"{number}@example.com"}).status_code
        for number in range(views.ADDRESS.tries + 1)
    ]
    assert answers == [302] * views.ADDRESS.tries + [429]


@pytest.mark.parametrize(
    ("proxies", "header", "address"),
    [
        (1, "192.0.2.1", "192.0.2.1"),
        (1, "forged, 192.0.2.9, 192.0.2.1", "192.0.2.1"),
        (2, "192.0.2.9, 192.0.2.2, 192.0.2.1", "192.0.2.2"),
        (2, "192.0.2.1", "192.0.2.1"),
        (1, "", "127.0.0.1"),
        (1, "unknown", "127.0.0.1"),
        (1, "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        (1, "::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_only_what_our_proxies_have_added_is_believed(
    rf: RequestFactory, proxies: int, header: str, address: str
) -> None:
    request = rf.get("/", headers={"X-Forwarded-For": header})
    with override_settings(CLIENT_ADDRESS_HEADER="HTTP_X_FORWARDED_FOR", TRUSTED_PROXIES=proxies):
        assert client_address(request) == address


def test_without_a_proxy_the_header_is_not_believed(rf: RequestFactory) -> None:
    assert client_address(rf.get("/", headers={"X-Forwarded-For": "192.0.2.1"})) == "127.0.0.1"


def test_all_forms_of_an_address_are_counted_as_one() -> None:
    assert normalized("2001:DB8::1") == normalized("2001:db8:0::2") == "2001:db8::/64"
    assert normalized("ann") == ""


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({"CONTENT_LENGTH": "25000000"}, 200),
        ({"CONTENT_LENGTH": "25000001"}, 413),
        ({"CONTENT_LENGTH": "many"}, 200),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 411),
    ],
)
def test_a_body_that_is_too_long_or_has_no_length_is_refused(
    client: Client, environ: dict[str, Any], status: int
) -> None:
    assert client.get("/", **environ).status_code == status


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, SimpleNamespace]]:
    """The client's end of a connection, and the request that gunicorn makes of the other."""
    client, server = socket.socketpair()
    with client, server:
        yield client, SimpleNamespace(unreader=SimpleNamespace(sock=server))


def test_a_body_may_come_in_pieces(connection: tuple[socket.socket, SimpleNamespace]) -> None:
    client, request = connection
    server = request.unreader.sock
    slow_clients.pre_request(None, request)
    for piece in (b"a=1", b"&b=2"):
        client.send(piece)
        assert request.unreader.sock.recv(100) == piece
    slow_clients.post_request(None, request, None, None)
    assert request.unreader.sock is server
    assert server.gettimeout() is None


@pytest.mark.parametrize("patience", [0.01, -1.0])
def test_a_body_that_does_not_come_takes_no_longer_than_the_patience(
    connection: tuple[socket.socket, SimpleNamespace],
    monkeypatch: pytest.MonkeyPatch,
    patience: float,
) -> None:
    _, request = connection
    monkeypatch.setattr(slow_clients, "PATIENCE", patience)
    slow_clients.pre_request(None, request)
    with pytest.raises(TimeoutError):
        request.unreader.sock.recv(100)
