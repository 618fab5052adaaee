"""What Sentry gets, what it never gets, and that nobody waits for it."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bake
from tests.processes import Process, Stack, free_port, http_request, wait_until
from tests.production import (
    HOST,
    PROXY_HEADERS,
    SECRET_KEY,
    call,
    effects,
    prepare,
    production,
    production_environment,
    visit,
    wait_for_effect,
)
from tests.servers.blackhole import Blackhole
from tests.servers.postgres import PostgresServer
from tests.servers.redis import Redis
from tests.servers.sentry import KEY, PROJECT, SentryServer, parse_envelope
from tests.servers.smtp import SMTPServer
from tests.servers.tls import Authority
from tests.users import add_app, replace_once

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sentry")]

PRIVATE = "ann.private@example.org"

MINUTELY = 'PeriodicTask("minutely", "apps.trial.tasks.record", crontab(), ("minutely",))'

FAULTS_TASKS = """
from celery import shared_task
from django.conf import settings


@shared_task
def explode(address, secret=None):
    local = address
    raise ValueError(f"exploded in a task with {settings.SECRET_KEY} of {address}")
"""

FAULTS_VIEWS = """
from django.conf import settings
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt

from apps.faults import tasks


@csrf_exempt
def explode(request):
    password = request.POST.get("password")
    raise RuntimeError("exploded in a view with " + settings.CELERY_BROKER_URL)


def enqueue(request):
    tasks.explode.delay(request.GET["address"], secret=request.GET["secret"])
    return JsonResponse({}, status=202)
"""


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a view and a task that fail, and a periodic task at every full minute."""
    folder = tmp_path_factory.mktemp("sentry") / "my_project"
    project = Path(shutil.copytree(bake(), folder))
    views = {"faults/explode/": "explode", "faults/enqueue/": "enqueue"}
    add_app(project, "faults", {"tasks.py": FAULTS_TASKS, "views.py": FAULTS_VIEWS}, views)
    prepare(project)
    schedule = project / "my_project" / "schedule.py"
    replace_once(schedule, "SCHEDULE = (\n", f"SCHEDULE = (\n    {MINUTELY},\n")
    return project


@dataclass
class Site:
    """A running project, and the Sentry that it knows."""

    stack: Stack
    sentry: SentryServer
    web: Process
    worker: Process
    beat: Process
    database_url: str


@pytest.fixture(scope="module")
def site(project: Path, postgres: PostgresServer) -> Iterator[Site]:
    """The project with web, worker and beat."""
    with ExitStack() as servers:
        broker = servers.enter_context(Redis(password="broker-password"))
        mail = servers.enter_context(SMTPServer())
        sentry = servers.enter_context(SentryServer())
        environment = production_environment(
            postgres.create_database(),
            broker.url(),
            EMAIL_PORT=str(mail.port),
            SENTRY_DSN=sentry.dsn,
            SENTRY_TRACES_SAMPLE_RATE="1",
        )
        stack = servers.enter_context(production(project, environment))
        yield Site(
            stack=stack,
            sentry=sentry,
            beat=stack.beat(),
            worker=stack.worker(),
            web=stack.web(),
            database_url=environment["DATABASE_URL"],
        )


def raised(event: dict[str, Any]) -> str:
    """Return the class of the exception of an event, or nothing."""
    values = event.get("exception", {}).get("values", [])
    return str(values[-1]["type"]) if values else ""


def test_an_exception_in_a_view_arrives_with_its_circumstances_and_no_private_value(
    site: Site,
) -> None:
    response = http_request(
        "POST",
        f"{site.stack.url}/faults/explode/?token=query-private",
        host=HOST,
        headers={
            **PROXY_HEADERS,
            "X-Request-ID": "view-of-ann",
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": "sessionid=cookie-private",
            "Authorization": "Bearer header-private",
            "User-Agent": "agent-private",
        },
        body=f"password=body-private&email={PRIVATE}".encode(),
    )
    assert response.status == 500
    event = site.sentry.wait_for_item("event", lambda each: raised(each) == "RuntimeError", 20)
    assert event["release"] == "my_project@0.1.0"
    assert event["environment"] == "production"
    assert event["tags"]["request_id"] == "view-of-ann"
    assert event["request"]["method"] == "POST"
    assert event["request"]["url"].endswith("/faults/explode/")
    assert "exploded in a view" in event["exception"]["values"][-1]["value"]


def test_an_exception_in_a_task_arrives_once_with_the_id_of_the_request(site: Site) -> None:
    request = {**PROXY_HEADERS, "X-Request-ID": "task-of-ann"}
    url = f"{site.stack.url}/faults/enqueue/?address={PRIVATE}&secret=private-word"
    assert http_request("GET", url, host=HOST, headers=request).status == 202
    event = site.sentry.wait_for_item("event", lambda each: raised(each) == "ValueError", 20)
    assert event["release"] == "my_project@0.1.0"
    assert event["environment"] == "production"
    assert event["tags"]["request_id"] == "task-of-ann"
    assert event["transaction"] == "apps.faults.tasks.explode"
    # What comes after it would be a second one.
    call(site.stack, "fail", "private-word")
    site.worker.wait_for_line("trial.tasks.fail.* failed for good", 20)
    site.sentry.wait_for_item("event", lambda each: each["transaction"].endswith(".fail"), 20)
    tagged = [each for each in site.sentry.of("event") if "task-of-ann" in str(each["tags"])]
    assert len(tagged) == 1


def test_beat_and_worker_check_a_periodic_task_in(site: Site) -> None:
    def of(status: str) -> dict[str, Any]:
        return site.sentry.wait_for_item(
            "check_in",
            lambda each: each["monitor_slug"] == "minutely" and each["status"] == status,
            90,
        )

    begun, ended = of("in_progress"), of("ok")
    assert begun["check_in_id"] == ended["check_in_id"]
    assert begun["environment"] == ended["environment"] == "production"
    assert begun["release"] == ended["release"] == "my_project@0.1.0"
    assert begun["monitor_config"]["schedule"] == {"type": "crontab", "value": "* * * * *"}


def test_durations_of_pages_are_sent_if_asked_for_and_of_probes_never(site: Site) -> None:
    for path in ("/health/", "/ready/", "/"):
        assert visit(site.stack, path).status == 200

    def urls() -> list[str]:
        requests = [each.get("request", {}) for each in site.sentry.of("transaction")]
        return [request["url"] for request in requests if request]

    wait_until(lambda: f"http://{HOST}/" in urls() or f"https://{HOST}/" in urls(), 20, "the page")
    assert not [url for url in urls() if url.endswith(("/health/", "/ready/"))]


def test_a_forged_host_is_no_event(site: Site) -> None:
    before = len(site.sentry.of("event"))
    answer = http_request("GET", f"{site.stack.url}/", host="forged.example.org")
    assert answer.status == 400
    headers = {**PROXY_HEADERS, "X-Request-ID": "after-the-forged-one"}
    url = f"{site.stack.url}/faults/explode/"
    http_request("POST", url, host=HOST, headers=headers, body=b"")
    site.sentry.wait_for_item("event", lambda each: "after-the-forged" in str(each["tags"]), 20)
    assert len(site.sentry.of("event")) == before + 1


def test_a_release_that_fails_is_sent_before_it_ends(site: Site, project: Path) -> None:
    code = "raise LookupError('at the end')"
    result = site.stack.manage("shell", "--command", code)
    assert result.returncode != 0
    site.sentry.wait_for_item("event", lambda each: raised(each) == "LookupError", 5)
    assert "Sentry is attempting" not in result.stdout + result.stderr


def test_no_envelope_holds_a_private_value(site: Site) -> None:
    """Stands after the others, which have planted them."""
    sent = str(site.sentry.items)
    assert "exploded in a task" in sent and "exploded in a view" in sent
    for private in (
        SECRET_KEY,
        "broker-password",
        "body-private",
        "cookie-private",
        "header-private",
        "query-private",
        "agent-private",
        "private-word",
        "ann.private",
    ):
        assert private not in sent


def test_processes_that_stop_end_in_time_and_log_only_json(site: Site) -> None:
    for process in (site.beat, site.worker, site.web):
        assert process.terminate(20) == 0
        assert process.json_lines()


@pytest.fixture(scope="module")
def plain(project: Path, postgres: PostgresServer) -> Iterator[Stack]:
    """The project without a Sentry; tests give their processes one."""
    with Redis() as broker:
        environment = production_environment(postgres.create_database(), broker.url())
        with production(project, environment) as stack:
            yield stack


def test_without_a_dsn_sentry_is_not_even_imported(plain: Stack) -> None:
    code = "import sys; print('imported:', 'sentry_sdk' in sys.modules)"
    assert "imported: False" in plain.manage("shell", "--command", code).stdout


@pytest.mark.parametrize("fault", ["down", "silent"])
def test_a_sentry_that_does_not_answer_slows_nobody_and_loses_no_task(
    plain: Stack, fault: str
) -> None:
    with Blackhole() as blackhole:
        port = blackhole.port if fault == "silent" else free_port()
        dsn = f"http://{KEY}@127.0.0.1:{port}/{PROJECT}"
        worker, web = plain.worker(SENTRY_DSN=dsn), plain.web(SENTRY_DSN=dsn)
        started = time.monotonic()
        for _ in range(5):
            url = f"{plain.url}/faults/explode/"
            answer = http_request("POST", url, host=HOST, headers=PROXY_HEADERS, body=b"")
            assert answer.status == 500
        assert time.monotonic() - started < 5
        call(plain, "fail", "private-word")
        call(plain, "record", fault, "done")
        database_url = plain.environment["DATABASE_URL"]
        wait_for_effect(database_url, fault, "done", 20)
        assert effects(database_url, fault) == ["done"]
        for process in (web, worker):
            assert process.terminate(20) == 0
            assert process.json_lines()


def test_a_sentry_behind_an_unknown_certificate_gets_nothing(
    plain: Stack, authority: Authority
) -> None:
    code = "import sentry_sdk; sentry_sdk.capture_message('hello'); sentry_sdk.flush(5)"
    with SentryServer(authority, "localhost") as sentry:
        send = partial(plain.manage, "shell", "--command", code, SENTRY_DSN=sentry.dsn)
        assert send().returncode == 0
        assert sentry.failures, "nobody has tried"
        assert sentry.requests == []
        assert send(SSL_CERT_FILE=str(authority.file)).returncode == 0
        wait_until(lambda: sentry.of("event"), 5, "the event")


def test_the_cron_of_the_hosting_and_the_worker_check_a_periodic_task_in(
    bake: Bake, tmp_path: Path, database_url: str, redis_url: str
) -> None:
    answers = {"hosting": "dokku", "scheduler": "platform"}
    project = Path(shutil.copytree(bake(**answers), tmp_path / "my_project"))
    with SentryServer() as sentry:
        environment = production_environment(database_url, redis_url, SENTRY_DSN=sentry.dsn)
        with production(project, environment) as stack:
            stack.worker()
            assert stack.manage("enqueue", "heartbeat").returncode == 0
            ended = sentry.wait_for_item("check_in", lambda each: each["status"] == "ok", 20)
        [begun] = [each for each in sentry.of("check_in") if each["status"] == "in_progress"]
    assert begun["monitor_slug"] == ended["monitor_slug"] == "heartbeat"
    assert begun["check_in_id"] == ended["check_in_id"]
    assert begun["monitor_config"]["schedule"] == {"type": "crontab", "value": "*/5 * * * *"}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"[]", "is no object"),
        (b'{}\n{"type": "event", "length": 9}\n{}', "9"),
        (b"nonsense", "Expecting value"),
    ],
)
def test_what_is_no_envelope_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_envelope(body)


def test_an_envelope_is_read() -> None:
    body = b'{}\n{"type": "event", "length": 3}\n{ }\n{"type": "check_in"}\n{"a": 1}\n'
    assert [(item.kind, item.content) for item in parse_envelope(body)] == [
        ("event", {}),
        ("check_in", {"a": 1}),
    ]
