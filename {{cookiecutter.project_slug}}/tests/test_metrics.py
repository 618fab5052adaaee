"""What Prometheus gets; the counts of several processes are shown by tests with real servers."""

import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
import redis
from celery import current_app, signals
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families

from apps.accounts import backends
from apps.accounts.limits import Limit
from apps.accounts.models import User
from apps.operations.metrics import certificates, logins, processes, requests, sources, tasks
from apps.operations.metrics.certificates import Certificate, Certificates, look, names
from apps.operations.metrics.endpoint import MetricsMiddleware
from apps.operations.metrics.requests import RequestMetricsMiddleware, request_metrics
from apps.operations.models import Heartbeat, ScheduledRun
from apps.operations.overdue import expect_runs
from apps.operations.tasks import record_heartbeat

from .conftest import PRODUCTION, LoadSettings

TOKEN = {"Authorization": f"Bearer {settings.METRICS_TOKEN}"}
SEEN_AT = datetime(2026, 1, 1, tzinfo=UTC)
TASK = record_heartbeat.name

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(text: str) -> Samples:
    """Return the values of a scrape by their names and the values of their labels."""
    return {
        (sample.name, tuple(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Server:
    """The broker's server, as far as counts need one."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, float]] = {}
        self.error: redis.RedisError | None = None
        self.asked = 0
        self.maxmemory = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def pipeline(self, *, transaction: bool) -> Self:
        """Be a pipeline too."""
        assert not transaction
        self.asked += 1
        return self

    def hincrbyfloat(self, key: str, name: str, amount: float) -> None:
        """Add."""
        counts = self.hashes.setdefault(key, {})
        counts[name] = counts.get(name, 0) + amount

    def execute(self) -> None:
        """Fail if that is what is tested."""
        if self.error:
            raise self.error

    def hgetall(self, key: str) -> dict[str, str]:
        """Return all counts as text."""
        return {name: str(count) for name, count in self.hashes.get(key, {}).items()}

    def info(self, section: str) -> dict[str, int]:
        """Tell about the memory."""
        assert section == "memory"
        return {"used_memory": 1000, "maxmemory": self.maxmemory}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server for the counts, as if there were workers."""
    server = Server()
    monkeypatch.setitem(current_app.conf, "task_always_eager", False)
    monkeypatch.setattr(tasks, "counts", counts := tasks.Counts())
    monkeypatch.setattr(sources, "counts", counts)
    monkeypatch.setattr(counts, "server", lambda: server)
    return server


# --- The endpoint --------------------------------------------------------------------------------


@pytest.fixture
def _quiet_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources that answer with nothing, as the real ones ask by threads of their own."""
    for name in ("database_metrics", "broker_metrics", "worker_metrics", "certificate_metrics"):
        monkeypatch.setattr(sources, name, lambda *_: [])


@override_settings(SECURE_SSL_REDIRECT=True)
@pytest.mark.usefixtures("_quiet_sources")
@pytest.mark.parametrize("given", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic {token}"])
def test_nobody_is_told_anything_without_the_token(given: str) -> None:
    header = {"Authorization": given.format(token=settings.METRICS_TOKEN)}
    response = Client(headers={"host": "web:8000"}).get("/metrics", headers=header)
    assert response.status_code == 401
    assert response.content == b""
    assert response["WWW-Authenticate"] == "Bearer"


@override_settings(SECURE_SSL_REDIRECT=True)
@pytest.mark.usefixtures("_quiet_sources")
def test_a_scrape_is_answered_whatever_its_host_and_without_tls() -> None:
    client = Client(headers={"host": "web:8000"})
    response = client.get("/metrics", headers=TOKEN)
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain; version=")
    assert response["Cache-Control"] == "no-store"
    found = samples(response.content.decode())
    assert found["application_info", (settings.SERVICE_NAME, settings.VERSION)] == 1
    for source in ("database", "broker", "workers", "certificates"):
        assert found["application_source_up", (source,)] == 1


def test_a_source_that_fails_is_named_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    def fail() -> list[Any]:
        raise ConnectionError("refused")

    monkeypatch.setattr(sources, "database_metrics", fail)
    monkeypatch.setattr(sources, "worker_metrics", lambda: [])
    monkeypatch.setattr(sources, "certificate_metrics", lambda _: [])
    response = MetricsMiddleware(lambda _: HttpResponse())(
        RequestFactory().get("/metrics", headers=TOKEN)
    )
    found = samples(response.content.decode())
    assert found["application_source_up", ("database",)] == 0
    assert found["application_source_up", ("broker",)] == 1
    assert found["celery_queue_length", ("default",)] >= 0


@pytest.mark.parametrize("token", ["x" * 31, "x" * 40 + " y", "x" * 40 + '"'])
def test_a_weak_token_is_refused(load_settings: LoadSettings, token: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="METRICS_TOKEN must have at least 32") as caught:
        load_settings("production", **(PRODUCTION | {"METRICS_TOKEN": token}))
    assert token not in str(caught.value)


# --- Requests ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_quiet_sources")
def test_requests_are_counted_by_the_names_of_views_and_never_by_paths(client: Client) -> None:
    def counted(method: str, view: str, status: str) -> float:
        text = client.get("/metrics", headers=TOKEN).content.decode()
        return samples(text).get(("http_requests_total", (method, status, view)), 0)

    before = counted("GET", "home", "2xx"), counted("other", "none", "4xx")
    assert client.get("/").status_code == 200
    assert client.generic("BREW", "/private-path").status_code == 404
    assert counted("GET", "home", "2xx") == before[0] + 1
    assert counted("other", "none", "4xx") == before[1] + 1
    text = client.get("/metrics", headers=TOKEN).content.decode()
    assert "private-path" not in text
    assert "BREW" not in text
    assert samples(text)["http_requests_in_progress", ()] == 0


def test_a_process_that_replaces_another_goes_on_with_its_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
{%- if cookiecutter.process_manager == "prodserver" %}
    monkeypatch.setattr(requests.IN_PROGRESS, "_value", requests.IN_PROGRESS._value)
{%- endif %}
    processes.on_starting(None)
    folder = Path(os.environ[processes.FOLDER])
    try:
        assert list(folder.iterdir()) == []
        first, second, third, again = (SimpleNamespace() for _ in range(4))
        server = SimpleNamespace(WORKERS={})
        for pid, worker in enumerate((first, second, third)):
            processes.pre_fork(server, worker)
            server.WORKERS[pid] = worker
        del server.WORKERS[1]
        processes.pre_fork(server, again)
        assert [first.place, second.place, third.place, again.place] == [0, 1, 2, 1]

        for worker in (first, second, again):
            processes.post_fork(server, worker)
            labels = ("counter", "runs", "runs_total", ("place",), ("any",), "Runs.")
            values.ValueClass(*labels).inc(1)
            gauge = ("gauge", "busy", "busy", (), (), "Busy.")
            values.ValueClass(*gauge, multiprocess_mode="livesum").inc(1)
        processes.child_exit(server, again)
        found = {sample.name: sample.value for m in request_metrics() for sample in m.samples}
{%- if cookiecutter.process_manager == "prodserver" %}
        assert found == {"runs_total": 3, "busy": 1, "http_requests_in_progress": 0}
{%- else %}
        assert found == {"runs_total": 3, "busy": 1}
{%- endif %}
    finally:
        processes.on_exit(None)
    assert not folder.exists()


def test_an_answer_of_any_view_passes() -> None:
    before = requests.IN_PROGRESS._value.get()

    def view(_: Any) -> HttpResponse:
        assert requests.IN_PROGRESS._value.get() == before + 1
        return HttpResponse(status=503)

    assert RequestMetricsMiddleware(view)(RequestFactory().get("/")).status_code == 503
    assert requests.IN_PROGRESS._value.get() == before


# --- Tasks ---------------------------------------------------------------------------------------


def task_counts(server: Server) -> dict[str, float]:
    """Return what was counted, without how long things took."""
    counts = server.hashes.get(tasks.KEY, {})
    return {name: count for name, count in counts.items() if not name.startswith("seconds")}


def run(state: str) -> None:
    """Send the signals of a run."""
    task: Any = SimpleNamespace(name=TASK, request=SimpleNamespace())
    tasks.note_start(task)
    if state == "FAILURE":
        tasks.count_lost_run(task)
    if state == "RETRY":
        tasks.count_repeated_run(task)
    tasks.count_run(task, state)


def test_a_task_that_runs_is_counted(server: Server) -> None:
    # The signals alone, because an eager task is what the fixture says there is not.
    task: Any = record_heartbeat
    signals.task_prerun.send(sender=task, task_id="1", task=task)
    signals.task_postrun.send(sender=task, task_id="1", task=task, state="SUCCESS")
    assert task_counts(server)[f"success {TASK}"] == 1


def test_each_run_is_counted_once_however_it_ends(server: Server) -> None:
    for state in ("SUCCESS", "FAILURE", "RETRY", "IGNORED"):
        run(state)
    assert task_counts(server) == {
        f"success {TASK}": 1,
        f"failure {TASK}": 1,
        f"retry {TASK}": 1,
        f"0.1 {TASK}": 3,
    }


def test_a_run_whose_process_died_is_counted_too(server: Server) -> None:
    task: Any = SimpleNamespace(name=TASK, request=SimpleNamespace())
    tasks.count_lost_run(task)
    tasks.count_repeated_run(task)
    assert task_counts(server) == {f"failure {TASK}": 1, f"retry {TASK}": 1}


def test_messages_that_are_not_run_are_counted(server: Server) -> None:
    tasks.count_unknown()
    tasks.count_rejected()
    tasks.count_revoked(expired=True)
    tasks.count_revoked(expired=False)
    assert task_counts(server) == dict.fromkeys(tasks.REASONS, 1)


def test_a_server_that_does_not_answer_is_left_alone_and_told_of_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    server.error = redis.TimeoutError("slow")
    for _ in range(3):
        tasks.count_unknown()
    assert server.asked == 1
    now += tasks.PAUSE + 1
    tasks.count_unknown()
    assert server.asked == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    now += tasks.PAUSE + 1
    server.error = None
    tasks.count_unknown()
    tasks.count_unknown()
    assert server.asked == 4


def test_nothing_is_counted_where_there_is_no_worker(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(current_app.conf, "task_always_eager", True)
    run("SUCCESS")
    assert server.asked == 0
    assert [metric.name for metric in sources.broker_metrics()] == ["celery_queue_length"]


def test_the_server_is_the_brokers_and_is_not_waited_for() -> None:
    counts = tasks.Counts()
    tls = {"ssl_cert_reqs": "required"}
    url = "rediss://:pw@broker.internal:6380/3"
    with override_settings(CELERY_BROKER_URL=url, CELERY_BROKER_USE_SSL=tls):
        options = counts.server().connection_pool.connection_kwargs
        assert counts.server() is counts.server()
    assert (options["host"], options["port"], options["db"]) == ("broker.internal", 6380, 3)
    assert options["ssl_cert_reqs"] == "required"
    assert options["socket_timeout"] == options["socket_connect_timeout"] == tasks.TIMEOUT


def test_tasks_are_told_with_all_their_outcomes(server: Server) -> None:
    server.maxmemory = 4000
    run("SUCCESS")
    tasks.count_unknown()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in sources.broker_metrics()
        for sample in metric.samples
    }
    assert found["broker_memory_used_bytes",] == 1000
    assert found["broker_memory_max_bytes",] == 4000
    assert found["celery_messages_discarded_total", "unknown"] == 1
    assert found["celery_messages_discarded_total", "expired"] == 0
    assert found["celery_tasks_total", TASK, "success"] == 1
    # From zero on, so that the first failure is a rise.
    assert found["celery_tasks_total", TASK, "failure"] == 0
    assert found["celery_tasks_total", "apps.notifications.tasks.send_email", "failure"] == 0
    assert found["celery_task_duration_seconds_bucket", TASK, "0.1"] == 1
    assert found["celery_task_duration_seconds_count", TASK] == 1
    assert 0 <= found["celery_task_duration_seconds_sum", TASK] < 1


def test_a_server_without_a_limit_has_no_share_of_it(server: Server) -> None:
    found = {metric.name for metric in sources.broker_metrics()}
    assert "broker_memory_used_bytes" in found
    assert "broker_memory_max_bytes" not in found


def test_workers_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "running_workers", lambda: ["one", "two"])
    [metric] = sources.worker_metrics()
    assert metric.samples[0].value == 2


# --- The schedule --------------------------------------------------------------------------------


def schedule() -> dict[str, float]:
    """Return what is told of the schedule."""
    return {metric.name: metric.samples[0].value for metric in sources.database_metrics()}


@pytest.fixture
def _open_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the connection of the test, in which its rows are."""
    monkeypatch.setattr("apps.operations.metrics.sources.connection.close", lambda: None)


@pytest.mark.django_db
@pytest.mark.usefixtures("_open_connection")
def test_the_heartbeat_counts_from_the_release_until_there_is_one() -> None:
    assert "celery_schedule_heartbeat_timestamp_seconds" not in schedule()
    expect_runs()
    ScheduledRun.objects.create(name="an-entry", schedule="x", expected_since=SEEN_AT)
    assert schedule()["celery_schedule_heartbeat_timestamp_seconds"] == SEEN_AT.timestamp()
    later = datetime(2026, 1, 2, tzinfo=UTC)
    Heartbeat.objects.create(name="{{ cookiecutter.__sender }}", seen_at=later)
    assert schedule()["celery_schedule_heartbeat_timestamp_seconds"] == later.timestamp()


@pytest.mark.django_db
@pytest.mark.usefixtures("_open_connection")
def test_overdue_entries_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "overdue_entries", lambda: ["one", "two"])
    assert schedule()["celery_schedule_overdue_entries"] == 2


# --- Certificates --------------------------------------------------------------------------------


def test_only_names_have_certificates() -> None:
    hosts = ["example.com", ".example.org", "10.0.0.7", "[::1]", "localhost"]
    assert names(hosts) == ["example.com", "localhost"]


def test_a_certificate_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    looks: list[str] = []

    def look(host: str) -> Certificate:
        looks.append(host)
        return Certificate(host, 1000.0 if host == "a.example.com" else None)

    monkeypatch.setattr(certificates, "look", look)
    found = Certificates(["a.example.com", "b.example.com"])
    verified, expiry = sources.certificate_metrics(found)
    told = {sample.labels["host"]: sample.value for sample in verified.samples}
    assert told == {"a.example.com": 1, "b.example.com": 0}
    assert [sample.value for sample in expiry.samples] == [1000]
    found.current()
    assert len(looks) == 2
    now += certificates.MAX_AGE + 1
    found.current()
    assert len(looks) == 4


@contextmanager
def connection() -> Iterator[Any]:
    """Be a connection, with and without TLS."""
    yield SimpleNamespace(getpeercert=lambda: {"notAfter": "Jan  1 00:00:00 2026 GMT"})


def test_the_end_of_a_certificate_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: connection())
    context = SimpleNamespace(wrap_socket=lambda plain, server_hostname: connection())
    monkeypatch.setattr(ssl, "create_default_context", lambda: context)
    assert look("example.com") == Certificate("example.com", SEEN_AT.timestamp())


@pytest.mark.parametrize(
    "error", [ssl.SSLCertVerificationError("expired"), TimeoutError("slow"), OSError("refused")]
)
def test_a_certificate_that_is_not_verified_has_no_end(
    monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def refuse(*_: object) -> Callable[..., None]:
        raise error

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert look("example.com") == Certificate("example.com", None)


@pytest.mark.django_db
def test_logins_are_counted_by_how_they_ended(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted() -> list[float]:
        return [
            logins.LOGINS.labels(outcome)._value.get()
            for outcome in ("success", "failure", "refused")
        ]

    User.objects.create_user("ann", password="a pass phrase")
    monkeypatch.setattr(backends, "ACCOUNT", Limit("test", 2, timedelta(days=365)))
    before = counted()
    for password in ("a guess", "a pass phrase", "a guess", "a guess", "a guess"):
        client.post("/accounts/login/", {"username": "ann", "password": password})
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 3, 1]
