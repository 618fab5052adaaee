"""The default project with real PostgreSQL, Redis, gunicorn, worker, beat, SMTP and HTTP."""

import base64
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import redis as redis_client
from standardwebhooks import Webhook

from tests.conftest import Bake
from tests.processes import (
    Process,
    Response,
    Stack,
    http_get,
    http_request,
    python_environment,
    wait_until,
)
from tests.production import (
    HOST,
    PROXY_HEADERS,
    call,
    effects,
    prepare,
    production,
    production_environment,
    query,
    visit,
    wait_for_effect,
)
from tests.servers.blackhole import Blackhole
from tests.servers.http import HTTPServer, Reply
from tests.servers.postgres import Postgres, PostgresServer
from tests.servers.redis import Redis
from tests.servers.smtp import Delivery, SMTPServer
from tests.servers.tls import Authority, TLSProxy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("runtime")]

# More requests than the web process has threads: two processes with four each.
HANGING = 20
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"a secret of the endpoint").decode()


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A default project with the apps of the tests."""
    return prepare(Path(shutil.copytree(bake(), tmp_path_factory.mktemp("runtime") / "my_project")))


@dataclass
class Site:
    """A running project with all its processes."""

    stack: Stack
    web: Process
    worker: Process
    beat: Process
    database_url: str
    mail: SMTPServer
    receiver: HTTPServer


@pytest.fixture(scope="module")
def site(project: Path, postgres: PostgresServer) -> Iterator[Site]:
    """The project with web, worker and beat, which the tests below share."""
    with Redis() as broker, SMTPServer() as mail, HTTPServer() as receiver:
        environment = production_environment(
            postgres.create_database(),
            broker.url(),
            EMAIL_PORT=str(mail.port),
            ALERT_RECIPIENTS="operator@example.com",
            WEBHOOK_SECRETS=f"127.0.0.1={WEBHOOK_SECRET}",
            WEBHOOK_ALLOWED_NETWORKS="127.0.0.0/8",
        )
        with production(project, environment) as stack:
            yield Site(
                stack=stack,
                worker=stack.worker(),
                beat=stack.beat(),
                web=stack.web(),
                database_url=environment["DATABASE_URL"],
                mail=mail,
                receiver=receiver,
            )


def test_a_page_is_served_with_its_headers(site: Site) -> None:
    response = visit(site.stack, "/")
    assert response.status == 200
    assert "My Project" in response.text
    assert response.headers["strict-transport-security"] == "max-age=3600"
    assert "default-src 'self'" in response.headers["content-security-policy"]


def test_static_files_are_served_under_a_name_that_tells_their_content(site: Site) -> None:
    page = visit(site.stack, "/").text
    path = page.split('rel="stylesheet" href="')[1].split('"')[0]
    response = visit(site.stack, path)
    assert response.status == 200
    assert "immutable" in response.headers["cache-control"]


def add_note(site: Site) -> Response:
    """Send the form of the docs' example, which writes to the database."""
    return http_request(
        "POST",
        f"{site.stack.url}/notes/",
        host=HOST,
        headers={
            **PROXY_HEADERS,
            "Content-Type": "application/x-www-form-urlencoded",
        },
        body=b"text=four+words+of+text",
        timeout=60,
    )


def test_a_task_of_the_docs_enqueued_by_a_request_writes_to_postgresql(site: Site) -> None:
    response = add_note(site)
    assert response.status == 201, response.text
    number = response.json()["id"]
    statement = f"SELECT words FROM notes_note WHERE id = {number}"
    wait_until(lambda: query(site.database_url, statement) == [(4,)], 20, "the words to be counted")


def test_a_scheduled_task_fires(site: Site) -> None:
    statement = "SELECT 1 FROM operations_heartbeat WHERE name = 'beat'"
    wait_until(lambda: query(site.database_url, statement), 90, "the heartbeat of the schedule")


def test_doctor_finds_nothing(site: Site) -> None:
    result = site.stack.manage("doctor", "--wait", "20")
    assert result.returncode == 0, result.stdout + result.stderr


def test_doctor_speaks_json(site: Site) -> None:
    report = json.loads(site.stack.manage("doctor", "--json").stdout)
    assert report["healthy"] is True


ASK = """
import json
from apps.operations.queues import waiting_tasks
from apps.operations.workers import running_workers
[worker] = running_workers()
print(json.dumps({
    "version": worker.version,
    "settings": worker.settings,
    "queues": worker.queues,
    "clock": worker.clock,
    "tasks": [(task.name, task.task_id, task.started_at.timestamp()) for task in worker.tasks],
    "waiting": waiting_tasks(),
}))
"""


def test_a_worker_tells_what_it_is_and_runs(
    project: Path, database_url: str, stoppable_redis: Redis
) -> None:
    environment = production_environment(
        database_url, stoppable_redis.url(), CELERY_WORKER_CONCURRENCY="1"
    )
    with production(project, environment) as stack:
        stack.worker()
        call(stack, "sleep", "busy", 60, task_id="busy")
        wait_for_effect(database_url, "busy", "started", 20)
        for _ in range(3):
            call(stack, "record", "waits", "done")
        answer = json.loads(stack.manage("shell", "--command", ASK).stdout.splitlines()[-1])
    [[name, task_id, started]] = answer["tasks"]
    assert (name, task_id) == ("apps.trial.tasks.sleep", "busy")
    assert abs(time.time() - started) < 60
    assert abs(answer["clock"]) < 0.5
    assert answer["version"] == "0.1.0"
    assert answer["settings"] == "my_project.settings.production"
    assert answer["queues"] == ["default", "maintenance", "notifications"]
    assert answer["waiting"] == {"default": 3, "maintenance": 0, "notifications": 0}


def lives(site: Site, process: Process) -> bool:
    """Return what the health check of a process says."""
    check = ["python", "-m", "apps.operations.heartbeat", process.name]
    return site.stack.run(check, TMPDIR=str(process.temporary_folder)).returncode == 0


def test_worker_and_beat_have_a_heartbeat(site: Site) -> None:
    for process in (site.worker, site.beat):
        wait_until(partial(lives, site, process), 20, f"the heartbeat of {process.name}")
    elsewhere = site.stack.run(["python", "-m", "apps.operations.heartbeat", "worker"])
    assert elsewhere.returncode == 1
    assert "no heartbeat" in elsewhere.stderr


def test_an_e_mail_arrives(site: Site) -> None:
    before = len(site.mail.inbox)
    code = (
        "from apps.notifications.tasks import send_email; "
        "send_email.delay_on_commit('Grüße', 'text', ['ann@example.org'], html='<p>html</p>')"
    )
    assert site.stack.manage("shell", "--command", code).returncode == 0
    delivery = site.mail.wait_for(before + 1, 20)[before]
    assert delivery.message["Subject"] == "Grüße"
    assert delivery.message["From"] == "noreply@example.com"
    assert delivery.recipients == ("ann@example.org",)
    types = [part.get_content_type() for part in delivery.message.walk()]
    assert types == ["multipart/alternative", "text/plain", "text/html"]


def test_a_webhook_arrives_with_a_signature_that_can_be_verified(site: Site) -> None:
    before = len(site.receiver.requests)
    site.receiver.reply(Reply(status=204))
    code = (
        "from apps.notifications.tasks import send_webhook; "
        f"send_webhook.delay_on_commit({site.receiver.url('/hook')!r}, {{'answer': 42}})"
    )
    assert site.stack.manage("shell", "--command", code).returncode == 0
    request = site.receiver.wait_for(before + 1, 20)[before]
    assert Webhook(WEBHOOK_SECRET).verify(request.body, dict(request.headers)) == {"answer": 42}


def test_pytest_imported_by_a_task_changes_no_setting(site: Site) -> None:
    call(site.stack, "import_pytest")
    wait_for_effect(site.database_url, "postgresql", "my_project.settings.production", 20)


def test_a_result_is_kept_when_a_task_asks_for_it(site: Site) -> None:
    code = "from apps.trial.tasks import add; print('sum', add.delay(2, 3).get(timeout=20))"
    assert "sum 5" in site.stack.manage("shell", "--command", code).stdout


def alerts(site: Site, words: str) -> list[Delivery]:
    """Return the mails whose subject holds some words."""
    return [delivery for delivery in site.mail.inbox if words in str(delivery.message["Subject"])]


def test_a_task_that_raises_leaves_its_traceback_and_alerts_but_tells_no_value(site: Site) -> None:
    before = len(site.worker.lines)
    more = {"more": "also-private"}
    call(site.stack, "fail", "very-private", kwargs=more, task_id="task-that-raises")
    site.worker.wait_for_line("failed for good", 20, after=before)
    lines = [line for line in site.worker.json_lines()[before:] if "task-that-raises" in str(line)]
    assert any("Traceback" in line.get("exception", "") for line in lines)
    [failure] = [line for line in lines if "failed for good" in line["event"]]
    assert failure["argument_names"] == ["secret", "more"]
    assert "private" not in str(site.worker.lines[before:])
    [alert] = wait_until(lambda: alerts(site, "tasks.fail failed"), 20, "the alert")
    assert alert.recipients == ("operator@example.com",)
    assert "private" not in alert.message.as_string()


def test_a_message_for_an_unknown_task_is_alerted_and_tells_no_value(site: Site) -> None:
    before = len(site.worker.lines)
    code = (
        "from celery import current_app; "
        "current_app.send_task('apps.trial.tasks.gone', ['very-private'], {'a': 'private'})"
    )
    assert site.stack.manage("shell", "--command", code).returncode == 0
    site.worker.wait_for_line("unknown to this worker", 20, after=before)
    [alert] = wait_until(lambda: alerts(site, "discarded message: unknown"), 20, "the alert")
    assert "1 x apps.trial.tasks.gone" in alert.message.get_content()
    assert "private" not in alert.message.as_string()
    assert "private" not in str(site.worker.lines[before:])


def test_what_a_task_prints_is_a_log_line(site: Site) -> None:
    call(site.stack, "say", "hello from a task")
    line = site.worker.wait_for_line("hello from a task", 20)
    assert json.loads(line)["logger"] == "celery.redirected"


def test_probes_are_answered_for_any_host_over_plain_http(site: Site) -> None:
    for path in ("/health/", "/ready/"):
        assert http_get(site.stack.url + path, host="10.0.0.7").status == 200
    for path in ("/", "/accounts/login/", "/health", "/admin/"):
        assert http_get(site.stack.url + path, host="10.0.0.7").status == 400


def test_plain_http_is_sent_to_https(site: Site) -> None:
    response = http_get(f"{site.stack.url}/", host=HOST)
    assert response.status == 301
    assert response.headers["location"].startswith("https://")


def timed_probe(stack: Stack) -> tuple[float, Response]:
    """Return how long `/ready/` took, in seconds, and what it answered."""
    started = time.monotonic()
    response = http_get(f"{stack.url}/ready/", timeout=20)
    return time.monotonic() - started, response


@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_ready_follows_postgresql_and_health_does_not(
    site: Site, stoppable_postgres: Postgres, fault: str
) -> None:
    assert http_get(f"{site.stack.url}/ready/").status == 200
    getattr(stoppable_postgres, fault)()
    with ThreadPoolExecutor(max_workers=20) as pool:
        for _ in range(3):
            answers = list(pool.map(lambda _: timed_probe(site.stack), range(20)))
            assert max(seconds for seconds, _ in answers) < 3
            for _, response in answers:
                assert response.status == 503
                assert response.json()["checks"]["database"] is False
            assert http_get(f"{site.stack.url}/health/").status == 200
    stoppable_postgres.recover()
    wait_until(
        lambda: http_get(f"{site.stack.url}/ready/", timeout=10).status == 200, 20, "/ready/"
    )
    assert site.web.running


def test_health_is_answered_while_requests_hang_in_all_threads(
    site: Site, stoppable_postgres: Postgres
) -> None:
    with ThreadPoolExecutor(HANGING) as pool:
        stoppable_postgres.freeze()
        try:
            requests = [pool.submit(add_note, site) for _ in range(HANGING)]
            ends = time.monotonic() + 4
            while time.monotonic() < ends:
                assert http_get(f"{site.stack.url}/health/", timeout=2).status == 200
                time.sleep(0.1)
            assert not any(request.done() for request in requests)
            assert http_get(f"{site.stack.url}/ready/", timeout=5).status == 503
        finally:
            stoppable_postgres.thaw()
        # Those that had no connection yet were refused one after five seconds.
        assert {request.result().status for request in requests} <= {201, 500}
    assert add_note(site).status == 201


def test_start_is_logged_without_the_password(site: Site) -> None:
    for process in (site.worker, site.beat):
        [start] = [line for line in process.json_lines() if line["event"].endswith("is starting")]
        assert start["settings"] == "my_project.settings.production"
        assert start["database_engine"] == "django.db.backends.postgresql"
        assert start["database_host"] == "127.0.0.1"
        assert start["database_name"]
        assert start["broker"].startswith("redis://")
    assert any("ready" in line["event"] for line in site.worker.json_lines())


def test_every_line_of_every_process_is_json_to_the_end(
    project: Path, database_url: str, redis_url: str
) -> None:
    with production(project, production_environment(database_url, redis_url)) as stack:
        processes = [stack.worker(), stack.beat(), stack.web()]
        http_get(f"{stack.url}/", host="forged.example.org")
        visit(stack, "/missing/")
        call(stack, "fail", "private")
        processes[0].wait_for_line("failed for good", 20)
        for process in processes:
            process.terminate(20)
            assert process.json_lines()
            assert not list(process.temporary_folder.glob("*.heartbeat"))


def test_gunicorn_finishes_a_request_when_told_to_stop(
    project: Path, database_url: str, redis_url: str
) -> None:
    with (
        production(project, production_environment(database_url, redis_url)) as stack,
        ThreadPoolExecutor() as pool,
    ):
        web = stack.web()
        answer = pool.submit(visit, stack, "/trial/sleep/?seconds=3", timeout=20)
        # The access log tells of a request only at its end; the answer is not there yet.
        time.sleep(1)
        assert not answer.done()
        assert web.terminate(20) == 0
        assert answer.result().json() == {"slept": True}


def test_sigterm_puts_a_long_task_back_and_the_next_worker_finishes_it(
    project: Path, database_url: str, stoppable_redis: Redis
) -> None:
    environment = production_environment(database_url, stoppable_redis.url())
    with production(project, environment) as stack:
        worker = stack.worker()
        call(stack, "sleep", "long", 20)
        wait_for_effect(database_url, "long", "started", 20)
        started = time.monotonic()
        worker.terminate(10)
        assert time.monotonic() - started < 10, "the worker had to be killed"
        with redis_client.Redis.from_url(stoppable_redis.url()) as broker:
            assert broker.llen("default") == 1
            assert broker.hlen("unacked") == 0
        stack.worker()
        wait_for_effect(database_url, "long", "finished", 60)
        assert effects(database_url, "long") == ["started", "started", "finished"]


def test_a_waiting_countdown_survives_sigterm(
    project: Path, database_url: str, stoppable_redis: Redis
) -> None:
    environment = production_environment(database_url, stoppable_redis.url())
    with production(project, environment) as stack:
        worker = stack.worker()
        call(stack, "record", "later", "done", countdown=8)
        worker.wait_for_line("received", 20)
        worker.terminate(10)
        stack.worker()
        wait_for_effect(database_url, "later", "done", 40)
        assert effects(database_url, "later") == ["done"]


def test_sigkill_loses_no_task(project: Path, database_url: str, stoppable_redis: Redis) -> None:
    environment = production_environment(
        database_url, stoppable_redis.url(), CELERY_VISIBILITY_TIMEOUT="5"
    )
    with production(project, environment) as stack:
        worker = stack.worker()
        call(stack, "sleep", "killed", 3)
        wait_for_effect(database_url, "killed", "started", 20)
        worker.kill()
        stack.worker()
        wait_for_effect(database_url, "killed", "finished", 60)


@pytest.mark.parametrize("query", ["", "?result"], ids=["task", "task with result"])
def test_a_request_does_not_hang_on_a_broker_that_never_answers(
    project: Path, database_url: str, blackhole: Blackhole, query: str
) -> None:
    environment = production_environment(database_url, f"redis://127.0.0.1:{blackhole.port}/0")
    with production(project, environment) as stack:
        stack.web()
        response = visit(stack, f"/trial/enqueue/{query}", timeout=20)
        assert response.status == 503
        assert response.json()["seconds"] < 6
        assert blackhole.connections > 0


def test_two_releases_at_once_both_succeed_and_migrate_once(
    project: Path, database_url: str, redis_url: str
) -> None:
    environment = production_environment(database_url, redis_url)
    with (
        Stack(project, environment, python_environment(project)) as stack,
        ThreadPoolExecutor() as pool,
    ):
        results = list(pool.map(lambda _: stack.manage("release"), range(2)))
    assert [result.returncode for result in results] == [0, 0], results
    migrated = [result for result in results if "Applying operations.0001_initial" in result.stdout]
    assert len(migrated) == 1


@pytest.fixture
def tls_proxy(stoppable_redis: Redis, authority: Authority) -> Iterator[TLSProxy]:
    """A broker behind TLS with a certificate of a private CA."""
    with TLSProxy(stoppable_redis.port, authority.server_context("localhost")) as proxy:
        yield proxy


@pytest.fixture
def tls_stack(project: Path, database_url: str, tls_proxy: TLSProxy) -> Iterator[Stack]:
    """The project with that broker, and no word of its CA."""
    environment = production_environment(database_url, tls_proxy.redis_url())
    with production(project, environment) as stack:
        yield stack


@pytest.mark.parametrize("process", ["worker", "beat"])
def test_a_private_certificate_is_refused_until_its_ca_is_given(
    tls_stack: Stack, tls_proxy: TLSProxy, authority: Authority, process: str
) -> None:
    refused = tls_stack.start(process)
    assert refused.wait(30) != 0
    assert "REDIS_CA_FILE" in refused.tail()
    assert refused.json_lines()
    assert tls_proxy.bytes_passed == 0
    verified = {"REDIS_CA_FILE": str(authority.file)}
    getattr(tls_stack, process)(**verified)
    assert tls_proxy.bytes_passed > 0


@pytest.mark.parametrize(
    "code",
    [
        "from django.core.cache import cache; cache.set('a', 1); print('value', cache.get('a'))",
        "from apps.trial.tasks import add; print('value', add.AsyncResult('x').state)",
        "from apps.trial.tasks import record; print('value', record.delay('tls').id)",
    ],
    ids=["cache", "results", "broker"],
)
def test_every_client_refuses_a_private_certificate_until_its_ca_is_given(
    tls_stack: Stack, tls_proxy: TLSProxy, authority: Authority, code: str
) -> None:
    refused = tls_stack.manage("shell", "--command", code)
    assert refused.returncode != 0
    assert "REDIS_CA_FILE" in refused.stderr
    assert tls_proxy.bytes_passed == 0
    verified = tls_stack.manage("shell", "--command", code, REDIS_CA_FILE=str(authority.file))
    assert "value" in verified.stdout, verified.stderr
    assert tls_proxy.bytes_passed > 0
