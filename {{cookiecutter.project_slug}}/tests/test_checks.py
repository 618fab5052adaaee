"""What each check looks at; real servers are broken by tests of the template."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import current_app
from django.conf import settings
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core import checks as django_checks
from django.db import connection
from django.utils import timezone

from apps.operations.checks import broker, configuration, database, disk, schedule, workers
from apps.operations.models import Heartbeat, ScheduledRun
from apps.operations.overdue import OverdueEntry
from apps.operations.redis_tls import CertificateError
from apps.operations.tasks import record_heartbeat
from apps.operations.workers import UNKNOWN, RunningWorker

PRODUCTION = "{{ cookiecutter.project_slug }}.settings.production"


def failing(error: Exception) -> Callable[..., None]:
    """Return a service that is not there."""

    def fail(*_: Any) -> None:
        raise error

    return fail


@pytest.fixture
def _deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", PRODUCTION)


@pytest.fixture
def _not_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(current_app.conf, "task_always_eager", False)


# Configuration


@pytest.mark.usefixtures("_deployed")
def test_what_django_finds_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", [])
    problems = configuration.check_configuration()
    assert any(problem.startswith("security.W020: ALLOWED_HOSTS must") for problem in problems)


def test_a_finding_is_told_with_its_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        django_checks.Warning("one", hint="Do it.", id="a.W001"),
        django_checks.Error("two", id="a.E001"),
        django_checks.Info("three", id="a.I001"),
    ]
    monkeypatch.setattr(django_checks, "run_checks", lambda **_: findings)
    assert configuration.check_configuration() == ["a.W001: one Do it.", "a.E001: two"]


@pytest.mark.parametrize(("environment", "problems"), [("production", 1), ("testing", 0), ("", 0)])
def test_local_settings_are_a_problem_where_others_are_meant(
    monkeypatch: pytest.MonkeyPatch, environment: str, problems: int
) -> None:
    monkeypatch.setenv("DJANGO_ENVIRONMENT", environment)
    found = configuration.check_configuration()
    assert len(found) == problems
    for problem in found:
        assert problem.endswith("is production: unset DJANGO_SETTINGS_MODULE.")


@pytest.mark.usefixtures("_deployed")
@pytest.mark.parametrize(
    ("hosts", "domains", "problems"),
    [
        (["example.com"], ["example.com"], 0),
        (["WWW.Example.com"], ["example.com"], 0),
        ([".example.com"], ["Example.com", "shop.example.com"], 0),
        (["example.com"], ["example.com", "example.org"], 1),
        (["example.com"], ["www.example.com"], 1),
        (["notexample.com"], ["example.com"], 1),
        ([], ["example.com"], 1),
        (["*"], ["example.com"], 1),
    ],
)
def test_allowed_hosts_must_answer_for_the_site(
    monkeypatch: pytest.MonkeyPatch, hosts: list[str], domains: list[str], problems: int
) -> None:
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", hosts)
    monkeypatch.setattr(settings, "SITE_DOMAINS", domains)
    monkeypatch.setattr(settings, "CSRF_TRUSTED_ORIGINS", [])
    found = configuration.check_hosts()
    assert len(found) == problems
    for problem in found:
        assert problem.startswith("ALLOWED_HOSTS ")


@pytest.mark.usefixtures("_deployed")
@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("https://example.com", None),
        ("https://example.com:8443", None),
        ("https://*.example.org", None),
        ("https://shop.example.org", None),
        ("http://example.com", "write https://."),
        ("https://*.example.com", "which ALLOWED_HOSTS does not answer"),
        ("https://example.net", "which ALLOWED_HOSTS does not answer"),
    ],
)
def test_origins_must_be_those_of_the_hosts(
    monkeypatch: pytest.MonkeyPatch, origin: str, words: str | None
) -> None:
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", ["example.com", ".example.org"])
    monkeypatch.setattr(settings, "SITE_DOMAINS", ["example.com"])
    monkeypatch.setattr(settings, "CSRF_TRUSTED_ORIGINS", [origin])
    found = configuration.check_hosts()
    assert len(found) == (words is not None)
    for problem in found:
        assert words is not None
        assert words in problem


def test_hosts_of_a_local_machine_are_free() -> None:
    assert configuration.check_hosts() == []


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with one collected file and the list of it."""
    (tmp_path / "site.1.css").write_text("")
    storage = ManifestStaticFilesStorage(location=tmp_path, base_url="/static/")
    storage.hashed_files = {"site.css": "site.1.css"}
    storage.save_manifest()
    monkeypatch.setattr(configuration, "staticfiles_storage", storage)
    return tmp_path


def test_collected_static_files_are_there(collected: Path) -> None:
    assert configuration.check_static_files() == []


def test_a_missing_static_file_is_a_problem(collected: Path) -> None:
    (collected / "site.1.css").unlink()
    [problem] = configuration.check_static_files()
    assert problem.startswith("1 of 1 are missing in ")
    assert ", as site.1.css: run python manage.py collectstatic" in problem


def test_static_files_that_were_not_collected_are_a_problem(collected: Path) -> None:
    (collected / "staticfiles.json").unlink()
    [problem] = configuration.check_static_files()
    assert problem.startswith("staticfiles.json is missing or empty in ")


def test_static_files_that_nobody_collects_are_no_problem() -> None:
    assert configuration.check_static_files() == []


# Disk


@pytest.mark.parametrize(
    ("total", "free", "problem"),
    [(2 * 1024**4, 2 * 1024**3, False), (64 * 1024**2, 4 * 1024**2, False), (1024**3, 1024, True)],
    ids=["much of a large disk", "enough of a small disk", "nearly full"],
)
def test_a_disk_that_is_nearly_full_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, total: int, free: int, problem: bool
) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: SimpleNamespace(total=total, free=free, used=total - free)
    )
    found = disk.check_disk()
    assert bool(found) == problem
    for line in found:
        assert "is nearly full: 0 MB of 1024 MB are free" in line


# Database


class FakeDatabase:
    """A PostgreSQL that answers what it is told to."""

    def __init__(self, *answers: Any, vendor: str = "postgresql") -> None:
        self.vendor = vendor
        self.settings_dict = {"NAME": "shop", "HOST": "db.internal"}
        self._answers = iter(answers)

    def cursor(self) -> "FakeDatabase":
        return self

    def __enter__(self) -> "FakeDatabase":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def execute(self, statement: str) -> None:
        """Take a question; the answers are known."""

    def fetchone(self) -> Any:
        return next(self._answers)

    fetchall = fetchone


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("FATAL:  password authentication failed for user", "write the role's own password"),
        ("sorry, too many clients already", "stop what holds connections"),
        ("remaining connection slots are reserved", "stop what holds connections"),
        ("Connection refused\n\tIs the server running", "is it running, and is DATABASE_URL"),
        ("", "is it running, and is DATABASE_URL right?"),
    ],
)
def test_a_database_that_does_not_answer_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, error: str, advice: str
) -> None:
    monkeypatch.setattr(database, "connection", FakeDatabase())
    monkeypatch.setattr(database, "ping_database", failing(ConnectionError(error)))
    [problem] = database.check_database()
    why = " ".join(error.split()) or "ConnectionError"
    assert problem.startswith(f"shop at db.internal can't be used ({why}): {advice}")


PLENTY = [("max_connections of the server", 97, 10)]


@pytest.mark.parametrize(
    ("state", "limits", "words"),
    [
        ((False, "off"), PLENTY, None),
        ((True, "on"), PLENTY, "shop at db.internal is a read-only standby"),
        ((False, "on"), PLENTY, "shop at db.internal is read-only (default_transaction_read_only)"),
        ((False, "off"), [*PLENTY, ("the limit of the role shop", 9, 5)], "has 4 of 9 connections"),
        ((False, "off"), [("the limit of the role shop", 9, 12)], "has 0 of 9 connections left ("),
    ],
)
def test_a_database_must_take_writes_and_connections(
    monkeypatch: pytest.MonkeyPatch, state: Any, limits: Any, words: str | None
) -> None:
    monkeypatch.setattr(database, "connection", FakeDatabase(state, limits))
    monkeypatch.setattr(database, "ping_database", lambda: None)
    found = database.check_database()
    assert len(found) == (words is not None)
    for problem in found:
        assert words is not None
        assert words in problem


@pytest.mark.django_db
def test_the_database_of_the_tests_is_well() -> None:
    assert database.check_database() == []
    assert database.check_clock() == []


@pytest.mark.django_db
def test_pending_migrations_are_a_problem() -> None:
    assert database.check_migrations() == []
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'operations'")
    [problem] = database.check_migrations()
    assert "operations.0001_initial" in problem
    assert "manage.py release" in problem


@pytest.mark.parametrize(
    ("before", "seconds", "after", "apart"),
    [(100, 100, 100, None), (100, 96, 130, None), (100, 90, 101, 10), (100, 200, 101, 99)],
)
def test_a_clock_apart_from_that_of_the_database_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, before: float, seconds: float, after: float, apart: int | None
) -> None:
    clock = iter([before, after])
    monkeypatch.setattr(database, "time", SimpleNamespace(time=lambda: next(clock)))
    monkeypatch.setattr(database, "connection", FakeDatabase([seconds]))
    found = database.check_clock()
    assert len(found) == (apart is not None)
    for problem in found:
        assert f"of the database are {apart} seconds apart" in problem


def test_a_database_without_server_need_only_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "connection", FakeDatabase(vendor="sqlite"))
    monkeypatch.setattr(database, "ping_database", lambda: None)
    assert database.check_database() == database.check_clock() == []


# Cache and broker


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionError("refused"), "does not answer (refused): is it running, and is "),
        (redis.AuthenticationError("WRONGPASS"), "refuses the password (WRONGPASS): correct"),
        (CertificateError("not verified"), "is not trusted: not verified"),
    ],
)
def test_a_server_that_can_not_be_used_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    for ping in ("ping_cache", "ping_broker", "ping_results"):
        monkeypatch.setattr(broker, ping, failing(error))
    [cache] = broker.check_cache()
    assert cache.startswith(f"the cache {words}")
    first, second = broker.check_broker()
    assert first.startswith(f"the broker {words}")
    assert second.startswith(f"the store of results {words}")


def test_a_broker_in_memory_has_none_of_its_own() -> None:
    assert broker.check_broker_memory() == []


class FakeBroker:
    """A connection to a Redis that tells of its memory, or refuses to."""

    transport = SimpleNamespace(driver_type="redis")

    def __init__(self, memory: dict[str, Any] | None) -> None:
        self._memory = memory
        self.default_channel = SimpleNamespace(client=self)

    def __enter__(self) -> "FakeBroker":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def connect(self) -> None:
        """Be connected."""

    def info(self, section: str) -> dict[str, Any]:
        assert section == "memory"
        if self._memory is None:
            raise redis.ResponseError("unknown command 'INFO'")
        return self._memory


MEGABYTE = 1024**2


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        (None, []),
        ({}, []),
        ({"maxmemory": 0, "used_memory": 500, "maxmemory_policy": "noeviction"}, []),
        ({"maxmemory": 100 * MEGABYTE, "used_memory": 89 * MEGABYTE}, []),
        ({"maxmemory": 100 * MEGABYTE, "used_memory": 91 * MEGABYTE}, ["91 MB of 100 MB are used"]),
        ({"maxmemory_policy": "volatile-lru"}, ["maxmemory-policy is volatile-lru"]),
    ],
)
def test_a_broker_must_keep_its_tasks(
    monkeypatch: pytest.MonkeyPatch, memory: dict[str, Any] | None, words: list[str]
) -> None:
    monkeypatch.setattr(current_app, "connection_for_write", lambda: FakeBroker(memory))
    found = broker.check_broker_memory()
    assert len(found) == len(words)
    for problem, start in zip(found, words, strict=True):
        assert problem.startswith(start)


# Workers and queues

QUEUES = tuple(queue.name for queue in settings.CELERY_TASK_QUEUES)


def worker(**differences: Any) -> RunningWorker:
    """Return a worker like this process, but for some differences."""
    values = {
        "name": "celery@one",
        "version": settings.VERSION,
        "settings": configuration.settings_module(),
        "queues": QUEUES,
        "concurrency": 2,
        "clock": 0.1,
        "tasks": (),
    }
    return RunningWorker(**{**values, **differences})


@pytest.mark.usefixtures("_not_eager")
@pytest.mark.parametrize(
    ("found", "problems"),
    [
        ([worker()], []),
        ([worker(queues=QUEUES[:1]), worker(queues=QUEUES[1:])], []),
        ([], ["none answers: start one"]),
        ([worker(queues=QUEUES[1:])], [f"none reads the queue {QUEUES[0]}: start one"]),
        ([worker(version="0.0.1")], ["celery@one runs version 0.0.1, this process "]),
        ([worker(settings=PRODUCTION)], [f"celery@one runs with {PRODUCTION}, this process with "]),
        ([worker(clock=-9.6)], ["the clocks of this machine and of celery@one are 10 seconds"]),
        ([worker(version=UNKNOWN, queues=())], ["celery@one runs older code"]),
    ],
    ids=["well", "shared", "none", "unread", "version", "settings", "clock", "older"],
)
def test_workers_must_be_there_and_like_this_process(
    monkeypatch: pytest.MonkeyPatch, found: list[RunningWorker], problems: list[str]
) -> None:
    asked: list[tuple[float, ...]] = []

    def running_workers(*patience: float) -> list[RunningWorker]:
        asked.append(patience)
        return found

    monkeypatch.setattr(workers, "running_workers", running_workers)
    lines = workers.check_workers()
    assert len(lines) == len(problems)
    for line, start in zip(lines, problems, strict=True):
        assert line.startswith(start)
    missing = any(start.startswith("none ") for start in problems)
    assert asked == ([(), (workers.SECOND_PATIENCE,)] if missing else [()])


def test_where_tasks_run_at_once_there_is_no_worker() -> None:
    assert workers.check_workers() == []


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (99, None, None),
        (100, 99, None),
        (100, 100, "100 tasks wait in default, 100 of them a second ago"),
        (1500, 1200, "1200 tasks wait in default: start more workers"),
        (1500, 900, None),
    ],
)
def test_a_queue_that_does_not_become_shorter_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, first: int, second: int | None, words: str | None
) -> None:
    lengths = iter([first, second])
    monkeypatch.setattr(
        workers, "waiting_tasks", lambda: {"default": next(lengths), "maintenance": 0}
    )
    monkeypatch.setattr("time.sleep", lambda _: None)
    found = workers.check_queues()
    assert len(found) == (words is not None)
    for problem in found:
        assert words is not None
        assert problem.startswith(words)


@pytest.mark.django_db
def test_a_task_that_nobody_runs_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "ROUND_TRIP_TIMEOUT", 0.1)
    monkeypatch.setattr(record_heartbeat, "apply_async", lambda *_, **__: None)
    [problem] = workers.check_round_trip()
    assert "queue maintenance" in problem


# The schedule


@pytest.mark.django_db
@pytest.mark.usefixtures("_not_eager")
def test_an_old_heartbeat_of_the_schedule_is_a_problem() -> None:
    record_heartbeat("{{ cookiecutter.__sender }}")
    assert schedule.check_{{ cookiecutter.__sender }}() == []
    Heartbeat.objects.update(seen_at=timezone.now() - timedelta(minutes=20))
    [problem] = schedule.check_{{ cookiecutter.__sender }}()
    assert problem.startswith("sent its last heartbeat 120")
    assert problem.endswith(" seconds ago: do {{ cookiecutter.__sender }} and a worker run?")


@pytest.mark.django_db
@pytest.mark.usefixtures("_not_eager")
def test_a_new_deployment_may_take_its_time_for_the_first_heartbeat() -> None:
    [problem] = schedule.check_{{ cookiecutter.__sender }}()
    assert "run python manage.py release" in problem
    ScheduledRun.objects.create(name="any", schedule="any", expected_since=timezone.now())
    assert schedule.check_{{ cookiecutter.__sender }}() == []
    ScheduledRun.objects.update(expected_since=timezone.now() - timedelta(minutes=16))
    [problem] = schedule.check_{{ cookiecutter.__sender }}()
    assert "has sent no heartbeat since the release 96" in problem


@pytest.mark.django_db
@pytest.mark.usefixtures("_not_eager")
def test_an_overdue_entry_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = OverdueEntry("report", due=timezone.now(), last_run=None)
    monkeypatch.setattr(schedule, "overdue_entries", lambda: [entry])
    [problem] = schedule.check_schedule()
    assert problem.startswith("report was due at ")
    assert problem.endswith("; it never ran.")
