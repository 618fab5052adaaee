"""What the processes log: JSON only, one request's id from web to the last task, no secret."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bake
from tests.processes import (
    Process,
    Response,
    Stack,
    http_request,
    python_environment,
    wait_until,
)
from tests.production import (
    HOST,
    PROXY_HEADERS,
    SECRET_KEY,
    prepare,
    production_environment,
)
from tests.servers.postgres import PostgresServer
from tests.servers.redis import Redis
from tests.servers.smtp import SMTPServer
from tests.users import add_app

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("logs")]

# The second is how the production image runs; the first has every line that there is.
KINDS: dict[str, dict[str, str]] = {
    "direct": {"scheduler": "database", "process_manager": "direct"},
    "prodserver": {"scheduler": "code", "process_manager": "prodserver"},
}
LEVELS = {"direct": "DEBUG", "prodserver": "INFO"}
PRODSERVER_COMMANDS = {
    "web": "python manage.py server web",
    "worker": "python manage.py worker worker",
    "beat": "python manage.py worker beat",
}

TRAIL_TASKS = """
import logging
import os

from celery import chain, chord, group, shared_task

logger = logging.getLogger(__name__)


@shared_task
def first():
    logger.info("first")
    second.delay_on_commit()


@shared_task(bind=True)
def second(self):
    if not self.request.retries:
        raise self.retry(countdown=0)
    logger.info("second")
    chain(note.si("link 1"), note.si("link 2"))()
    group(note.si("member 1"), note.si("member 2"))()
    fail.delay()
    vanish.delay()


@shared_task
def note(text):
    logger.info(text)


@shared_task
def fail():
    password = "its-" + "password"
    raise ValueError(f"two\\nlines of rediss://:{password}@broker")


@shared_task
def vanish():
    os._exit(1)
"""

TRAIL_VIEWS = """
import logging
import os

from django.conf import settings
from django.core.mail import send_mail
from django.http import JsonResponse

from apps.trail import tasks

logger = logging.getLogger(__name__)


def follow(request):
    logger.info("following")
    send_mail("Hello", "text", None, ["ann@example.org"])
    tasks.first.delay_on_commit()
    return JsonResponse({}, status=202)


def reveal(request):
    logger.info("headers: %s", dict(request.headers))
    logger.info("key: %s", settings.SECRET_KEY, extra={"values": [settings.CELERY_BROKER_URL]})
    raise RuntimeError(f"with {settings.SECRET_KEY} and {os.environ['DATABASE_URL']}")
"""


@dataclass
class Site:
    """A running project with all its processes."""

    stack: Stack
    web: Process
    worker: Process
    beat: Process

    def ask(self, method: str, path: str, **headers: str) -> Response:
        """Send a request as the proxy does."""
        return http_request(
            method, self.stack.url + path, host=HOST, headers={**PROXY_HEADERS, **headers}
        )


@pytest.fixture(scope="module", params=KINDS)
def site(
    request: pytest.FixtureRequest,
    bake: Bake,
    postgres: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """A project with tasks that call tasks, and its web, worker and beat."""
    folder = tmp_path_factory.mktemp("logs") / "my_project"
    project = Path(shutil.copytree(bake(**KINDS[request.param]), folder))
    views = {"trail/follow/": "follow", "trail/reveal/": "reveal"}
    add_app(project, "trail", {"tasks.py": TRAIL_TASKS, "views.py": TRAIL_VIEWS}, views)
    prepare(project)
    with ExitStack() as servers:
        broker = servers.enter_context(Redis(password="broker-password"))
        mail = servers.enter_context(SMTPServer())
        environment = production_environment(
            postgres.create_database(),
            broker.url(),
            EMAIL_PORT=str(mail.port),
            LOG_LEVEL=LEVELS[request.param],
            CELERY_BEAT_SCHEDULE_FILE=str(folder.parent / "celerybeat-schedule"),
        )
        commands = PRODSERVER_COMMANDS if request.param == "prodserver" else None
        stack = servers.enter_context(
            Stack(project, environment, python_environment(project), commands=commands)
        )
        release = stack.manage("release")
        assert release.returncode == 0, release.stdout + release.stderr
        yield Site(stack=stack, worker=stack.worker(), beat=stack.beat(), web=stack.web())


def marked(process: Process, request_id: str) -> list[dict[str, Any]]:
    """Return the lines of a process that are marked with an id."""
    return [line for line in process.json_lines() if line.get("request_id") == request_id]


def events(lines: list[dict[str, Any]]) -> str:
    """Return what lines tell, one after the other."""
    return "\n".join(line["event"] for line in lines)


def test_the_id_of_a_request_marks_its_lines_and_those_of_all_tasks_that_follow(
    site: Site,
) -> None:
    response = site.ask("GET", "/trail/follow/", **{"X-Request-ID": "from-the-proxy"})
    assert response.status == 202
    assert response.headers["x-request-id"] == "from-the-proxy"
    access = '"GET /trail/follow/" 202'
    wait_until(lambda: access in events(marked(site.web, "from-the-proxy")), 20, "the access log")
    assert events(marked(site.web, "from-the-proxy")).count("following") == 1

    def missing() -> list[str]:
        lines = events(marked(site.worker, "from-the-proxy"))
        names = ("first", "second", "note", "fail", "vanish")
        wanted = [
            *(f"Task apps.trail.tasks.{name}[" for name in names),
            *("\nfirst\n", "\nsecond\n", "\nlink 1\n", "\nlink 2\n", "\nmember 1\n", "\nmember 2"),
            "Task apps.notifications.tasks.send_message[",
            " received",
            " succeeded in ",
            " retry: ",
            "raised unexpected: ValueError",
            "failed for good: ValueError",
            # Of the main process, as the child process has died.
            "Worker exited prematurely",
        ]
        return [text for text in wanted if text not in lines + "\n"]

    try:
        wait_until(lambda: not missing(), 40, "the lines of all tasks")
    except AssertionError:
        raise AssertionError(f"no such lines: {missing()}") from None
    lines = [line for line in site.worker.json_lines() if ".trail." in str(line.get("task"))]
    assert {line.get("request_id") for line in lines} == {"from-the-proxy"}, lines
    assert any("two\nlines" in line.get("exception", "") for line in lines)


def test_an_id_that_is_not_sane_is_replaced(site: Site) -> None:
    response = site.ask("GET", "/", **{"X-Request-ID": 'x" forged="1'})
    request_id = response.headers["x-request-id"]
    assert request_id.isalnum()
    wait_until(lambda: marked(site.web, request_id), 20, "the access log")


def test_probes_have_an_id_too(site: Site) -> None:
    request_id = site.ask("GET", "/health/").headers["x-request-id"]
    wait_until(lambda: marked(site.web, request_id), 20, "the access log")


def test_periodic_tasks_have_ids_of_their_own(site: Site) -> None:
    def ticks() -> set[str]:
        lines = [line for line in site.worker.json_lines() if "trial.tasks.record" in str(line)]
        return {line["request_id"] for line in lines}

    wait_until(lambda: len(ticks()) > 1, 30, "two ticks")
    for request_id in ticks():
        tasks = {line["task_id"] for line in marked(site.worker, request_id)}
        assert len(tasks) == 1


def test_a_request_for_headers_is_nothing_to_warn_of(site: Site) -> None:
    for path in ("/health/", "/"):
        response = site.ask("HEAD", path)
        assert response.status == 200
        assert int(response.headers["content-length"]) > 0
    request_id = response.headers["x-request-id"]
    wait_until(lambda: marked(site.web, request_id), 20, "the access log")
    assert "sent body" not in events(site.web.json_lines())


def test_no_line_shows_a_secret(site: Site) -> None:
    planted = {"Authorization": "Bearer token-of-ann", "Cookie": "sessionid=session-of-ann"}
    response = site.ask("GET", "/trail/reveal/", **planted)
    assert response.status == 500
    request_id = response.headers["x-request-id"]
    access = '"GET /trail/reveal/" 500'
    wait_until(lambda: access in events(marked(site.web, request_id)), 20, "the access log")
    lines = marked(site.web, request_id)
    assert any("RuntimeError: with (not shown)" in line.get("exception", "") for line in lines)
    log = "\n".join(line for each in (site.web, site.worker, site.beat) for line in each.lines)
    for secret in (SECRET_KEY, "broker-password", "its-password", "of-ann"):
        assert secret not in log


def test_every_line_from_the_start_to_the_end_is_json(site: Site) -> None:
    for process in (site.beat, site.worker, site.web):
        process.send_signal(signal.SIGTERM)
    for process in (site.beat, site.worker, site.web):
        assert process.wait(40) == 0
        lines = process.json_lines()
        assert all({"event", "level", "logger", "timestamp"} <= line.keys() for line in lines)
