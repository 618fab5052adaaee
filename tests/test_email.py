"""Every e-mail provider: the project's worker against a server that speaks the provider's API."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.conftest import Bake
from tests.mail_providers import (
    API_KEY,
    DOMAIN,
    PROVIDERS,
    Event,
    MailServer,
    Provider,
)
from tests.mail_providers import SECRET_KEY as PROVIDER_SECRET_KEY
from tests.processes import Process, Response, Stack, http_request, wait_until
from tests.production import (
    HOST,
    PROXY_HEADERS,
    SECRET_KEY,
    production,
    production_environment,
    query,
    visit,
)
from tests.servers.mail_apis import RETRY_AFTER, Failure
from tests.servers.postgres import PostgresServer
from tests.servers.redis import Redis
from tests.servers.smtp import SMTPServer
from tests.servers.tls import Authority
from tests.users import add_app, replace_once

pytestmark = pytest.mark.slow

SENDER = f"noreply@{DOMAIN}"
OPERATOR = "operator@example.org"
SUBJECT = "Grüße aus Łódź ☀ 日本"
TEXT = "Dear Ann,\nall is well — ümlauts and ☀ too.\n"
HTML = "<p>Dear Ann,</p>\n<p>all is <b>well</b> — ümlauts and ☀ too.</p>\n"
RECIPIENTS = ["Ann Müller <ann@example.org>", "bob@example.org"]
ADDRESSES = ("ann@example.org", "bob@example.org")

CLIENT_TIMEOUT = 10  # seconds for each read, as the settings say
SENDING_TIME = 14  # seconds for a whole try, 60 in a real project

TRIAL_VIEWS = """
import json

from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt

from apps.notifications.tasks import send_email


@csrf_exempt
def send(request):
    send_email.delay_on_commit(**json.loads(request.body))
    return HttpResponse(status=202)


def fail(request):
    raise RuntimeError("failed on purpose")
"""
# Makes a user with an address, and prints the session of a superuser.
USERS = """
from django.contrib.auth import get_user_model
from django.test import Client

users = get_user_model().objects
users.create_user("ann", "ann@example.org", "a password")
client = Client()
client.force_login(users.create_superuser("root", password="a password"))
print(client.cookies["sessionid"].value)
"""
# Says what is wrong with a login, and in how many seconds: with the key of the environment, with
# another one, and where no server is.
LOGINS = """
import json, os, time
from django.conf import settings
from apps.notifications.login import check_login

def change(old, new):
    anymail = json.dumps(getattr(settings, "ANYMAIL", {{}}))
    settings.ANYMAIL = json.loads(anymail.replace(old, new))
    settings.EMAIL_HOST_PASSWORD = settings.EMAIL_HOST_PASSWORD.replace(old, new)
    settings.EMAIL_PORT = int(str(settings.EMAIL_PORT).replace(old, new))
    for name, value in list(os.environ.items()):
        os.environ[name] = value.replace(old, new)

def ask():
    problem, started = "", time.monotonic()
    try:
        check_login()
    except Exception as error:
        problem = str(error)
    print(json.dumps([problem, time.monotonic() - started]))

ask()
for secret in {secrets}:
    change(secret, "another")
ask()
change("{port}", "1")
ask()
"""


def quicken(project: Path) -> Path:
    """Let retries and alerts come soon, and add a page that sends a message and one that fails.

    Args:
        project: folder of a project that may be changed.

    Returns:
        The same folder.
    """
    for name, slow, quick in (
        ("notifications/tasks.py", "BACKOFF_BASE = 30", "BACKOFF_BASE = 1"),
        ("notifications/tasks.py", "SENDING_TIME = 60", f"SENDING_TIME = {SENDING_TIME}"),
        ("operations/failures.py", "GROUPING_TIME = 60", "GROUPING_TIME = 1"),
    ):
        replace_once(project / "apps" / name, slow, quick)
    routes = {"trial/send/": "send", "trial/fail/": "fail"}
    add_app(project, "trial", {"views.py": TRIAL_VIEWS}, routes)
    return project


@dataclass
class Site:
    """A running project with its provider."""

    stack: Stack
    web: Process
    worker: Process
    beat: Process
    database_url: str
    provider: Provider
    server: MailServer
    session: str

    def send(self, *recipients: str, subject: str = SUBJECT) -> int:
        """Let a request queue a message; return how many lines the worker's log had.

        Args:
            recipients: addresses; RECIPIENTS if none.
            subject: of the message.
        """
        before = len(self.worker.lines)
        message = {
            "subject": subject,
            "body": TEXT,
            "recipients": recipients or RECIPIENTS,
            "html": HTML,
        }
        response = self.post("/trial/send/", json.dumps(message).encode())
        assert response.status == 202, response.text
        return before

    def wait_for_end(self, log: int, outcome: str = "succeeded", task: str = "send_email") -> None:
        """Wait until the worker says what became of a task.

        Args:
            log: how many lines of its log to skip.
            outcome: what it says.
            task: name of the task.
        """
        self.worker.wait_for_line(rf"{task}\[[\w-]+\] {outcome}", 30, after=log)

    def post(self, path: str, body: bytes, **headers: str) -> Response:
        """Post something to the web process as its proxy would."""
        return http_request(
            "POST",
            self.stack.url + path,
            host=HOST,
            headers={**PROXY_HEADERS, **headers},
            body=body,
            timeout=20,
        )

    def report(self, event: Event) -> Response:
        """Post an event as the provider does."""
        return self.post(self.provider.webhook, event.body, **event.headers)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.xdist_group(f"email {name}")) for name in PROVIDERS
    ],
)
def site(
    request: pytest.FixtureRequest,
    bake: Bake,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,
    authority: Authority,
) -> Iterator[Site]:
    """The project with one provider and a worker that does one task at a time."""
    provider = PROVIDERS[request.param]
    source = bake(email_provider=request.param, domain_name=DOMAIN)
    folder = tmp_path_factory.mktemp(f"email-{request.param}") / source.name
    project = quicken(Path(shutil.copytree(source, folder)))
    with Redis() as broker, provider.server(authority) as server:
        environment = production_environment(
            postgres.create_database(),
            broker.url(),
            ALERT_RECIPIENTS=OPERATOR,
            CELERY_WORKER_CONCURRENCY="1",
            LOG_LEVEL="DEBUG",
            **provider.environment(server, authority),
        )
        for name in ("EMAIL_HOST", "EMAIL_USE_TLS"):
            if name not in provider.variables:
                del environment[name]
        with production(project, environment) as stack:
            assert stack.manage("collectstatic", "--noinput").returncode == 0
            users = stack.manage("shell", "--verbosity", "0", "--command", USERS)
            assert users.returncode == 0, users.stderr
            yield Site(
                stack=stack,
                web=stack.web(),
                worker=stack.worker(),
                beat=stack.beat(),
                database_url=environment["DATABASE_URL"],
                provider=provider,
                server=server,
                session=users.stdout.split()[-1],
            )


def test_a_message_arrives_in_the_providers_form(site: Site) -> None:
    count = len(site.server.inbox)
    site.wait_for_end(site.send())
    [mail] = site.server.inbox[count:]
    assert (mail.sender, mail.recipients, mail.subject) == (SENDER, ADDRESSES, SUBJECT)
    assert mail.html is not None
    assert (mail.text.strip(), mail.html.strip()) == (TEXT.strip(), HTML.strip())
    assert site.server.refusals == []


def test_a_transient_failure_is_tried_again_and_arrives_once(site: Site) -> None:
    count, attempts = len(site.server.inbox), site.server.attempts
    site.server.fail(Failure.BUSY, Failure.BROKEN)
    log = site.send()
    site.wait_for_end(log)
    [mail] = site.server.inbox[count:]
    assert mail.recipients == ADDRESSES
    assert site.server.attempts == attempts + 3
    if site.provider.webhook:
        # The delay that the project chooses by itself is a random one, 1 s at most here. SMTP has
        # no way to ask for another.
        site.worker.wait_for_line(f"Retry in {RETRY_AFTER}s", 1, after=log)


def test_a_permanent_failure_is_not_tried_again_and_alerts_once(site: Site) -> None:
    count, attempts = len(site.server.inbox), site.server.attempts
    site.server.fail(Failure.REFUSED)
    log = site.send()
    site.wait_for_end(log, "failed for good")
    site.wait_for_end(log, task="send_failure_alert")
    [alert] = site.server.inbox[count:]
    assert alert.recipients == (OPERATOR,)
    assert "send_email" in alert.subject
    assert not any(address in alert.text for address in ADDRESSES)
    # One more failure of the same kind is no news for an hour.
    site.server.fail(Failure.UNAUTHORIZED)
    site.wait_for_end(site.send(), "failed for good")
    site.wait_for_end(site.send(subject="Another"))
    assert [mail.subject for mail in site.server.inbox[count + 1 :]] == ["Another"]
    assert not any("Retry in" in line for line in site.worker.lines[log:])
    assert site.server.attempts == attempts + 4


def test_a_silent_provider_holds_neither_a_request_nor_the_worker_for_long(site: Site) -> None:
    count, attempts = len(site.server.inbox), site.server.attempts
    log = len(site.worker.lines)
    path = "/accounts/password_reset/"
    form = visit(site.stack, path)
    assert form.status == 200
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)
    cookie = re.match(r"csrftoken=\w+", form.headers["set-cookie"])
    assert token is not None and cookie is not None
    site.server.fail(Failure.SILENT)
    fields = {"csrfmiddlewaretoken": token[1], "email": "ann@example.org"}
    started = time.monotonic()
    response = site.post(
        path,
        urlencode(fields).encode(),
        **{
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": cookie[0],
            "Origin": f"https://{HOST}",
        },
    )
    assert (response.status, time.monotonic() - started < 2) == (302, True)
    wait_until(lambda: site.server.attempts > attempts, 10, "the worker's request")
    hanging = time.monotonic()
    # The one task that the worker can do at a time is the one that hangs.
    site.send(subject="Another")
    site.server.wait_for_mail(count + 1, CLIENT_TIMEOUT + 10)
    assert time.monotonic() - hanging > CLIENT_TIMEOUT / 2
    site.wait_for_end(log, task="send_message")
    site.wait_for_end(log)
    mails = {mail.subject == "Another": mail for mail in site.server.inbox[count:]}
    assert len(site.server.inbox) == count + 2
    assert mails[True].recipients == ADDRESSES
    assert mails[False].recipients == ("ann@example.org",)
    assert f"https://{HOST}/accounts/reset/" in mails[False].text


def test_a_trickling_provider_does_not_hold_the_worker_for_ever(site: Site) -> None:
    if site.provider not in (PROVIDERS["postmark"], PROVIDERS["ses"]):
        pytest.skip("what the clients of both kinds do is seen with Postmark and Amazon SES")
    count = len(site.server.inbox)
    site.server.fail(Failure.TRICKLING)
    log = site.send()
    site.worker.wait_for_line("Retry in", SENDING_TIME + 10, after=log)
    site.wait_for_end(log)
    assert len(site.server.inbox) == count + 1


def test_an_address_that_bounced_or_complained_gets_no_more_mail(site: Site) -> None:
    if not site.provider.webhook:
        assert site.post("/anymail/sendgrid/tracking/", b"[]").status == 404
        return
    event = site.provider.event
    bounce = event("bounce", "Gone@example.org")
    assert site.report(bounce).status == 200
    assert site.report(bounce).status == 200, "the provider may report twice"
    assert site.report(event("complaint", "annoyed@example.org")).status == 200
    assert site.report(event("soft bounce", "full@example.org")).status == 200
    forged = site.provider.forge(event("bounce", "victim@example.org"))
    assert site.report(forged).status in (400, 401, 403)
    unsigned = event("bounce", "victim@example.org").body
    assert site.post(site.provider.webhook, unsigned).status in (400, 401, 403)

    statement = "SELECT address FROM notifications_suppressedaddress ORDER BY address"
    suppressed = [address for (address,) in query(site.database_url, statement)]
    assert suppressed == ["annoyed@example.org", "gone@example.org"]

    count, attempts = len(site.server.inbox), site.server.attempts
    site.wait_for_end(site.send("gone@EXAMPLE.org", "Annoyed <annoyed@example.org>"))
    assert site.server.attempts == attempts
    site.wait_for_end(site.send("gone@example.org", "full@example.org", "victim@example.org"))
    [mail] = site.server.inbox[count:]
    assert mail.recipients == ("full@example.org", "victim@example.org")


def admin_pages(site: Site) -> Iterator[Response]:
    """Yield every page of the admin that links lead to, as a superuser sees it."""
    known = ["/admin/"]
    for path in known:  # grows meanwhile
        response = http_request(
            "GET",
            site.stack.url + path,
            host=HOST,
            headers={**PROXY_HEADERS, "Cookie": f"sessionid={site.session}"},
            timeout=20,
        )
        yield response
        links = re.findall(r'href="(/admin/[\w/.-]*)"', response.text)
        known += [link for link in dict.fromkeys(links) if link not in known]
        assert len(known) < 200


def test_no_key_password_or_token_is_seen_anywhere(site: Site) -> None:
    site.server.fail(Failure.REFUSED)
    site.wait_for_end(site.send(), "failed for good")
    pages = list(admin_pages(site))
    assert sum(page.status == 200 for page in pages) > 10
    errors = {
        400: http_request("GET", site.stack.url + "/", host="elsewhere.example"),
        403: site.post("/accounts/login/", b"username=ann"),
        404: visit(site.stack, "/nowhere/"),
        500: visit(site.stack, "/trial/fail/"),
    }
    assert {status: page.status for status, page in errors.items()} == {s: s for s in errors}
    if site.provider.webhook:
        pages.append(site.post(site.provider.webhook, b"no JSON"))
        pages.append(site.report(site.provider.forge(site.provider.event("bounce", "a@b.example"))))
    doctor = [site.stack.manage("doctor", *arguments) for arguments in ([], ["--json"])]
    assert "ok       e-mail" in doctor[0].stdout
    report = json.loads(doctor[1].stdout.splitlines()[-1])  # below the log's lines
    assert {"check": "e-mail", "problems": [], "skipped": None} in report["results"]
    places = {
        "page": "".join(page.text for page in [*pages, *errors.values()]),
        "doctor": "".join(result.stdout + result.stderr for result in doctor),
        **{
            process.name: "\n".join(process.lines) for process in (site.web, site.worker, site.beat)
        },
    }
    for place, text in places.items():
        assert text, place
        for secret in (*site.provider.secrets, SECRET_KEY):
            assert secret not in text, f"{place} shows {secret}"


def test_a_login_that_is_refused_is_told_from_a_key_that_may_only_send(site: Site) -> None:
    sent = len(site.server.inbox)
    site.server.restrict()
    code = LOGINS.format(secrets=site.provider.secrets, port=site.server.port)
    result = site.stack.manage("shell", "--verbosity", "0", "--command", code)
    assert result.returncode == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("[")]
    (nothing, _), (refused, _), (away, _) = answers
    assert nothing == "", "the key may send"
    for variable, value in site.provider.variables.items():
        assert variable in refused or value not in (API_KEY, PROVIDER_SECRET_KEY), refused
    assert " refuses the login (" in refused
    assert " does not answer (" in away
    assert max(seconds for _, seconds in answers) < 10
    for problem in (refused, away):
        assert "\n" not in problem
        assert not any(secret in problem for secret in site.provider.secrets)
    assert len(site.server.inbox) == sent


def test_doctor_names_a_refused_login_and_a_server_that_is_away(site: Site) -> None:
    if site.provider is not PROVIDERS["smtp"]:
        pytest.skip("doctor is the same for all of them")
    for variable, value, problem in (
        ("EMAIL_HOST_PASSWORD", "another", "refuses the login"),
        ("EMAIL_PORT", "1", "does not answer"),
    ):
        doctor = site.stack.manage("doctor", timeout=60, **{variable: value})
        assert doctor.returncode == 1
        [line] = [line for line in doctor.stdout.splitlines() if "PROBLEM" in line]
        assert line.startswith("PROBLEM  e-mail: localhost:")
        assert problem in line
        assert variable in line


@pytest.mark.xdist_group("email killed")
def test_killed_workers_lose_no_mail_and_repeat_only_what_they_were_at(
    bake: Bake, postgres: PostgresServer
) -> None:
    messages, kills, concurrency = 500, 3, 4
    with Redis() as broker, SMTPServer() as server:
        environment = production_environment(
            postgres.create_database(),
            broker.url(),
            EMAIL_PORT=str(server.port),
            CELERY_WORKER_CONCURRENCY=str(concurrency),
            CELERY_VISIBILITY_TIMEOUT="4",
        )
        with production(bake(), environment) as stack:
            result = stack.manage(
                "shell",
                "--command",
                "from apps.notifications.tasks import send_email\n"
                f"for number in range({messages}):\n"
                "    send_email.delay(str(number), 'text', [f'{number}@example.org'])\n",
            )
            assert result.returncode == 0, result.stderr
            for kill in range(1, kills + 1):
                worker = stack.worker()
                server.wait_for(messages * kill // (kills + 1), 30)
                worker.kill()
                assert len(server.inbox) < messages, "there was nothing left to lose"
            stack.worker()

            def arrived() -> Counter[str]:
                return Counter(str(delivery.message["Subject"]) for delivery in server.inbox)

            wait_until(lambda: len(arrived()) == messages, 60, "every message")
        # The worker has ended: nothing is on its way any more.
        assert arrived().keys() == {str(number) for number in range(messages)}
        duplicates = arrived().total() - messages
        assert duplicates <= concurrency * kills, f"{duplicates} duplicates"
        identifiers = {str(delivery.message["Message-ID"]) for delivery in server.inbox}
        assert len(identifiers) == messages, "a copy has the Message-ID of its original"
