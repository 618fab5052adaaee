"""Flower beside a worker: who gets in, what it shows, its way to the broker, and its end."""

import base64
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.processes import (
    Process,
    Response,
    Stack,
    free_port,
    http_request,
    wait_until,
)
from tests.production import prepare, production, production_environment
from tests.servers.postgres import PostgresServer
from tests.servers.redis import Redis
from tests.servers.tls import Authority, TLSProxy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("flower")]

LOGIN = "ann:flower-password-0123"
BROKER_PASSWORD = "broker-password"
# Everything that Flower serves and that tells something, or does something.
HIDDEN = (
    "",
    "workers",
    "tasks",
    "broker",
    "metrics",
    "api/workers",
    "api/tasks",
    "api/task/types",
    "api/queues/length",
)

CALLS = """
from apps.trial.tasks import add, fail, record

record.delay("private-argument", detail="private-keyword")
record.apply_async(["private-argument"], countdown=600)
fail.delay("private-argument", more="private-keyword")
add.delay("private-", "result")
"""


@dataclass
class Site:
    """A project with a worker and Flower, and a broker behind TLS."""

    url: str
    stack: Stack
    broker: Redis
    proxy: TLSProxy
    worker: Process
    flower: Process

    def ask(
        self, path: str, *, method: str = "GET", login: str | None = LOGIN, timeout: float = 10
    ) -> Response:
        """Send a request to Flower.

        Args:
            path: below its prefix.
            method: GET or POST.
            login: `user:password`; none sends no login.
            timeout: seconds.
        """
        headers = {"Authorization": f"Basic {encoded(login)}"} if login else {}
        url = f"{self.url}/flower/{path}"
        return http_request(method, url, headers=headers, body=b"{}", timeout=timeout)


def encoded(login: str) -> str:
    """Return a login in the form of the header."""
    return base64.b64encode(login.encode()).decode()


@pytest.fixture(scope="module")
def site(
    bake: Bake,
    postgres: PostgresServer,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Flower with every line of its log; RedBeat has the broker's address in its own settings."""
    baked = bake(use_flower="true", scheduler="redbeat")
    project = prepare(Path(shutil.copytree(baked, tmp_path_factory.mktemp("flower") / baked.name)))
    with ExitStack() as servers:
        broker = servers.enter_context(Redis(password=BROKER_PASSWORD))
        proxy = servers.enter_context(TLSProxy(broker.port, authority.server_context()))
        environment = production_environment(
            postgres.create_database(),
            f"rediss://:{BROKER_PASSWORD}@localhost:{proxy.port}/0",
            REDIS_CA_FILE=str(authority.file),
            FLOWER_BASIC_AUTH=LOGIN,
            LOG_LEVEL="DEBUG",
        )
        stack = servers.enter_context(production(project, environment))
        site = Site(stack.url, stack, broker, proxy, stack.worker(), stack.start("flower"))
        site.flower.wait_for_line("Visit me at", 30)
        wait_until(lambda: "celery@" in site.ask("").text, 30, "the worker in Flower")
        yield site


def test_healthcheck_tells_nothing_and_everything_else_wants_the_login(site: Site) -> None:
    assert site.ask("healthcheck", login=None).text == "OK"
    for path in HIDDEN:
        assert site.ask(path).status == 200, path
        for login in (None, "ann:another-password-0123", "ann:", "flower-password-0123"):
            response = site.ask(path, login=login)
            assert response.status == 401, path
            assert "celery@" not in response.text + str(response.headers)


def test_an_error_before_the_login_tells_nothing_and_changes_nothing(site: Site) -> None:
    """Flower compares logins as ASCII only; results are asked for in a test below."""
    response = site.ask("", login="änn:ö")
    assert response.status == 500
    assert "Traceback" not in response.text
    assert "celery@" not in response.text


def test_the_login_may_look_and_change_nothing(site: Site) -> None:
    [name] = site.ask("api/workers?refresh=1").json()
    for path in (
        f"api/worker/shutdown/{name}",
        f"api/worker/pool/shrink/{name}",
        f"api/worker/queue/cancel-consumer/{name}?queue=default",
        "api/task/async-apply/apps.trial.tasks.record",
        "api/task/apply/apps.trial.tasks.record",
        "api/task/send-task/apps.trial.tasks.record",
        "api/task/revoke/1",
    ):
        assert site.ask(path, method="POST").status == 403, path
    assert site.worker.running


def test_no_value_of_a_task_is_shown(site: Site) -> None:
    called = site.stack.manage("shell", "--command", CALLS)
    assert called.returncode == 0, called.stderr

    def seen() -> dict[str, str]:
        tasks = site.ask("api/tasks").json()
        return {f"{task['name']} {task['state']}": uuid for uuid, task in tasks.items()}

    wanted = {
        "apps.trial.tasks.record SUCCESS",
        "apps.trial.tasks.record RECEIVED",
        "apps.trial.tasks.fail FAILURE",
        "apps.trial.tasks.add SUCCESS",
    }
    wait_until(lambda: wanted <= seen().keys(), 30, "the tasks in Flower")
    [worker] = site.ask("api/workers?refresh=1").json()
    pages = [
        site.ask(path)
        for path in (
            "tasks/datatable?draw=1&start=0&length=100&order[0][column]=0&columns[0][data]=name",
            "api/tasks",
            "api/workers?refresh=1",
            "api/workers",
            f"worker/{worker}",
            *(f"task/{uuid}" for uuid in seen().values()),
            *(f"api/task/info/{uuid}" for uuid in seen().values()),
            *(f"api/task/result/{uuid}" for uuid in seen().values()),
        )
    ]
    assert [page.text for page in pages if page.status != 200] == []
    text = "\n".join(page.text for page in pages)
    assert "apps.trial.tasks.record" in text
    assert "ValueError" in text
    for secret in ("private-", "on purpose", BROKER_PASSWORD, LOGIN.partition(":")[2]):
        assert secret not in text


def test_queue_lengths_come_over_a_verified_connection(site: Site) -> None:
    handshakes = site.proxy.handshakes
    lengths = site.ask("api/queues/length").json()["active_queues"]
    assert {queue["name"] for queue in lengths} == {"default", "notifications", "maintenance"}
    assert site.proxy.handshakes > handshakes


def test_a_broker_that_is_not_verified_gets_nothing(site: Site) -> None:
    port = free_port()
    with site.stack.start("flower", REDIS_CA_FILE="", PORT=str(port)) as flower:
        flower.wait_for_line("set REDIS_CA", 40)
        unverified = replace(site, url=f"http://127.0.0.1:{port}")
        assert "celery@" not in unverified.ask("").text
        refusals = len(site.proxy.refusals)
        assert unverified.ask("api/queues/length").status == 500
        # By Flower's own client, and by Celery's.
        flower.wait_for_line("certificate verify failed", 10)
        assert len(site.proxy.refusals) > refusals
        assert flower.terminate(20) == 0
        assert flower.json_lines()


@pytest.mark.parametrize("environment", ["production", "development"])
def test_without_a_login_it_says_so_and_does_not_start(site: Site, environment: str) -> None:
    command = site.stack.commands["flower"].split()
    stopped = site.stack.run(
        command, FLOWER_BASIC_AUTH=" ", DJANGO_ENVIRONMENT=environment, LOG_LEVEL="WARNING"
    )
    assert stopped.returncode == 1
    assert "FLOWER_BASIC_AUTH" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert len(stopped.stderr.splitlines()) <= 3
    assert stopped.stdout == ""


def test_it_ends_in_time_also_while_the_broker_hangs_and_every_line_is_json(site: Site) -> None:
    site.broker.freeze()
    try:
        assert site.ask("healthcheck", login=None).status == 200
        assert site.ask("metrics", login="ann:guess").status == 401
        site.flower.send_signal(signal.SIGTERM)
        assert site.flower.wait(15) == 0
    finally:
        site.broker.thaw()
    lines = site.flower.json_lines()
    assert all({"event", "level", "logger", "timestamp"} <= line.keys() for line in lines)
    log = "\n".join(site.flower.lines)
    assert "GET /flower/metrics: 401" in log
    for secret in ("private-", BROKER_PASSWORD, LOGIN.partition(":")[2]):
        assert secret not in log
