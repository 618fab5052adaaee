"""Pings, release and the start of a worker."""

import gc
import logging
import ssl
import sys
import uuid
from datetime import timedelta
from functools import partial
from io import StringIO
from typing import Any, ClassVar

import celery.apps.worker
import pytest
import redis
from celery import current_app
from celery.app.backends import by_url
from celery.apps.worker import Worker
from celery.concurrency import prefork, solo
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.db.models import Model
from django.test import Client, override_settings
from django.utils import timezone

from apps.accounts.models import User
from apps.operations import alerts, heartbeat, pings, programs
from apps.operations.apps import OperationsConfig
from apps.operations.cache import Cache
from apps.operations.management.commands import release
from apps.operations.models import FailedTask, Heartbeat, ScheduledRun
from apps.operations.redis_tls import CertificateError, ConnectionPool, SSLConnection
from apps.operations.results import Backend
from apps.operations.tasks import clear_expired_sessions, record_heartbeat

RECIPIENT = "operator@example.com"


def refuse(*_: Any, **__: Any) -> None:
    """Be a service that is not there."""
    raise ConnectionError("refused\nby the test")


def do_nothing(*_: Any, **__: Any) -> None:
    """Be a service that is there."""


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_had_an_error_is_looked_at_before_it_is_used() -> None:
    pings.ping_database()
    connection.errors_occurred = True
    pings.ping_database()
    assert not connection.errors_occurred


def test_a_cache_that_keeps_nothing_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "set", do_nothing)
    with pytest.raises(ValueError, match="did not keep"):
        pings.ping_cache()


def test_broker_and_results_are_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    pings.ping_broker()
    pings.ping_results()
    monkeypatch.setattr(current_app.conf, "result_backend", "cache+memory://")
    monkeypatch.setattr(pings, "current_app", FakeResults())
    with pytest.raises(ConnectionError, match="refused"):
        pings.ping_results()


class FakeResults:
    """An application whose store of results is not there."""

    class conf:  # noqa: N801 (Celery's name)
        """Its configuration."""

        result_backend = "redis://"

    class backend:  # noqa: N801 (Celery's name)
        """Its store."""

        class client:  # noqa: N801 (Celery's name)
            """Its client."""

            ping = staticmethod(refuse)


@pytest.mark.django_db
def test_release_checks_migrates_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        release, "call_command", lambda name, **options: called.append((name, options))
    )
    output = StringIO()
    call_command("release", stdout=output, no_color=True)
    assert called == [
        ("check", {"deploy": True, "fail_level": "WARNING"}),
        ("migrate", {"interactive": False}),
    ]
    names = ScheduledRun.objects.values_list("name", flat=True)
    assert set(names) == {entry.name for entry in settings.PERIODIC_TASKS}
    assert f"Released {settings.VERSION}." in output.getvalue()


def test_release_says_that_the_database_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperationalError("refused")

    monkeypatch.setattr(release, "call_command", do_nothing)
    monkeypatch.setattr(release, "wait_for_database", fail)
    with pytest.raises(CommandError, match=r"The database does not answer: refused"):
        release.Command(stdout=StringIO()).handle(wait=0)


class FakePostgreSQL:
    """A database whose advisory lock is held by others for some tries."""

    vendor = "postgresql"

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.statements: list[str] = []

    def cursor(self) -> "FakePostgreSQL":
        return self

    def __enter__(self) -> "FakePostgreSQL":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def execute(self, statement: str, _: list[int]) -> None:
        self.statements.append(statement)

    def fetchone(self) -> tuple[bool]:
        self.refusals -= 1
        return (self.refusals < 0,)


def test_a_release_on_sqlite_needs_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    database = FakePostgreSQL(refusals=0)
    database.vendor = "sqlite"
    monkeypatch.setattr(release, "connection", database)
    with release.Command(stdout=StringIO())._lock(0):
        assert database.statements == []


def test_a_release_waits_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    database = FakePostgreSQL(refusals=1)
    monkeypatch.setattr(release, "connection", database)
    monkeypatch.setattr("time.sleep", do_nothing)
    command = release.Command(stdout=StringIO())
    with command._lock(60):
        assert len(database.statements) == 2
    assert "pg_advisory_unlock" in database.statements[-1]


def test_a_release_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "connection", FakePostgreSQL(refusals=1000))
    lock = release.Command(stdout=StringIO())._lock(0)
    with pytest.raises(CommandError, match="held the lock"):
        lock.__enter__()


@pytest.mark.django_db
def test_a_heartbeat_is_one_row() -> None:
    record_heartbeat.delay("{{ cookiecutter.__sender }}")
    record_heartbeat.delay("{{ cookiecutter.__sender }}")
    [row] = Heartbeat.objects.all()
    assert str(row) == "{{ cookiecutter.__sender }}"


@pytest.mark.django_db
def test_expired_sessions_are_deleted() -> None:
    now = timezone.now()
    Session.objects.create(session_key="old", expire_date=now - timedelta(days=1))
    Session.objects.create(session_key="new", expire_date=now + timedelta(days=1))
    clear_expired_sessions.delay()
    assert [session.session_key for session in Session.objects.all()] == ["new"]


@pytest.mark.django_db
def test_what_runs_again_after_a_pause_is_not_overdue() -> None:
    record_heartbeat.delay("{{ cookiecutter.__sender }}")
    long_ago = timezone.now() - timedelta(days=2)
    ScheduledRun.objects.create(name="report", schedule="daily", expected_since=long_ago)
    record_heartbeat.delay("{{ cookiecutter.__sender }}")
    assert ScheduledRun.objects.get().expected_since == long_ago
    Heartbeat.objects.update(seen_at=long_ago)
    record_heartbeat.delay("{{ cookiecutter.__sender }}")
    assert ScheduledRun.objects.get().expected_since > long_ago


@pytest.mark.django_db
def test_a_process_says_what_it_works_with(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(connection, "close", do_nothing)
    monkeypatch.setattr(programs, "ping_cache", refuse)
    programs.prepare("worker")
    [record] = [record for record in caplog.records if record.message == "worker is starting"]
    assert record.database_engine == connection.settings_dict["ENGINE"]  # type: ignore[attr-defined]
    assert "cache does not answer: refused" in caplog.text


@pytest.mark.django_db
def test_what_ends_a_process_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "close", do_nothing)
    programs.prepare("worker")
    error = ValueError("unforeseen")
    sys.excepthook(ValueError, error, None)
    [record] = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert record.message == "the process ends by an error"
    assert record.exc_info == (ValueError, error, None)


@pytest.mark.django_db
@override_settings(ALERT_RECIPIENTS=[RECIPIENT])
def test_a_process_that_the_broker_refuses_starts_and_alerts_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(connection, "close", lambda: closed.append(True))
    monkeypatch.setattr(programs, "ping_broker", refuse)
    for _ in range(3):
        programs.prepare("worker")
    assert "broker does not answer: refused" in caplog.text
    [alert] = mail.outbox
    assert alert.subject.endswith("worker started without the broker")
    assert "refused\nby" not in alert.body
    assert len(closed) == 6


def test_a_process_without_database_does_not_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OperationalError("refused")

    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr("time.sleep", do_nothing)
    monkeypatch.setattr(connection, "close", do_nothing)
    monkeypatch.setattr(programs, "ping_database", fail)
    with pytest.raises(SystemExit):
        programs.prepare("worker")
    assert "waiting for the database: refused" in caplog.text
    assert "worker can't start: the database does not answer: refused" in caplog.text


@pytest.mark.django_db
def test_a_process_does_not_start_with_an_unverified_broker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise CertificateError("set REDIS_CA_FILE")

    monkeypatch.setattr(connection, "close", do_nothing)
    monkeypatch.setattr(programs, "ping_broker", fail)
    with pytest.raises(SystemExit):
        programs.prepare("worker")
    certificate = "the certificate of the broker is not verified: set REDIS_CA_FILE"
    assert f"worker can't start: {certificate}" in caplog.text


@pytest.mark.django_db
@pytest.mark.parametrize("without", ["cache", "database"])
@override_settings(ALERT_RECIPIENTS=[RECIPIENT])
def test_a_process_that_can_not_start_again_and_again_alerts_once(
    monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    if without == "cache":
        monkeypatch.setattr(cache, "add", refuse)
    else:
        monkeypatch.setattr(alerts, "_claim_in_database", refuse)
    for _ in range(3):
        with pytest.raises(SystemExit):
            programs.give_up("worker", "the database does not answer", OperationalError("private"))
    [alert] = mail.outbox
    assert "worker could not start: the database does not answer" in alert.subject
    assert "private" not in alert.body


class FakeWatch:
    """A watch that only notes what it was told."""

    seen: ClassVar[list[str]] = []

    def __init__(self, process: str) -> None:
        self.process = process

    def start(self) -> None:
        """Be started."""
        self.seen.append(f"{self.process} started")

    def stop(self) -> None:
        """Be stopped."""
        self.seen.append(f"{self.process} stopped")


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    FakeWatch.seen.clear()


def test_a_worker_watches_the_schedule_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "Watch", FakeWatch)
    parent: Any = object()
    step = programs.WatchStep(parent)
    step.start(parent)
    step.stop(parent)
    assert FakeWatch.seen == ["worker started", "worker stopped"]


def test_a_worker_prepares_and_prints_no_banner(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []
    options: dict[str, Any] = {}
    monkeypatch.setattr(programs, "prepare", prepared.append)
    monkeypatch.setattr(Worker, "on_before_init", lambda self, **given: options.update(given))
    worker_class = current_app.Worker
    worker_class.on_before_init(worker_class.__new__(worker_class))
    assert prepared == ["worker"]
    assert {programs.HeartbeatStep, programs.WatchStep} <= current_app.steps["worker"]
    assert options["quiet"] is True


def test_a_worker_tells_of_itself_as_rarely_as_it_looks_for_lost_tasks() -> None:
    worker_class = current_app.Worker
    options = worker_class.prepare_args(worker_class.__new__(worker_class), quiet=True)
    assert options == {"quiet": True, "heartbeat_interval": 6}


def test_child_processes_share_what_a_worker_has_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(Worker, "__init__", lambda _: called.append("import"))
    monkeypatch.setattr(Worker, "on_start", lambda _: called.append("start"))
    for name in ("disable", "freeze", "enable"):
        monkeypatch.setattr(gc, name, partial(called.append, name))
    worker = current_app.Worker()
    worker.on_start()
    assert called == ["disable", "import", "start", "freeze", "enable"]
{%- if cookiecutter.process_manager == "prodserver" %}


def test_a_worker_that_fails_ends_its_process_with_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Worker, "start", do_nothing)
    worker: Any = current_app.Worker.__new__(current_app.Worker)
    worker.start()
    worker.exitcode = 1
    with pytest.raises(SystemExit):
        worker.start()
{%- endif %}


@pytest.mark.parametrize(
    ("pool", "handled"), [(prefork.TaskPool, ["SIGTERM"]), (solo.TaskPool, [])]
)
def test_sigterm_is_handled_like_sigquit_where_tasks_can_be_ended(
    monkeypatch: pytest.MonkeyPatch, pool: type[Any], handled: list[str]
) -> None:
    installed: list[str] = []
    monkeypatch.setattr(Worker, "install_platform_tweaks", do_nothing)
    monkeypatch.setattr(
        celery.apps.worker,
        "install_worker_term_hard_handler",
        lambda worker, sig: installed.append(sig),
    )
    worker: Any = current_app.Worker.__new__(current_app.Worker)
    worker.pool_cls = pool
    worker.install_platform_tweaks(worker)
    assert installed == handled


def test_the_worker_touches_its_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(heartbeat, "touch", seen.append)
    monkeypatch.setattr(heartbeat, "stop", lambda process: seen.append(f"{process} stopped"))

    class Parent:
        """A worker with a timer that runs at once."""

        class timer:  # noqa: N801 (Celery's name)
            """Its timer."""

            @staticmethod
            def call_repeatedly(interval: float, function: Any, args: Any) -> None:
                function(*args)

    step = programs.HeartbeatStep(Parent)
    step.start(Parent)  # type: ignore[arg-type]
    programs.show_first_sign_of_life()
    step.stop(Parent)  # type: ignore[arg-type]
    assert seen == ["worker", "worker", "worker stopped"]


def test_what_tasks_print_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[str] = []
    monkeypatch.setattr(current_app.log, "redirect_stdouts", levels.append)
    programs.keep_django_logging()
    assert levels == ["WARNING"]


def test_what_a_worker_says_at_its_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    celery.apps.worker.safe_say("worker: Cold shutdown\n\n(MainProcess)")  # type: ignore[attr-defined]
    assert "worker: Cold shutdown (MainProcess)" in caplog.text


def test_a_certificate_that_is_not_verified_names_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: object) -> None:
        try:
            raise ssl.SSLCertVerificationError(1, "self-signed certificate")
        except ssl.SSLCertVerificationError as error:
            error.verify_message = "self-signed certificate"
            raise redis.ConnectionError("failed") from error

    monkeypatch.setattr(redis.SSLConnection, "connect", fail)
    with pytest.raises(CertificateError, match=r"broker:6379.*self-signed.*REDIS_CA_FILE"):
        SSLConnection(host="broker", port=6379).connect()


def test_another_failure_to_connect_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise redis.ConnectionError("refused")

    monkeypatch.setattr(redis.SSLConnection, "connect", fail)
    with pytest.raises(redis.ConnectionError, match="refused"):
        SSLConnection(host="broker", port=6379).connect()


@pytest.mark.parametrize(
    ("scheme", "connection_class"), [("rediss", SSLConnection), ("redis", redis.Connection)]
)
def test_the_cache_connects_as_its_url_says(scheme: str, connection_class: type[Any]) -> None:
    pool = ConnectionPool.from_url(f"{scheme}://broker:6379/0")
    assert pool.connection_class is connection_class


def test_the_cache_asks_each_server_by_one_client() -> None:
    client = Cache("redis://primary:6379/0;redis://replica:6379/0", {})._cache
    for write, host in ((True, "primary"), (False, "replica")):
        server = client.get_client("one", write=write)
        assert client.get_client("other", write=write) is server
        assert server.connection_pool.connection_kwargs["host"] == host


@pytest.mark.parametrize("scheme", ["rediss", "redis"])
def test_results_are_kept_over_the_same_connections(scheme: str) -> None:
    found: Any = by_url(f"{scheme}://broker:6379/0", current_app.loader)
    assert found[0] is Backend
    assert Backend.ConnectionPool is ConnectionPool


@pytest.mark.parametrize(("requirement", "warnings"), [("none", 1), ("required", 0)])
def test_verification_turned_off_is_logged(
    caplog: pytest.LogCaptureFixture, requirement: str, warnings: int
) -> None:
    config = OperationsConfig.create("apps.operations")
    with override_settings(REDIS_TLS={"ssl_cert_reqs": requirement}):
        config.ready()
    assert caplog.text.count("REDIS_TLS_VERIFY is off") == warnings


@pytest.mark.django_db
@pytest.mark.parametrize("model", [Heartbeat, FailedTask, ScheduledRun])
def test_what_the_service_writes_is_shown_in_the_admin_and_not_edited(
    client: Client, model: type[Model]
) -> None:
    administrator = User.objects.create_superuser(username=uuid.uuid4().hex)
    client.force_login(administrator)
    record_heartbeat.delay("{{ cookiecutter.__sender }}")
    now = timezone.now()
    FailedTask.objects.create(task="task", task_id="1", reason="ValueError", failed_at=now)
    ScheduledRun.objects.create(name="report", schedule="daily", expected_since=now)
    address = f"/admin/operations/{model._meta.model_name}"
    row = model._default_manager.get()
    page = client.get(f"{address}/")
    assert page.status_code == 200
    assert client.get(f"{address}/add/").status_code == 403
    page = client.get(f"{address}/{row.pk}/change/")
    assert str(row) in page.content.decode()
    assert b'name="_save"' not in page.content
