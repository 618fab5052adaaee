"""What a hostile visitor gets from a project as it is deployed, with real servers around it."""

import base64
import http.client
import json
import re
import shutil
import socket
import statistics
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlencode

import psutil
import pytest
import redis as redis_client

from tests.conftest import Bake
from tests.processes import Process, Stack, free_port, wait_until
from tests.production import (
    HOST,
    METRICS_TOKEN,
    SECRET_KEY,
    production,
    production_environment,
)
from tests.servers.postgres import PostgresServer
from tests.servers.redis import Redis

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("security")]

PASSWORD = "a pass phrase of ann"
FLOWER_LOGIN = "ann:flower-password-0123"
BROKER_PASSWORD = "broker-password-0123"
# As apps/accounts/backends.py has them.
TRIES = 10
PROCESSES = 2
LOGIN_PAGE = "/accounts/login/"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
SCRAPE = {"Authorization": f"Bearer {METRICS_TOKEN}"}
# In seconds; as many as a body may take without anything of it coming.
PATIENCE = 2.0
MEGABYTE = 1_000_000

# Makes somebody of each kind, and an object of each model that the admin shows; prints sessions,
# URLs and objects.
PREPARE = """
import json
from django.contrib import admin
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone
from django_celery_beat import models as beat
from apps.accounts.models import User
from apps.operations.models import FailedTask, Heartbeat, ScheduledRun

def walk(patterns, route="", namespace=""):
    for pattern in patterns:
        here = route + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from walk(pattern.url_patterns, here, pattern.namespace or namespace)
        else:
            yield here, f"{namespace}:{pattern.name}" if namespace else str(pattern.name)

sessions = {}
for name, flags in {
    "visitor": {},
    "staff": {"is_staff": True},
    "superuser": {"is_staff": True, "is_superuser": True},
}.items():
    client = Client()
    client.force_login(User.objects.create_user(name, f"{name}@example.com", "%s", **flags))
    sessions[name] = client.cookies["sessionid"].value

now = timezone.now()
Group.objects.create(name="group")
failure = FailedTask.objects.create(task="a.task", task_id="1", reason="ValueError", failed_at=now)
Heartbeat.objects.create(name="heartbeat", seen_at=now)
ScheduledRun.objects.get_or_create(name="entry", defaults={"expected_since": now})
beat.ClockedSchedule.objects.create(clocked_time=now)
beat.SolarSchedule.objects.create(event="sunset", latitude=1, longitude=1)
beat.IntervalSchedule.objects.get_or_create(every=7, period="days")
objects = {
    f"{model._meta.app_label}_{model._meta.model_name}": str(model.objects.first().pk)
    for model in admin.site._registry
}
print(json.dumps([sessions, failure.pk, list(walk(get_resolver().url_patterns)), objects]))
"""

# What somebody gets: a page, the way to the login, a refusal, nothing, the way to another page.
PAGE, LOGIN, REFUSED, MISSING, ELSEWHERE, WRONG_METHOD = "page", "login", "403", "404", "302", "405"
KINDS = ("stranger", "visitor", "staff", "superuser")
EVERYBODY = (PAGE,) * 4
# Name of a URL, as a pattern -> what each kind gets. The first that fits counts.
ACCESS: dict[str, tuple[str, str, str, str]] = {
    r"home": EVERYBODY,
    r"login|password_reset|password_reset_(done|confirm|complete)": EVERYBODY,
    r"logout": (WRONG_METHOD,) * 4,
    r"password_change|password_change_done": (LOGIN, PAGE, PAGE, PAGE),
    r"status": (LOGIN, LOGIN, PAGE, PAGE),
    r"retry": (WRONG_METHOD,) * 4,
    r"admin:login": (PAGE, PAGE, ELSEWHERE, ELSEWHERE),
    r"admin:logout": (ELSEWHERE, ELSEWHERE, WRONG_METHOD, WRONG_METHOD),
    r"admin:(index|jsi18n|password_change|password_change_done)": (LOGIN, LOGIN, PAGE, PAGE),
    # Both ask for more than this test tells them.
    r"admin:autocomplete": (LOGIN, LOGIN, REFUSED, REFUSED),
    r"admin:view_on_site": (LOGIN, LOGIN, MISSING, MISSING),
    r"admin:app_list": (LOGIN, LOGIN, MISSING, PAGE),
    # From an object to its page, and what there is not.
    r"admin:None": (LOGIN, LOGIN, ELSEWHERE, ELSEWHERE),
    # What only the service itself writes.
    r"admin:operations_\w+_add": (LOGIN, LOGIN, REFUSED, REFUSED),
    r"admin:\w+_(changelist|add|history|delete|change|password_change)": (
        LOGIN,
        LOGIN,
        REFUSED,
        PAGE,
    ),
}

# What every answer has, and what every page has besides.
HEADERS = {
    "strict-transport-security": "max-age=3600",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
PAGE_HEADERS = {
    **HEADERS,
    "x-frame-options": "DENY",
}
CONTENT_SECURITY_POLICY = {
    "default-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "object-src 'none'",
}

FAILING_VIEW = """

def fail(request):
    raise RuntimeError("a private text")


urlpatterns.append(path("fail/", fail, name="fail"))
"""


@dataclass(frozen=True)
class Answer:
    """An HTTP response; of its cookies each."""

    status: int
    headers: dict[str, str]
    cookies: SimpleCookie
    text: str


@dataclass
class Site:
    """The project with its web process and Flower."""

    stack: Stack
    web: Process
    broker: Redis
    sessions: dict[str, str]
    failure: int
    urls: list[tuple[str, str]]
    objects: dict[str, str]

    def send(
        self,
        method: str,
        path: str,
        *,
        form: dict[str, str] | None = None,
        body: bytes | None = None,
        port: int | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Answer:
        """Send a request as the hosting's proxy passes it on.

        Args:
            method: GET, POST, ...
            path: the page's path.
            form: the fields of a form.
            body: what is sent instead of a form.
            port: of another process than the web process.
            headers: further headers; they win.
        """
        sent = {
            "Host": HOST,
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": "192.0.2.1",
            **headers,
        }
        if form is not None:
            body = urlencode(form).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection("127.0.0.1", port or self.stack.port, timeout=30)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            cookies = SimpleCookie()
            for value in response.headers.get_all("Set-Cookie", []):
                cookies.load(value)
            received = {name.lower(): value for name, value in response.getheaders()}
            text = response.read().decode(errors="replace")
            return Answer(response.status, received, cookies, text)
        finally:
            connection.close()

    def get(
        self,
        path: str,
        kind: str = "stranger",
        *,
        port: int | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Answer:
        """Get a page as somebody of a kind."""
        if kind != "stranger":
            headers = {"Cookie": f"sessionid={self.sessions[kind]}", **headers}
        return self.send("GET", path, port=port, headers=headers)


@dataclass
class Browser:
    """Somebody who fills in forms."""

    site: Site
    address: str = "192.0.2.1"
    cookies: dict[str, str] = field(default_factory=dict)
    port: int | None = None

    def open(self, path: str) -> Answer:
        """Get a page."""
        return self._keep(self.site.get(path, port=self.port, headers=self._headers()))

    def token(self, path: str = LOGIN_PAGE) -> str:
        """Open a page with a form and return the form's token."""
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.open(path).text)
        assert found is not None
        return found[1]

    def submit(
        self, path: str, fields: dict[str, str], headers: Mapping[str, str] = NO_HEADERS
    ) -> Answer:
        """Open a page with a form and send the form."""
        return self.post(path, {"csrfmiddlewaretoken": self.token(path), **fields}, headers)

    def post(
        self, path: str, fields: dict[str, str], headers: Mapping[str, str] = NO_HEADERS
    ) -> Answer:
        """Send a form without having opened its page."""
        sent = {"Origin": f"https://{HOST}", **self._headers(), **headers}
        answer = self.site.send("POST", path, form=fields, port=self.port, headers=sent)
        return self._keep(answer)

    def log_in(self, name: str, password: str, path: str = "/accounts/login/") -> Answer:
        """Try to log in."""
        return self.submit(path, {"username": name, "password": password})

    def _headers(self) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"X-Forwarded-For": self.address, **({"Cookie": cookies} if cookies else {})}

    def _keep(self, answer: Answer) -> Answer:
        self.cookies |= {name: cookie.value for name, cookie in answer.cookies.items()}
        return answer


@pytest.fixture(scope="module")
def site(
    bake: Bake, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The default project with Flower and Prometheus, and a page that fails."""
    baked = bake(use_flower="true", use_prometheus="true")
    project = Path(shutil.copytree(baked, tmp_path_factory.mktemp("security") / baked.name))
    slow_clients = project / "apps/operations/slow_clients.py"
    source = slow_clients.read_text("utf-8")
    assert "PATIENCE = 10.0" in source
    slow_clients.write_text(source.replace("PATIENCE = 10.0", f"PATIENCE = {PATIENCE}"), "utf-8")
    with ExitStack() as servers:
        broker = servers.enter_context(Redis(password=BROKER_PASSWORD))
        environment = production_environment(
            postgres.create_database(),
            broker.url(),
            FLOWER_BASIC_AUTH=FLOWER_LOGIN,
            WEB_CONCURRENCY=str(PROCESSES),
        )
        stack = servers.enter_context(production(project, environment))
        collected = stack.manage("collectstatic", "--noinput")
        assert collected.returncode == 0, collected.stderr
        prepared = stack.manage("shell", "--no-imports", "--command", PREPARE % PASSWORD)
        assert prepared.returncode == 0, prepared.stderr
        with (project / project.name / "urls.py").open("a", encoding="utf-8") as urls:
            urls.write(FAILING_VIEW)
        yield Site(stack, stack.web(), broker, *json.loads(prepared.stdout.splitlines()[-1]))


def outcome(answer: Answer) -> str:
    """Return what somebody got, in the words of the table."""
    location = answer.headers.get("location", "")
    if answer.status == 302:
        return LOGIN if "/login/?next=" in location else ELSEWHERE
    return PAGE if answer.status == 200 else str(answer.status)


def concrete(route: str, name: str, objects: dict[str, str]) -> str:
    """Return a path that a route leads to."""
    kind = "_".join(route.split("/")[1:3])
    key = objects.get(kind, "1")
    route = re.sub(r"\^\(\?P<app_label>([a-z]+)[^)]*\)/\$", r"\1/", route)
    route = route.replace("(?P<url>.*)$", f"{name.partition(':')[0]}/nothing/")
    return "/" + re.sub(r"<[^>]+>", key, route)


def test_every_url_lets_in_whom_the_table_says_and_nobody_else(site: Site) -> None:
    rows = {}
    for route, name in site.urls:
        row = next((row for row in ACCESS if re.fullmatch(row, name)), None)
        assert row is not None, f"{route} ({name}) is not in the table: who may see it?"
        expected = ACCESS[row]
        if route.endswith("(?P<url>.*)$"):
            expected = (LOGIN, LOGIN, MISSING, MISSING)
        rows[row, concrete(route, name, site.objects)] = expected
    assert {row for row, _ in rows} == set(ACCESS)

    def ask(question: tuple[str, str]) -> str:
        path, kind = question
        return outcome(site.get(path, kind))

    questions = [(path, kind) for _, path in rows for kind in KINDS]
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(questions, pool.map(ask, questions), strict=True))
    wrong = [
        (path, kind, found[path, kind], expected)
        for (_, path), row in rows.items()
        for kind, expected in zip(KINDS, row, strict=True)
        if found[path, kind] != expected
    ]
    assert wrong == []


def test_a_failed_task_is_sent_again_by_whoever_may(site: Site) -> None:
    page = f"/status/failures/{site.failure}/retry/"
    found = {}
    for kind in KINDS:
        browser = Browser(site)
        if kind != "stranger":
            browser.cookies["sessionid"] = site.sessions[kind]
        # Any page with a form gives the token.
        found[kind] = outcome(
            browser.post(page, {"csrfmiddlewaretoken": browser.token()}),
        )
    assert found == {
        "stranger": LOGIN,
        "visitor": LOGIN,
        "staff": REFUSED,
        "superuser": ELSEWHERE,
    }


def test_staff_see_what_they_have_permissions_for(site: Site) -> None:
    assert "a.task" in site.get("/status/", "superuser").text
    assert "a.task" not in site.get("/status/", "staff").text
    index = site.get("/admin/", "staff").text
    assert "/admin/accounts/" not in index


def test_what_is_for_machines_opens_to_no_session(site: Site) -> None:
    for kind in KINDS:
        assert site.get("/health/", kind).status == 200
        assert site.get("/ready/", kind).status == 200
        assert site.get("/metrics", kind).status == 401
    for wrong in ("Bearer ", f"Bearer {METRICS_TOKEN}x", f"Basic {METRICS_TOKEN}", METRICS_TOKEN):
        assert site.get("/metrics", headers={"Authorization": wrong}).text == ""
    assert site.get("/metrics", headers=SCRAPE).status == 200
    port = free_port()
    with site.stack.start("flower", PORT=str(port)) as flower:
        flower.wait_for_line("Visit me at", 40)
        basic = base64.b64encode(FLOWER_LOGIN.encode()).decode()
        for kind in KINDS:
            for path in ("/flower/", "/flower/api/workers", "/flower/metrics"):
                assert site.get(path, kind, port=port).status == 401
        login = {"Authorization": f"Basic {basic}"}
        assert site.get("/flower/", port=port, headers=login).status == 200


def test_guesses_at_the_same_time_pass_the_limit_of_all_processes_no_more_than_others(
    site: Site,
) -> None:
    """Every guess claims another address; what the proxy has added is the same."""

    def guess(number: int) -> Answer:
        browser = Browser(site, f"198.51.100.{number}, 203.0.113.5")
        path = "/admin/login/" if number % 2 else LOGIN_PAGE
        return browser.log_in("visitor", f"guess {number}", path)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(guess, range(40)))
    assert sorted(answer.status for answer in answers) == [200] * TRIES + [429] * (40 - TRIES)
    for answer in answers:
        if answer.status == 429:
            assert "Too many attempts. Try again in" in answer.text
            assert 0 < int(answer.headers["retry-after"]) <= 900
    # The right password too, and from elsewhere.
    assert Browser(site, "203.0.113.6").log_in("visitor", PASSWORD).status == 429
    assert Browser(site, "203.0.113.6").log_in("staff", PASSWORD).status == 302
    site.web.wait_for_line("login from 203.0.113.5 failed: visitor", 5)
    site.web.wait_for_line("too many failures of the account", 5)
    metrics = site.get("/metrics", headers=SCRAPE).text
    assert 'logins_total{outcome="refused"} 31.0' in metrics
    lifted = site.stack.manage("lift_limits", "visitor")
    assert lifted.stdout == "1 lifted\n"
    assert Browser(site, "203.0.113.6").log_in("visitor", PASSWORD).status == 302


def test_neither_words_nor_time_tell_whether_there_is_an_account(site: Site) -> None:
    pages: dict[str, set[str]] = {}
    times: dict[str, list[float]] = {"superuser": [], "nobody": []}
    for number in range(TRIES - 2):
        for name, seconds in times.items():
            browser = Browser(site, f"203.0.113.{10 + number}")
            browser.open(LOGIN_PAGE)
            fields = {"csrfmiddlewaretoken": browser.token(), "username": name, "password": "guess"}
            started = time.perf_counter()
            answer = browser.post(LOGIN_PAGE, fields)
            seconds.append(time.perf_counter() - started)
            text = re.sub(r'value="\w+"', "", answer.text.replace(name, ""))
            pages.setdefault(name, set()).add(text)
    assert pages["superuser"] == pages["nobody"]
    ratio = statistics.median(times["superuser"]) / statistics.median(times["nobody"])
    assert 0.5 < ratio < 2


def test_nobody_is_sent_a_flood_of_mails(site: Site) -> None:
    for email in ("visitor@example.com", "nobody@example.com"):
        answers = [
            Browser(site, f"203.0.113.{50 + number}").submit(
                "/accounts/password_reset/", {"email": email}
            )
            for number in range(6)
        ]
        assert [answer.status for answer in answers] == [302] * 5 + [429]
        assert "Too many attempts." in answers[-1].text


def test_answers_tell_browsers_what_is_not_to_be_done(site: Site) -> None:
    browser = Browser(site)
    forbidden = browser.post(LOGIN_PAGE, {"username": "ann"})
    answers = {
        200: [
            site.get("/"),
            site.get(LOGIN_PAGE),
            site.get("/admin/login/"),
            site.get("/admin/", "superuser"),
            site.get("/status/", "superuser"),
        ],
        302: [site.get("/admin/"), site.get("/status/")],
        400: [site.get("/", headers={"Host": "evil.example"})],
        403: [forbidden],
        404: [site.get("/nothing/")],
        500: [site.get("/fail/")],
    }
    for status, several in answers.items():
        for answer in several:
            assert answer.status == status
            # A forged host is refused before the middleware that forbids frames.
            expected = HEADERS if status == 400 else PAGE_HEADERS
            assert expected.items() <= answer.headers.items()
            policy = answer.headers["content-security-policy"]
            assert set(policy.split("; ")) == CONTENT_SECURITY_POLICY
            for secret in (SECRET_KEY, METRICS_TOKEN, BROKER_PASSWORD, "private", "Traceback"):
                assert secret not in answer.text
    style = re.search(r'rel="stylesheet" href="([^"]+)"', site.get("/").text)
    assert style is not None
    static = site.get(style[1])
    assert static.status == 200
    assert HEADERS.items() <= static.headers.items()


def test_cookies_are_for_https_and_out_of_reach_for_scripts(site: Site) -> None:
    answer = Browser(site, "203.0.113.80").log_in("staff", PASSWORD)
    session, csrf = answer.cookies["sessionid"], answer.cookies["csrftoken"]
    assert session["httponly"] and session["secure"] and session["samesite"] == "Lax"
    assert csrf["secure"] and csrf["samesite"] == "Lax"
    status_pass = site.get("/status/", "staff").cookies["status_pass"]
    assert status_pass["httponly"] and status_pass["secure"] and status_pass["samesite"] == "Lax"
    assert not any(cookie["domain"] for cookie in (session, csrf, status_pass))


def test_a_form_of_another_site_is_refused(site: Site) -> None:
    fields = {"username": "staff", "password": PASSWORD}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{HOST}"},
        {"Origin": f"https://{HOST}.evil.example"},
    ):
        assert Browser(site).submit(LOGIN_PAGE, fields, headers).status == 403
    without_token = Browser(site)
    without_token.open(LOGIN_PAGE)
    assert without_token.post(LOGIN_PAGE, fields).status == 403
    # An old browser sends no Origin, and no Referer if it is told so.
    opened = Browser(site)
    form = {**fields, "csrfmiddlewaretoken": opened.token()}
    cookie = f"csrftoken={opened.cookies['csrftoken']}"
    for referer in ({}, {"Referer": "https://evil.example/"}):
        headers = {"Cookie": cookie, **referer}
        assert site.send("POST", LOGIN_PAGE, form=form, headers=headers).status == 403


def test_a_session_is_new_with_the_login_and_ends_with_the_logout(site: Site) -> None:
    attacker = Browser(site, "203.0.113.81")
    assert attacker.log_in("visitor", PASSWORD).status == 302
    for planted in (attacker.cookies["sessionid"], "a" * 32):
        victim = Browser(site, "203.0.113.82", {"sessionid": planted})
        assert victim.log_in("staff", PASSWORD).status == 302
        key = victim.cookies["sessionid"]
        assert key != planted
        assert private_page(site, planted) == LOGIN
        assert private_page(site, key) == PAGE
        left = victim.post("/accounts/logout/", {"csrfmiddlewaretoken": victim.token()})
        assert left.status == 302
        assert private_page(site, key) == LOGIN


def private_page(site: Site, key: str) -> str:
    """Return what a session gets that is for whoever has logged in."""
    headers = {"Cookie": f"sessionid={key}"}
    return outcome(site.get("/accounts/password_change/", headers=headers))


def test_no_header_puts_another_site_into_a_link(site: Site) -> None:
    with redis_client.Redis.from_url(site.broker.url()) as broker:
        broker.delete("notifications")
        browser = Browser(site, "203.0.113.83")
        form = {"csrfmiddlewaretoken": browser.token(), "email": "staff@example.com"}
        for forged in (
            {"X-Forwarded-Host": "evil.example"},
            {"X-Host": "evil.example"},
            {"Forwarded": "host=evil.example"},
        ):
            assert browser.post("/accounts/password_reset/", form, forged).status == 302
        for host in ("evil.example", f"{HOST}:80@evil.example", f"{HOST}.evil.example", ""):
            assert site.get("/", headers={"Host": host}).status == 400
        mails = broker.lrange("notifications", 0, -1)
    assert len(mails) == 3
    for mail in mails:
        body = base64.b64decode(json.loads(mail)["body"]).decode()
        assert f"https://{HOST}/accounts/reset/" in body
        assert "evil.example" not in body


def raw(site: Site, lines: str) -> socket.socket:
    """Open a connection and send the head of a request, without an end if it has none."""
    connection = socket.create_connection(("127.0.0.1", site.stack.port), timeout=30)
    connection.sendall(lines.replace("\n", "\r\n").encode())
    return connection


def status_of(connection: socket.socket) -> int:
    """Return the status of the answer."""
    return int(connection.recv(65536).split(b" ")[1])


def memory(process: Process) -> int:
    """Return the bytes that a process and its children hold."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
    return int(sum(member.memory_info().rss for member in family))


def test_100_megabytes_are_refused_before_they_have_come(site: Site) -> None:
    before = memory(site.web)
    chunk = b"x" * 65536
    for kind in ("multipart/form-data; boundary=x", "application/json"):
        head = (
            f"POST {LOGIN_PAGE} HTTP/1.1\nHost: {HOST}\nX-Forwarded-Proto: https\n"
            f"Content-Type: {kind}\nContent-Length: {100 * MEGABYTE}\n\n"
        )
        sent = 0
        with raw(site, head) as connection:
            try:
                while sent < 100 * MEGABYTE:
                    sent += connection.send(chunk)
            except (BrokenPipeError, ConnectionResetError):
                pass
        # What fits into the buffers of the two ends of a connection on the same machine.
        assert sent < 20 * MEGABYTE
        with raw(site, head) as connection:
            assert status_of(connection) == 413
    assert memory(site.web) - before < 10 * MEGABYTE
    files = [path for path in site.web.temporary_folder.rglob("*") if path.suffix != ".db"]
    assert [path for path in files if path.is_file()] == []


def test_a_body_without_its_length_is_refused(site: Site) -> None:
    head = f"POST {LOGIN_PAGE} HTTP/1.1\nHost: {HOST}\nX-Forwarded-Proto: https\n"
    with raw(site, f"{head}Transfer-Encoding: chunked\n\n5\nhello\n") as connection:
        assert status_of(connection) == 411


def test_what_one_request_may_bring_is_bounded(site: Site) -> None:
    def status(path: str = LOGIN_PAGE, headers: Mapping[str, str] = NO_HEADERS) -> int:
        return site.get(path, headers=headers).status

    def form_status(body: bytes) -> int:
        headers = {
            # Without these the form is refused before anything of it is read.
            "Origin": f"https://{HOST}",
            "Cookie": f"csrftoken={'x' * 32}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return site.send("POST", LOGIN_PAGE, body=body, headers=headers).status

    assert form_status(b"a=" + b"x" * 2_600_000) == 400
    assert form_status(b"&".join(b"a=1" for _ in range(1001))) == 400
    assert status(headers={"X-Long": "x" * 9000}) == 431
    assert status(headers={f"X-{number}": "x" for number in range(101)}) == 431
    assert status("/" + "x" * 5000) == 414


def test_those_who_send_slowly_do_not_keep_the_threads(site: Site) -> None:
    """As many as there are threads, and some more, send a byte now and then."""
    head = (
        f"POST {LOGIN_PAGE} HTTP/1.1\nHost: {HOST}\nX-Forwarded-Proto: https\n"
        f"Content-Type: application/x-www-form-urlencoded\nCookie: csrftoken={'x' * 32}\n"
        f"Origin: https://{HOST}\nContent-Length: 1000\n\n"
    )
    with ExitStack() as connections:
        slow = [connections.enter_context(raw(site, head)) for _ in range(PROCESSES * 4 + 4)]

        def all_cut() -> bool:
            for connection in list(slow):
                try:
                    connection.send(b"a")
                except OSError:
                    slow.remove(connection)
            return not slow

        # One process may have accepted all, and each of its threads waits three times.
        wait_until(all_cut, PATIENCE * 3 + 30, "the end of all connections")
        assert site.get("/health/").status == 200
    site.web.wait_for_line("Forbidden.*CSRF token missing", 5)


def test_the_admin_can_be_moved(site: Site) -> None:
    port = free_port()
    with site.stack.start("web", PORT=str(port), ADMIN_PATH="office/7f3a/") as moved:
        moved.wait_for_line("Booting worker", 30)
        wait_until(lambda: reaches(site, port), 30, "the moved site")
        assert site.get("/admin/", port=port).status == 404
        there = site.get("/office/7f3a/", port=port)
        assert there.headers["location"] == "/office/7f3a/login/?next=/office/7f3a/"
        assert 'href="/office/7f3a/"' in site.get("/", "superuser", port=port).text
    for wrong in ("/admin", "status/"):
        refused = site.stack.manage("check", ADMIN_PATH=wrong)
        assert refused.returncode == 1
        assert f"ADMIN_PATH is {wrong!r}" in refused.stderr
        assert "Traceback" not in refused.stderr


def reaches(site: Site, port: int) -> bool:
    """Return whether a process answers."""
    try:
        return site.get("/health/", port=port).status == 200
    except OSError:
        return False


@pytest.mark.parametrize("state", ["away", "hanging"])
def test_without_the_cache_logins_are_limited_per_process_and_not_shut(
    site: Site, state: str
) -> None:
    port = free_port()
    with site.stack.start("web", PORT=str(port), WEB_CONCURRENCY="1") as web:
        wait_until(lambda: reaches(site, port), 30, "a process that has not met the cache yet")
        if state == "away":
            site.broker.stop()
        else:
            site.broker.freeze()
        try:
            guesser = Browser(site, "203.0.113.90", port=port)
            started = time.monotonic()
            statuses = [guesser.log_in(state, f"guess {number}").status for number in range(12)]
            # The cache is asked once, and then left alone for a while.
            assert time.monotonic() - started < 30
            assert statuses == [200] * TRIES + [429] * 2
            owner = Browser(site, "203.0.113.91", port=port)
            assert owner.log_in("staff", PASSWORD).status == 302
            web.wait_for_line("limits hold per process", 5)
        finally:
            if state == "away":
                site.broker.start()
            else:
                site.broker.thaw()
