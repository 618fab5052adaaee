"""`doctor` names what was stopped, broken or misconfigured, and nothing on a healthy system.

One stack with real servers and processes is broken in one way after the other and mended again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis as redis_client

from tests.conftest import Bake
from tests.processes import Process, Stack, container_environment, wait_until
from tests.production import (
    HOST,
    SECRET_KEY,
    prepare,
    production,
    production_environment,
    query,
)
from tests.servers.postgres import Postgres, PostgresServer
from tests.servers.postgres_tls import tls_postgres
from tests.servers.redis import Redis
from tests.servers.smtp import SMTPServer
from tests.servers.tls import Authority, TLSProxy
from tests.users import quicken_presence, replace_once

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("doctor")]

# In seconds: by then doctor has named what is wrong, its start included.
LIMIT = 10
WRONG_PASSWORD = "never-to-be-shown"
BROKER_PASSWORD = "broker-password-never-to-be-shown"
PACKAGE = "my_project.settings"
REQUIRED = ("SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL", "EMAIL_HOST")

# Runs the checks as often as it is told to on each line of its input, five runs at a time.
LOOP = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from apps.operations.checks import run_checks

def run(_):
    return [[r.check, r.problems, r.skipped] for r in run_checks() if not r.passed]

with ThreadPoolExecutor(5) as pool:
    for line in sys.stdin:
        print(json.dumps(list(pool.map(run, range(int(line))))), flush=True)
"""

# A module for Python's start by which a process has another clock than the machine.
CLOCK = """
import time
now = time.time
time.time = lambda: now() + 600
"""

CARELESS = """
from .production import *

DEBUG = True
SECRET_KEY = "django-insecure-short"
ALLOWED_HOSTS = ["*"]
"""


class Watcher:
    """A process of the project that runs all checks when it is asked to, without starting anew."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        """Start it.

        Args:
            stack: the project.
            folder: an existing folder for temporary files.
        """
        self._process = subprocess.Popen(
            ["python", "manage.py", "shell", "--command", LOOP],
            cwd=stack.project,
            env=container_environment(folder, stack.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, times: int = 1) -> list[list[Any]]:
        """Return what the checks found that did not pass, for each run.

        Args:
            times: how often they are run.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("["):
                found: list[list[Any]] = json.loads(line)
                return found
        raise AssertionError(f"the process ended with {self._process.wait()}")


@dataclass
class Site:
    """A running project."""

    stack: Stack
    postgres: Postgres
    broker: Redis
    database_url: str
    worker: Process
    beat: Process
    watcher: Watcher
    authority: Authority
    folder: Path

    @property
    def database(self) -> str:
        """The database's name."""
        return urlsplit(self.database_url).path.lstrip("/")

    def sql(self, statement: str) -> None:
        """Change something as the database's administrator."""
        url = at(self.postgres.admin_url, path=f"/{self.database}")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)

    def redis(self, *command: str | int) -> Any:
        """Send a command to the broker."""
        with redis_client.Redis.from_url(self.broker.url()) as client:
            return client.execute_command(*command)

    def takes_connections(self) -> bool:
        """Return whether the database has a free connection."""
        try:
            psycopg.connect(self.database_url).close()
        except psycopg.OperationalError:
            return False
        return True


Variables = Mapping[str, str]
Lines = Sequence[tuple[str, str]]
# Breaks something, notes how that is undone, and returns what doctor is told besides.
Fault = Callable[[Site, ExitStack], Variables]


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A default project with the apps of the tests."""
    folder = Path(shutil.copytree(bake(), tmp_path_factory.mktemp("doctor") / "my_project"))
    quicken_presence(folder)
    (folder / "my_project" / "settings" / "careless.py").write_text(CARELESS)
    return prepare(folder)


@pytest.fixture(scope="module")
def site(
    project: Path,
    postgres: PostgresServer,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The project with worker and beat, which the tests below share and break."""
    if not isinstance(postgres, Postgres):
        pytest.skip("DATABASE_URL names a server that this test cannot stop")
    with ExitStack() as servers:
        broker = servers.enter_context(Redis(password=BROKER_PASSWORD))
        mail = servers.enter_context(SMTPServer())
        database_url = postgres.create_database()
        environment = production_environment(database_url, broker.url(), EMAIL_PORT=str(mail.port))
        stack = servers.enter_context(production(project, environment))
        watcher = Watcher(stack, tmp_path_factory.mktemp("watcher"))
        site = Site(
            stack=stack,
            postgres=postgres,
            broker=broker,
            database_url=database_url,
            worker=stack.worker(),
            beat=stack.beat(),
            watcher=servers.enter_context(watcher),
            authority=authority,
            folder=tmp_path_factory.mktemp("site"),
        )
        wait_until_healthy(site)
        yield site


def wait_until_healthy(site: Site) -> None:
    """Wait until no check finds anything."""
    last: list[Any] = []

    def healthy() -> bool:
        last[:] = site.watcher.run()
        return last == [[]]

    try:
        wait_until(healthy, 90, "a healthy system")
    except AssertionError as error:
        for process in (site.worker, site.beat):
            error.add_note(process.tail(20))
        error.add_note(f"found: {last}")
        raise


def doctor(site: Site, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run doctor, which must be quick and tell no secret, whatever it finds.

    Args:
        site: the project.
        arguments: its arguments.
        variables: variables that it has besides those of the other processes.
    """
    started = time.monotonic()
    result = site.stack.manage("doctor", *arguments, timeout=60, **variables)
    seconds = time.monotonic() - started
    # Where more wants to run than there are processors for, all takes longer in proportion.
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert seconds < LIMIT * busy, f"doctor took {seconds:.1f} s"
    output = result.stdout + result.stderr
    assert "Traceback" not in output, output
    database_password = urlsplit(site.database_url).password
    for secret in (WRONG_PASSWORD, BROKER_PASSWORD, SECRET_KEY, database_password):
        assert secret and secret not in output
    return result


def assert_named(site: Site, lines: Lines, **variables: str) -> None:
    """Expect that doctor names problems.

    Args:
        site: the project.
        lines: check and words; there must be a line of the check that holds the words.
        variables: variables that doctor has besides those of the other processes.
    """
    result = doctor(site, **variables)
    assert result.returncode == 1, result.stdout + result.stderr
    output = (result.stdout + result.stderr).splitlines()
    for check, words in lines:
        start = f"PROBLEM  {check}: " if check else ""
        assert any(line.startswith(start) and words in line for line in output), (
            f"no line of {check or 'the settings'} with {words!r} in\n" + "\n".join(output)
        )


def test_a_healthy_system_has_no_problem_in_50_runs(site: Site) -> None:
    assert site.watcher.run(50) == [[]] * 50


def test_doctor_says_with_what_it_looked(site: Site) -> None:
    result = doctor(site)
    assert result.returncode == 0, result.stdout
    first, *others = result.stdout.splitlines()
    assert first == f"my_project 0.1.0 with {PACKAGE}.production"
    assert all(line.startswith("ok       ") for line in others)
    report = json.loads(doctor(site, "--json").stdout)
    assert report["healthy"] is True
    assert (report["version"], report["settings"]) == ("0.1.0", f"{PACKAGE}.production")


# --- What doctor may be told wrongly: it gets these variables besides the right ones -------------


def blank(site: Site) -> Variables:
    """Return blanks for all that production requires."""
    return dict.fromkeys(REQUIRED, " ")


def at(url: str, **changes: Any) -> str:
    """Return a URL with another `username`, `password`, `port` or part of `urlsplit`."""
    parts = urlsplit(url)
    username = changes.pop("username", parts.username or "")
    password = changes.pop("password", parts.password)
    port = changes.pop("port", parts.port)
    location = f"{username}:{password}@{parts.hostname}:{port}"
    return urlunsplit(parts._replace(netloc=location, **changes))


# Either the client's patience ends first, or doctor's.
HANGING_BROKER = [("cache", " answer"), ("broker", " answer")]

# Name -> the variables, and the lines by which the fault is named. What the settings refuse is
# under no check.
MISTAKES: dict[str, tuple[Callable[[Site], Variables], Lines]] = {
    "missing variable": (
        lambda _: {"SECRET_KEY": ""},
        [("", "Missing or blank: SECRET_KEY.")],
    ),
    "blank variables": (blank, [("", f"Missing or blank: {', '.join(REQUIRED)}.")]),
    "unknown environment": (
        lambda _: {"DJANGO_ENVIRONMENT": "prod"},
        [("", "DJANGO_ENVIRONMENT is 'prod'; it must be one of")],
    ),
    "unknown settings": (
        lambda _: {"DJANGO_SETTINGS_MODULE": "config.production"},
        [("", "'config.production', and there is no such module")],
    ),
    "short secret key": (
        lambda _: {"SECRET_KEY": "short"},
        [("", "SECRET_KEY is too weak: it needs at least 50 random characters")],
    ),
    "misspelt variable": (
        lambda _: {"SENTRY_DNS": "https://key@errors.example.com/1"},
        [("configuration", "SENTRY_DNS is set, and nothing reads it: is SENTRY_DSN meant?")],
    ),
    "development settings": (
        lambda _: {"DJANGO_SETTINGS_MODULE": f"{PACKAGE}.development"},
        [
            ("configuration", f"chooses {PACKAGE}.development although DJANGO_ENVIRONMENT is prod"),
            ("workers", f"with {PACKAGE}.production, this process with {PACKAGE}.development"),
        ],
    ),
    "careless settings": (
        lambda _: {"DJANGO_SETTINGS_MODULE": f"{PACKAGE}.careless"},
        [
            ("configuration", "security.W018: You should not have DEBUG set to True"),
            ("configuration", "security.W009: Your SECRET_KEY has less than 50 characters"),
            ("hosts", "ALLOWED_HOSTS holds *"),
        ],
    ),
    "wrong host": (
        lambda _: {"ALLOWED_HOSTS": "www.exmaple.com"},
        [("hosts", "ALLOWED_HOSTS (www.exmaple.com) has no host of example.com")],
    ),
    "origin without TLS": (
        lambda _: {"CSRF_TRUSTED_ORIGINS": f"http://{HOST}"},
        [("hosts", f"CSRF_TRUSTED_ORIGINS holds http://{HOST}")],
    ),
    "foreign origin": (
        lambda _: {"CSRF_TRUSTED_ORIGINS": "https://example.org"},
        [("hosts", "holds https://example.org, which ALLOWED_HOSTS does not answer")],
    ),
    "wrong password of the database": (
        lambda site: {"DATABASE_URL": at(site.database_url, password=WRONG_PASSWORD)},
        [("database", "write the role's own password into DATABASE_URL")],
    ),
    "no such database": (
        lambda site: {"DATABASE_URL": at(site.database_url, path="/elsewhere")},
        [("database", "correct the name in DATABASE_URL")],
    ),
    "wrong password of the broker": (
        lambda site: {"REDIS_URL": at(site.broker.url(), password=WRONG_PASSWORD)},
        [
            ("cache", "the cache refuses the password"),
            ("broker", "the broker refuses the password"),
        ],
    ),
    "no password for the broker": (
        lambda site: {"CELERY_BROKER_URL": f"redis://127.0.0.1:{site.broker.port}/0"},
        [("broker", "the broker refuses the password")],
    ),
    "TLS to a broker that has none": (
        lambda site: {"REDIS_URL": site.broker.url().replace("redis://", "rediss://")},
        HANGING_BROKER,
    ),
    "wrong address of the results": (
        lambda site: {"CELERY_RESULT_BACKEND": at(site.broker.url(), port=1)},
        [("broker", "the store of results does not answer")],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_doctor_names_what_it_was_told_wrongly(site: Site, mistake: str) -> None:
    variables, lines = MISTAKES[mistake]
    assert_named(site, lines, **variables(site))


# --- What may be broken --------------------------------------------------------------------------


def stopped_database(site: Site, undo: ExitStack) -> Variables:
    """PostgreSQL is stopped."""
    site.postgres.stop()
    undo.callback(site.postgres.recover)
    return {}


def frozen_database(site: Site, undo: ExitStack) -> Variables:
    """PostgreSQL accepts connections and says nothing."""
    site.postgres.freeze()
    undo.callback(site.postgres.recover)
    return {}


def other_certificate_of_the_database(site: Site, undo: ExitStack) -> Variables:
    """PostgreSQL's certificate is not of the CA that doctor is told of."""
    other = Authority(site.folder).server_context()
    port = undo.enter_context(tls_postgres(site.postgres, other))
    authority = site.authority.file.read_text()
    return {"DATABASE_URL": at(site.database_url, port=port), "DATABASE_CA": authority}


def read_only_role(site: Site, undo: ExitStack) -> Variables:
    """PostgreSQL refuses the role's writes."""
    site.sql("CREATE ROLE reader LOGIN PASSWORD 'reader-password' IN ROLE application")
    undo.callback(site.sql, "DROP ROLE reader")
    site.sql("ALTER ROLE reader SET default_transaction_read_only = on")
    return {"DATABASE_URL": at(site.database_url, username="reader", password="reader-password")}


def standby(site: Site, undo: ExitStack) -> Variables:
    """DATABASE_URL names a server that follows the primary."""
    url = undo.enter_context(site.postgres.standby())
    return {"DATABASE_URL": at(site.database_url, port=urlsplit(url).port)}


def connections(site: Site, undo: ExitStack, left: int) -> Variables:
    """Others hold all connections but some."""
    held: list[psycopg.Connection[Any]] = []
    with suppress(psycopg.OperationalError):
        while True:
            held.append(psycopg.connect(site.database_url))
            undo.callback(held[-1].close)
    for connection in held[:left]:
        connection.close()
    if left:
        wait_until(site.takes_connections, 10, "a free connection")
    return {}


def limit(site: Site, undo: ExitStack, what: str, column: str) -> Variables:
    """A role or a database may have few connections more."""
    count = f"SELECT count(*) FROM pg_stat_activity WHERE {column}"
    # The fewest of some looks: what opens one for a moment is not there for doctor.
    used = min(query(site.postgres.admin_url, count)[0][0] for _ in range(20))
    site.sql(f"ALTER {what} CONNECTION LIMIT {used + 4}")
    undo.callback(site.sql, f"ALTER {what} CONNECTION LIMIT -1")
    return {}


def limited_role(site: Site, undo: ExitStack) -> Variables:
    """The role's own limit is nearly reached."""
    return limit(site, undo, "ROLE application", "usename = 'application'")


def limited_database(site: Site, undo: ExitStack) -> Variables:
    """The database's own limit is nearly reached."""
    return limit(site, undo, f"DATABASE {site.database}", f"datname = '{site.database}'")


def pending_migration(site: Site, undo: ExitStack) -> Variables:
    """The database does not know of a migration."""
    change = "UPDATE django_migrations SET app = '{}' WHERE app = '{}'"
    site.sql(change.format("elsewhere", "sessions"))
    undo.callback(site.sql, change.format("sessions", "elsewhere"))
    return {}


def other_clock_of_the_database(site: Site, undo: ExitStack) -> Variables:
    """PostgreSQL says another time."""
    site.sql("CREATE SCHEMA clock")
    undo.callback(site.sql, "DROP SCHEMA clock CASCADE")
    site.sql("GRANT USAGE ON SCHEMA clock TO PUBLIC")
    site.sql(
        "CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
        " RETURN pg_catalog.clock_timestamp() + interval '1 hour'"
    )
    site.sql(f"ALTER DATABASE {site.database} SET search_path = clock, pg_catalog, public")
    undo.callback(site.sql, f"ALTER DATABASE {site.database} RESET search_path")
    return {}


def stopped_broker(site: Site, undo: ExitStack) -> Variables:
    """Redis is stopped."""
    site.broker.stop()
    undo.callback(site.broker.recover)
    return {}


def frozen_broker(site: Site, undo: ExitStack) -> Variables:
    """Redis accepts connections and says nothing."""
    site.broker.freeze()
    undo.callback(site.broker.recover)
    return {}


def unknown_certificate_of_the_broker(site: Site, undo: ExitStack) -> Variables:
    """The broker's certificate is of a CA that doctor is not told of."""
    context = site.authority.server_context()
    proxy = undo.enter_context(TLSProxy(site.broker.port, context))
    return {"REDIS_URL": f"rediss://:{BROKER_PASSWORD}@localhost:{proxy.port}/0"}


def read_only_cache(site: Site, undo: ExitStack) -> Variables:
    """The cache is a replica; the broker is another server."""
    cache, broker = undo.enter_context(Redis()).url(), site.broker.url()
    with redis_client.Redis.from_url(cache) as client:
        client.replicaof("127.0.0.1", 1)
    return {"REDIS_URL": cache, "CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": broker}


def forgetful_broker(site: Site, undo: ExitStack) -> Variables:
    """Redis throws keys away when its memory is full."""
    site.redis("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    undo.callback(site.redis, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    return {}


def full_broker(site: Site, undo: ExitStack) -> Variables:
    """Redis has little memory left."""
    # So much that what clients use at times is little beside it.
    site.redis("SETRANGE", "ballast", 64 * 1024**2, "x")
    undo.callback(site.redis, "DEL", "ballast")
    used = int(site.redis("INFO", "memory")["used_memory"])
    site.redis("CONFIG", "SET", "maxmemory", int(used * 1.08))
    undo.callback(site.redis, "CONFIG", "SET", "maxmemory", 0)
    return {}


def frozen_worker(site: Site, undo: ExitStack) -> Variables:
    """The worker hangs."""
    site.worker.freeze()
    undo.callback(site.worker.thaw)
    return {}


def start_worker(
    site: Site, undo: ExitStack, options: str, project: Path, **variables: str
) -> None:
    """Start a worker beside the first, and wait until it is ready."""
    worker = Process(
        f"{site.stack.commands['worker']} {options}",
        folder=project,
        environment={**site.stack.environment, **variables},
    )
    undo.enter_context(worker)
    undo.callback(worker.terminate, 20)
    worker.wait_for_line("ready", 60)


def other_worker(site: Site, undo: ExitStack) -> Variables:
    """A second worker has other settings, other code and another clock."""
    project = Path(shutil.copytree(site.stack.project, site.folder / "my_project"))
    replace_once(project / "pyproject.toml", 'version = "0.1.0"', 'version = "0.2.0"')
    (site.folder / "sitecustomize.py").write_text(CLOCK)
    variables = {"DJANGO_ENVIRONMENT": "staging", "PYTHONPATH": str(site.folder)}
    start_worker(site, undo, "--hostname=other@%h", project, **variables)
    return {}


def unread_queues(site: Site, undo: ExitStack) -> Variables:
    """The only worker that answers reads one queue."""
    frozen_worker(site, undo)
    start_worker(site, undo, "--hostname=one@%h --queues=notifications", site.stack.project)
    return {}


def backlog(site: Site, undo: ExitStack, tasks: int) -> Variables:
    """Tasks wait that nobody runs."""
    frozen_worker(site, undo)
    undo.callback(site.redis, "DEL", "default")
    code = (
        "from apps.trial import tasks\n"
        f"for _ in range({tasks}): tasks.record.apply_async(['waits'])"
    )
    result = site.stack.manage("shell", "--command", code)
    assert result.returncode == 0, result.stderr
    return {}


def silent_beat(site: Site, undo: ExitStack) -> Variables:
    """Beat hangs, since an hour ago."""
    site.beat.freeze()
    undo.callback(site.beat.thaw)
    # What it had sent before has arrived.
    wait_until(lambda: site.redis("LLEN", "maintenance") == 0, 10, "an empty queue")
    hour = "interval '1 hour'"
    site.sql(f"UPDATE operations_heartbeat SET seen_at = now() - {hour} WHERE name = 'beat'")
    return {}


def two_beats(site: Site, undo: ExitStack) -> Variables:
    """A second beat was started."""
    second = site.stack.beat()
    undo.callback(second.terminate, 20)
    count = "SELECT count(*) FROM operations_runningbeat WHERE seen_at > started_at"
    wait_until(lambda: query(site.database_url, count) == [(2,)], 30, "two beats to be seen")
    return {}


def overdue_entry(site: Site, undo: ExitStack) -> Variables:
    """A task should have run a day ago."""
    change = (
        "UPDATE operations_scheduledrun SET expected_since = expected_since {} interval '3 days'"
        " WHERE name = 'clear-expired-sessions'"
    )
    site.sql(change.format("-"))
    undo.callback(site.sql, change.format("+"))
    return {}


def missing_file(site: Site, undo: ExitStack, pattern: str) -> Variables:
    """A static file is gone."""
    [path] = (site.stack.project / "staticfiles").glob(pattern)
    undo.callback(path.with_name("away").rename, path)
    path.rename(path.with_name("away"))
    return {}


# Name -> the fault, and the lines by which it is named.
FAULTS: dict[str, tuple[Fault, Lines]] = {
    "database stopped": (
        stopped_database,
        [("database", "is it running, and is DATABASE_URL right?")],
    ),
    "database frozen": (
        frozen_database,
        [("database", "is it running, and is DATABASE_URL right?")],
    ),
    "other certificate of the database": (
        other_certificate_of_the_database,
        [("database", "is DATABASE_CA the certificate")],
    ),
    "database read-only": (
        read_only_role,
        [("database", "is read-only (default_transaction_read_only)")],
    ),
    "standby": (standby, [("database", "is a read-only standby")]),
    "few connections left": (
        partial(connections, left=3),
        [("database", "connections left (max_connections of the server)")],
    ),
    "no connections left": (
        partial(connections, left=0),
        [("database", "stop what holds ")],
    ),
    "limit of the role": (
        limited_role,
        [("database", "connections left (the limit of the role application)")],
    ),
    "limit of the database": (
        limited_database,
        [("database", "connections left (the limit of the database test_")],
    ),
    "migration not applied": (
        pending_migration,
        [("migrations", "1 not applied (sessions.0001_initial): run python manage.py release")],
    ),
    "clock of the database": (
        other_clock_of_the_database,
        [("clock", "of this machine and of the database are 3600 seconds apart")],
    ),
    "broker stopped": (
        stopped_broker,
        [
            ("cache", "the cache does not answer"),
            ("broker", "the broker does not answer"),
            ("broker", "the store of results does not answer"),
        ],
    ),
    "broker frozen": (
        frozen_broker,
        HANGING_BROKER,
    ),
    "unknown certificate of the broker": (
        unknown_certificate_of_the_broker,
        [
            ("broker", "the broker is not trusted: The certificate of localhost:"),
            ("cache", "the cache is not trusted: The certificate of localhost:"),
        ],
    ),
    "cache read-only": (read_only_cache, [("cache", "read only replica")]),
    "broker evicts": (forgetful_broker, [("broker memory", "maxmemory-policy is allkeys-lru")]),
    "broker nearly full": (full_broker, [("broker memory", "MB are used, and it refuses tasks")]),
    "worker frozen": (
        frozen_worker,
        [
            ("workers", "none answers: start one"),
            ("round trip", "the queue maintenance left no trace"),
        ],
    ),
    "worker of another deployment": (
        other_worker,
        [
            ("workers", "runs version 0.2.0, this process 0.1.0"),
            ("workers", f"runs with {PACKAGE}.staging, this process with {PACKAGE}.production"),
            ("workers", "the clocks of this machine and of other@"),
        ],
    ),
    "queues without a worker": (
        unread_queues,
        [
            ("workers", "none reads the queue default"),
            ("workers", "none reads the queue maintenance"),
        ],
    ),
    "backlog": (partial(backlog, tasks=150), [("queues", " tasks wait in default, ")]),
    "large backlog": (
        partial(backlog, tasks=1100),
        [("queues", " tasks wait in default: start more workers")],
    ),
    "beat silent": (silent_beat, [("beat", "sent its last heartbeat 3")]),
    "two beats": (two_beats, [("beat", "2 of them run (process ")]),
    "entry overdue": (overdue_entry, [("schedule", "clear-expired-sessions was due at ")]),
    "static files not collected": (
        partial(missing_file, pattern="staticfiles.json"),
        [("static files", "staticfiles.json is missing or empty in ")],
    ),
    "static file missing": (
        partial(missing_file, pattern="site.????????????.css"),
        [("static files", "1 of ")],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_doctor_names_a_fault_as_long_as_it_is_there(site: Site, name: str) -> None:
    fault, lines = FAULTS[name]
    with ExitStack() as undo:
        assert_named(site, lines, **fault(site, undo))
    wait_until_healthy(site)


def test_doctor_names_a_disk_that_is_nearly_full(site: Site) -> None:
    folder = site.folder / "disk"
    folder.mkdir()
    # A disk that only this process and its children see.
    script = (
        f"mount -t tmpfs -o size=16m none {folder}"
        f" && head -c 15900k /dev/zero > {folder}/file || exit 77; exec python manage.py doctor"
    )
    result = site.stack.run(["unshare", "--mount", "sh", "-c", script], TMPDIR=str(folder))
    if result.returncode == 77 or "unshare failed" in result.stderr:
        pytest.skip("only root can make a small disk")
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"PROBLEM  disk: the disk of {folder} (temporary files) is nearly full" in result.stdout


def test_a_broker_that_may_not_be_asked_for_its_memory_is_no_problem(site: Site) -> None:
    site.redis("ACL", "SETUSER", "default", "-info", "-config")
    try:
        assert site.watcher.run() == [[]]
    finally:
        site.redis("ACL", "SETUSER", "default", "+@all")
