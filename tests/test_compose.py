"""The files for one server with Docker Compose, read and run without Docker."""

import http.client
import os
import re
import secrets
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
import pytest
import redis
import yaml
from psycopg import sql
from pydantic import ValidationError

from tests.baking import allowed, choices
from tests.conftest import Bake
from tests.platforms import compose
from tests.platforms.components import Component
from tests.processes import (
    SYSTEM_PATH,
    Process,
    free_port,
    http_get,
    process_commands,
    wait_until,
)
from tests.servers.http import HTTPServer
from tests.servers.postgres import Postgres, PostgresServer
from tests.servers.redis import Redis

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the files are for a Linux server")

SLUGS = ["a", "abcdefghij_bcdefghij_cdefghijk__defghij", "abcdefghijklmnopqrstuvwxyzabcd__efghijkl"]
VARIABLES = {"POSTGRES_PASSWORD": "database-secret", "BROKER_PASSWORD": "broker-secret"}
APPLICATION = {"SECRET_KEY": "key", "EMAIL_HOST_PASSWORD": "a b"}
NO_HEADERS: Mapping[str, str] = {}
CADDY = Path(sys.executable).parent / "caddy"

# What stands in the file -> what a slip of the pen could make of it. Each must be refused.
MUTATIONS = [
    ("image: postgres:17\n", "image: postgres:latest\n"),
    ("image: my_project\n", "image: myproject\n"),
    ("restart: unless-stopped", "restart: unless_stopped"),
    ('restart: "no"', "restart: always"),
    ("read_only: true", "read_only: 'true'"),
    ("read_only: true", "readonly: true"),
    ("cap_drop:\n    - ALL", "cap_drop: []"),
    ("no-new-privileges:true", "no-new-privileges"),
    ("memory: 1g", "memory: 1GiB"),
    ("pids: 200", "pids: '200'"),
    ("stop_grace_period: 45s", "stop_grace_period: 45"),
    ("stop_grace_period: 30s", "stop_grace_period: half a minute"),
    ("condition: service_completed_successfully", "condition: service_completed"),
    ("condition: service_healthy", "condition: service_started"),
    ("    depends_on:\n      web:", "    depends_on:\n      wed:"),
    ("- 443:443/udp", "- 127.0.0.1:443:443"),
    ("      - broker:/data\n", ""),
    ("broker:/data", "broker:/var/lib/redis"),
    ("redis.conf --requirepass", "redis.conf --requirepas"),
    ("--requirepass ${BROKER_PASSWORD:?set it in .env}", ""),
    ("max-size: 10m", "max_size: 10m"),
    ('max-file: "5"', "max-file: 5"),
    ("log.format: json", "log.format: yaml"),
    ("start_period: 30s", "start_interval: 30s"),
    ('"apps.operations.heartbeat", "beat"]', '"apps.operations.heartbeat", 7]'),
    ('["CMD", "python", "-m", "apps', '["CMD", "curl", "-m", "apps'),
    ("env_file:\n    - path: app.env", "env_file:\n    - path: .env"),
    ("required: false", "required: 'false'"),
    ("pull_policy: never", "pull_policy: always"),
    ("    build: .\n", ""),
    ("scale: ${WORKERS:-1}", "scale: ${WORKERS:--1}"),
    ("scale: ${WORKERS:-1}", "scale: many"),
    ("my_project beat\n", "my_project beat\n    scale: 2\n"),
    ("  worker-default:", "  worker_default:"),
    ("  backups:\n", "  backup:\n"),
    ("python manage.py release", "python manage.py release && true"),
    ("--queues notifications", "--queues notification"),
    (" --queues maintenance", ""),
    ("celery -A my_project beat", "celery -A my_project worker"),
    ("DJANGO_ENVIRONMENT: production", "DJANGO-ENVIRONMENT: production"),
    ("DJANGO_ENVIRONMENT: production", "DJANGO_ENVIRONMENT: 1"),
]


def text_of(project: Path) -> str:
    """Return the project's Compose file."""
    return (project / compose.FILE).read_text("utf-8")


def validate(text: str, variables: Mapping[str, str] = VARIABLES) -> compose.File:
    """Return a Compose file as the models see it."""
    return compose.File.model_validate(compose.document(text, variables))


# Compose has no scheduler of its own.
SCHEDULERS = [
    name for name in choices()["scheduler"] if allowed({"hosting": "compose", "scheduler": name})
]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("process_manager", choices()["process_manager"])
@pytest.mark.parametrize("slug", SLUGS)
def test_the_file_is_what_the_models_allow(
    bake: Bake, slug: str, process_manager: str, scheduler: str
) -> None:
    answers = {"process_manager": process_manager, "scheduler": scheduler}
    file = validate(text_of(bake(project_slug=slug, **answers)))
    assert file.name == slug
    assert ("beat" in file.volumes) == (scheduler == "code")
    assert (file.services.beat.volumes is not None) == (scheduler == "code")


def test_the_monitoring_is_started_when_somebody_wants_it(bake: Bake) -> None:
    secrets = {"METRICS_TOKEN": "metrics-secret", "GRAFANA_PASSWORD": "grafana-secret"}
    text = text_of(bake(use_prometheus="true"))
    file = validate(text, {**VARIABLES, **secrets})
    assert {"prometheus", "alertmanager", "grafana"} <= file.volumes.keys()
    for name in secrets:
        with pytest.raises(KeyError, match=name):
            validate(text, {**VARIABLES, **secrets, name: ""})
    for old, new in [
        ("127.0.0.1:3000:3000", "3000:3000"),
        ("  profiles:\n    - monitoring\n", ""),
        ("image: grafana/grafana:12.3.0", "image: grafana/grafana:latest"),
    ]:
        assert text.count(old) == 1
        with pytest.raises(ValidationError):
            validate(text.replace(old, new), {**VARIABLES, **secrets})


@pytest.mark.parametrize(("old", "new"), MUTATIONS)
def test_a_slip_of_the_pen_is_refused(bake: Bake, old: str, new: str) -> None:
    text = text_of(bake())
    assert old in text
    with pytest.raises(ValidationError):
        validate(text.replace(old, new))


@pytest.mark.parametrize("name", VARIABLES)
def test_a_missing_or_blank_password_is_named(bake: Bake, name: str) -> None:
    rest = {other: value for other, value in VARIABLES.items() if other != name}
    for variables in (rest, {**rest, name: ""}):
        with pytest.raises(KeyError, match=f"{name} is missing a value: set it in .env"):
            validate(text_of(bake()), variables)


def own(
    project: Path, read: Callable[..., dict[str, dict[str, Any]]], **variables: str
) -> list[Component]:
    """Return what the file runs from the project's image, read in one of two ways."""
    found = read(text_of(project), {**VARIABLES, **variables}, APPLICATION)
    return compose.own_components(
        found, project.name, {}, (project / "deploy" / "Caddyfile").read_text("utf-8")
    )


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("process_manager", choices()["process_manager"])
@pytest.mark.parametrize("variables", [{}, {"WORKERS": "0", "QUEUE_WORKERS": "2"}])
def test_compose_itself_reads_the_same(
    bake: Bake, scheduler: str, process_manager: str, variables: dict[str, str]
) -> None:
    if not compose.has_plugin():
        pytest.skip("docker has no compose command")
    project = bake(scheduler=scheduler, process_manager=process_manager)
    mine = own(project, compose.services, **variables)
    theirs = own(project, compose.services_by_plugin, **variables)
    assert sorted(mine, key=by_name) == sorted(theirs, key=by_name)


def by_name(component: Component) -> str:
    """Return the name of a component."""
    return component.name


def test_workers_can_be_many_or_one_per_queue(bake: Bake) -> None:
    project = bake()
    plain = process_commands(project.name)["worker"].split()
    [worker] = [c for c in own(project, compose.services, WORKERS="3") if c.name == "worker"]
    assert (worker.command, worker.replicas) == (tuple(plain), 3)
    per_queue = own(project, compose.services, WORKERS="0", QUEUE_WORKERS="1")
    queues = {c.command[-1] for c in per_queue if c.command[: len(plain)] == tuple(plain)}
    assert queues == {"default", "notifications", "maintenance"}
    assert {c.name for c in per_queue} == {
        *("release", "web", "beat"),
        *(f"worker-{queue}" for queue in queues),
    }


def test_django_prodserver_changes_nothing_but_the_commands(bake: Bake) -> None:
    projects = (
        bake(use_flower="true"),
        bake(use_flower="true", process_manager="prodserver"),
    )
    direct, prodserver = (own(each, compose.services, QUEUE_WORKERS="1") for each in projects)
    assert [replace(c, command=()) for c in prodserver] == [replace(c, command=()) for c in direct]
    commands = {c.name: " ".join(c.command) for c in prodserver}
    assert commands == compose.prodserver_commands()


PRODSERVER_MUTATIONS = [
    ("worker worker-default", "worker worker"),
    ("worker worker-default", "worker default"),
    ("worker worker-default", "worker worker --queues default"),
    ("manage.py server web", "manage.py prodserver web"),
    ("manage.py server web", "manage.py worker web"),
    ("python manage.py worker beat", "celery -A my_project beat"),
]


@pytest.mark.parametrize(("old", "new"), PRODSERVER_MUTATIONS)
def test_a_slip_of_the_pen_in_a_command_is_refused(bake: Bake, old: str, new: str) -> None:
    text = text_of(bake(process_manager="prodserver"))
    assert old in text
    with pytest.raises(ValidationError, match="neither process manager"):
        validate(text.replace(old, new, 1))


@pytest.mark.parametrize("scheduler", choices()["scheduler"])
def test_development_starts_beat_where_there_is_one(bake: Bake, scheduler: str) -> None:
    text = (bake(hosting="dokku", scheduler=scheduler) / "compose.yml").read_text("utf-8")
    services = yaml.safe_load(text)["services"]
    assert ("beat" in services) == (scheduler != "platform")
    assert ("manage.py enqueue" in text) == (scheduler == "platform")


def test_the_page_names_every_variable_that_coolify_must_give(bake: Bake) -> None:
    project = bake(use_prometheus="true", use_flower="true")
    required = re.findall(r"\$\{(\w+):\?", (project / compose.FILE).read_text("utf-8"))
    page = (project / "docs" / "deploy.md").read_text("utf-8")
    coolify = page.partition("\n## Coolify\n")[2]
    assert set(required) <= set(re.findall(r"`(\w+)`", coolify))


def test_no_secret_is_in_the_file(bake: Bake) -> None:
    for line in text_of(bake()).splitlines():
        if re.search("PASSWORD|AUTH|requirepass|://", line) and "http://127" not in line:
            assert re.search(r"\$\{(POSTGRES|BROKER)_PASSWORD:\?", line), line


def variables_in(file: Path) -> dict[str, str]:
    """Return the variables of an env file, which nobody but its owner may read."""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return dict(line.split("=", 1) for line in file.read_text("utf-8").splitlines())


def test_the_page_writes_every_variable_and_new_secrets_each_time(
    bake: Bake, tmp_path: Path
) -> None:
    project = bake(domain_name="site.example.org")
    compose.write_variables(project, tmp_path)
    first = variables_in(tmp_path / ".env") | variables_in(tmp_path / "app.env")
    compose.write_variables(project, tmp_path, DOMAIN="other.example.org")
    second = variables_in(tmp_path / ".env") | variables_in(tmp_path / "app.env")
    assert set(re.findall(r"\$\{([A-Z_]+):\?", text_of(project))) == set(VARIABLES) <= set(first)
    secret = {"SECRET_KEY", *VARIABLES}
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"DOMAIN", "ALLOWED_HOSTS"} | secret
    assert all(re.fullmatch("[0-9a-f]{64}", second[name]) for name in secret)
    assert second["DOMAIN"] == second["ALLOWED_HOSTS"] == "other.example.org"
    assert second["EMAIL_HOST"] == "smtp.site.example.org"


def test_the_page_replaces_a_variable(bake: Bake, tmp_path: Path) -> None:
    project = bake()
    compose.write_variables(project, tmp_path)
    before = variables_in(tmp_path / "app.env")
    blocks = [compose.page_block(project, part) for part in ("put() {", "SECRET_KEY_FALLBACKS")]
    # Docker is not asked: what the commands before write is the point.
    command = ["sh", "-euc", "docker() { :; }\n" + "\n".join(blocks)]
    subprocess.run(command, cwd=tmp_path, env={"PATH": SYSTEM_PATH}, check=True)
    after = variables_in(tmp_path / "app.env")
    assert after.pop("SECRET_KEY_FALLBACKS") == before.pop("SECRET_KEY")
    assert re.fullmatch("[0-9a-f]{64}", after.pop("SECRET_KEY"))
    assert after == before


def caddy(*arguments: str, project: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of Caddy beside the project's Caddyfile."""
    return subprocess.run(
        [CADDY, *arguments],
        cwd=project / "deploy",
        env={"PATH": SYSTEM_PATH, "DOMAIN": "www.example.com", "HOME": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_caddy_accepts_its_file(bake: Bake) -> None:
    validated = caddy("validate", "--config", "Caddyfile", project=bake())
    assert validated.returncode == 0, validated.stderr
    formatted = caddy("fmt", "--diff", "Caddyfile", project=bake())
    assert formatted.returncode == 0, formatted.stdout
    assert not re.search(r"^[+-]", formatted.stdout, re.MULTILINE), formatted.stdout


@dataclass(frozen=True)
class Proxy:
    """A running Caddy."""

    http_port: int
    https_port: int
    context: ssl.SSLContext

    def has_certificate(self) -> bool:
        """Return whether HTTPS connections are accepted."""
        connection = http.client.HTTPSConnection(
            "localhost", self.https_port, timeout=5, context=self.context
        )
        with closing(connection):
            try:
                connection.connect()
            except OSError:
                return False
            return True

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = NO_HEADERS
    ) -> http.client.HTTPResponse:
        """Send one HTTPS request and return the answer, whose body is read."""
        connection = http.client.HTTPSConnection(
            "localhost", self.https_port, timeout=30, context=self.context
        )
        with closing(connection):
            connection.request(method, path, body=body or None, headers=headers)
            answer = connection.getresponse()
            answer.read()
            return answer


@contextmanager
def proxy(
    project: Path, folder: Path, upstream_port: int, *edits: tuple[str, str]
) -> Iterator[Proxy]:
    """Yield Caddy with the project's file for localhost, in front of a port of this machine.

    Args:
        project: folder of the baked project.
        folder: an empty folder.
        upstream_port: takes the place of the service web.
        edits: further texts of the file and what takes their place.
    """
    http_port, https_port = free_port(), free_port()
    own = f"{{\n\thttp_port {http_port}\n\thttps_port {https_port}\n\tskip_install_trust\n"
    text = (project / "deploy" / "Caddyfile").read_text("utf-8")
    for old, new in (
        ("{\n\t# The", own + "\t# The"),
        ("web:8000", f"127.0.0.1:{upstream_port}"),
        ("127.0.0.1:8080", f"127.0.0.1:{free_port()}"),
        *edits,
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "Caddyfile").write_text(text, encoding="utf-8")
    data = folder / "data"
    environment = {
        "DOMAIN": "localhost",
        "XDG_DATA_HOME": str(data),
        "XDG_CONFIG_HOME": str(folder),
    }
    with Process([str(CADDY), "run"], folder=folder, environment=environment) as process:
        root = data / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        process.wait_for_line("certificate obtained successfully", 20)
        caddy = Proxy(http_port, https_port, ssl.create_default_context(cafile=root))
        wait_until(caddy.has_certificate, 20, "the certificate to be used")
        yield caddy
        assert process.terminate(25) == 0


@pytest.mark.slow
def test_caddy_ends_tls_and_tells_the_truth_about_it(bake: Bake, tmp_path: Path) -> None:
    with HTTPServer() as web, proxy(bake(), tmp_path, web.port) as site:
        forged = {"Proto": "http", "For": "192.0.2.6", "Host": "evil.example.com"}
        headers = {f"X-Forwarded-{name}": value for name, value in forged.items()}
        assert site.request("GET", "/page/", headers=headers).status == 200
        [received] = web.requests
        assert received.path == "/page/"
        assert received.headers["host"] == f"localhost:{site.https_port}"
        assert received.headers["x-forwarded-proto"] == "https"
        assert received.headers["x-forwarded-for"] in ("127.0.0.1", "::1")
        assert received.headers["x-forwarded-host"] == f"localhost:{site.https_port}"

        plain = http_get(f"http://127.0.0.1:{site.http_port}/page/?a=b", host="localhost")
        assert plain.status == 308
        assert plain.headers["location"] == "https://localhost/page/?a=b"
        assert len(web.requests) == 1

        assert site.request("POST", "/", body=b"x" * 1_000_000).status == 200
        assert site.request("POST", "/", body=b"x" * 26_000_000).status == 413


@pytest.mark.slow
def test_a_form_that_comes_slowly_holds_no_thread_of_the_web_process(
    bake: Bake, tmp_path: Path
) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    with closing(socket.create_server(("127.0.0.1", 0))) as web:
        web.settimeout(1)
        with proxy(bake(), tmp_path, web.getsockname()[1]) as site:
            plain = socket.create_connection(("localhost", site.https_port), timeout=20)
            with site.context.wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(head + b"x" * 99)
                with pytest.raises(TimeoutError):
                    web.accept()
                client.sendall(b"x")
                web.settimeout(20)
                connection, _ = web.accept()
                connection.close()


@pytest.mark.slow
def test_requests_wait_while_the_web_process_is_replaced(bake: Bake, tmp_path: Path) -> None:
    port = free_port()
    with proxy(bake(), tmp_path, port) as site:
        with ThreadPoolExecutor(max_workers=1) as pool:
            answer = pool.submit(site.request, "GET", "/")
            with pytest.raises(TimeoutError):
                answer.result(timeout=2)
            with Process([sys.executable, "-m", "http.server", str(port)], folder=tmp_path):
                assert answer.result(timeout=20).status == 200


@pytest.mark.slow
def test_without_a_web_process_the_answer_is_502(bake: Bake, tmp_path: Path) -> None:
    quick = ("lb_try_duration 20s", "lb_try_duration 1s")
    with proxy(bake(), tmp_path, free_port(), quick) as site:
        assert site.request("GET", "/").status == 502


@dataclass(frozen=True)
class Database:
    """A database with the scripts of `deploy/` and a folder for backups."""

    name: str
    scripts: Path
    environment: dict[str, str]
    folder: Path
    url: str

    def run(
        self, script: str, *arguments: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
        return subprocess.run(
            ["sh", str(self.scripts / script), *arguments],
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def back_up(self) -> Path:
        """Make a backup and return it."""
        before = self.backups()
        self.wait_for_another_second()
        result = self.run("backup.sh", "now")
        assert result.returncode == 0, result.stderr
        [made] = set(self.backups()) - set(before)
        assert f"backup: wrote {made}, {made.stat().st_size} bytes" in result.stdout
        return made

    def wait_for_another_second(self) -> None:
        """Wait, because two backups of the same second would be one file."""
        names = str(self.backups())
        wait_until(lambda: f"{time.gmtime().tm_sec:02}Z" not in names, 2, "another second")

    def backups(self) -> list[Path]:
        """Return all files in the folder for backups, whole or not, oldest first."""
        return sorted(self.folder.iterdir())

    def query(self, statement: LiteralString) -> list[tuple[Any, ...]]:
        """Return what the database answers; `SELECT` or not."""
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def database(bake: Bake, postgres: PostgresServer, tmp_path: Path) -> Iterator[Database]:
    """A database with data, as the service `backup` sees it."""
    if not isinstance(postgres, Postgres):
        pytest.skip("DATABASE_URL names a server without its client programs")
    folder = tmp_path / "backups"
    folder.mkdir()
    address = urlsplit(postgres.admin_url)
    name = f"site__{secrets.token_hex(4)}"
    environment = {
        "PATH": f"{postgres.program('psql').parent}:{SYSTEM_PATH}",
        "PGHOST": address.hostname or "",
        "PGPORT": str(address.port),
        "PGUSER": address.username or "",
        "PGPASSWORD": address.password or "",
        "PGDATABASE": name,
        "BACKUP_FOLDER": str(folder),
        "BACKUP_HOUR": "3",
        "BACKUP_DAYS": "14",
    }
    url = urlunsplit(address._replace(path=f"/{name}"))

    def administrate(statement: sql.Composed) -> None:
        with closing(psycopg.connect(postgres.admin_url, autocommit=True)) as connection:
            connection.execute(statement)

    administrate(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    database = Database(name, bake() / "deploy", environment, folder, url)
    database.query("CREATE TABLE notes (id serial PRIMARY KEY, text text UNIQUE)")
    database.query("INSERT INTO notes (text) SELECT 'note ' || n FROM generate_series(1, 9999) n")
    yield database
    with closing(psycopg.connect(postgres.admin_url)) as connection:
        rows = connection.execute("SELECT datname FROM pg_database").fetchall()
    for (other,) in rows:
        if other.startswith(name):
            administrate(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(other)))


def age(file: Path, hours: float) -> None:
    """Make a file look as if it had been written some hours ago."""
    then = time.time() - hours * 3600
    os.utime(file, (then, then))


def old_backup(database: Database, name: str, hours: float) -> Path:
    """Return a file that looks like a backup of some hours ago."""
    file = database.folder / f"{database.name}-{name}.dump"
    file.touch()
    age(file, hours)
    return file


def program(folder: Path, name: str, script: str) -> str:
    """Return a PATH on which a program is replaced by a shell script."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)
    return str(folder)


NOTES: LiteralString = "SELECT count(*), min(text), max(id) FROM notes"


@pytest.mark.slow
def test_a_backup_is_restored_and_the_old_database_is_kept(database: Database) -> None:
    [(_, first, _)] = before = database.query(NOTES)
    backup = database.back_up()
    database.query("DELETE FROM notes WHERE id > 5")
    database.query("CREATE TABLE mistake ()")
    newer = database.back_up()
    restored = database.run("restore.sh", backup.name)
    assert restored.returncode == 0, restored.stderr
    assert database.query(NOTES) == before
    assert database.query("SELECT to_regclass('mistake')") == [(None,)]
    database.query("INSERT INTO notes (text) VALUES ('new')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.query("INSERT INTO notes (text) VALUES ('note 1')")

    kept = re.search(r"the database as it was is now (\w+)", restored.stdout)
    assert kept
    was = replace(database, url=database.url.replace(database.name, kept[1]))
    assert was.query(NOTES) == [(5, first, 5)]

    # The old one is named after the second.
    wait_until(
        lambda: not kept[1].endswith(time.strftime("%S", time.gmtime())), 2, "another second"
    )
    latest = database.run("restore.sh")
    assert latest.returncode == 0, latest.stderr
    assert f"reading {newer}" in latest.stdout
    assert database.query(NOTES) == [(5, first, 5)]


@pytest.mark.slow
def test_a_restore_refuses_while_somebody_is_connected(database: Database) -> None:
    database.back_up()
    with closing(psycopg.connect(database.url)):
        refused = database.run("restore.sh")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"restore: 1 connections to {database.name} are open; stop what uses it\n"
    )
    wait_until(lambda: database.run("restore.sh").returncode == 0, 10, "the connection to go")


@pytest.mark.slow
def test_a_restore_of_a_broken_file_changes_nothing(database: Database) -> None:
    before = database.query(NOTES)
    backup = database.back_up()
    backup.write_bytes(backup.read_bytes()[:-2000])
    assert database.run("restore.sh", backup.name).returncode != 0
    assert database.query(NOTES) == before
    missing = database.run("restore.sh", "missing.dump")
    assert missing.returncode == 1
    assert missing.stderr == f"restore: there is no file {database.folder}/missing.dump\n"


@pytest.mark.slow
def test_databases_change_places_together_or_not_at_all(database: Database, tmp_path: Path) -> None:
    before = database.query(NOTES)
    database.back_up()
    # As if somebody had removed the new one at the last moment.
    path = program(tmp_path / "bin", "pg_restore", f"dropdb {database.name}_new")
    failed = database.run("restore.sh", PATH=f"{path}:{database.environment['PATH']}")
    assert failed.returncode != 0
    assert f'database "{database.name}_new" does not exist' in failed.stderr
    assert database.query(NOTES) == before


@pytest.mark.slow
def test_a_backup_that_can_not_be_read_does_not_count(database: Database, tmp_path: Path) -> None:
    # As if the disk had swallowed the end without a word.
    dump = (
        'PATH=${PATH#*:} pg_dump "$@" && for a; do f=${a#--file=}; done && truncate -s -2000 "$f"'
    )
    path = f"{program(tmp_path / 'bin', 'pg_dump', dump)}:{database.environment['PATH']}"
    kept = [old_backup(database, f"2020010{n}T000000Z", hours=10_000) for n in range(9)]
    failed = database.run("backup.sh", "now", PATH=path)
    assert failed.returncode != 0
    assert "pg_restore: error" in failed.stderr
    assert database.backups() == kept, "an old one was deleted, or a broken one was left"


@pytest.mark.slow
def test_a_failed_backup_leaves_everything_as_it_was(database: Database) -> None:
    kept = [old_backup(database, f"2020010{n}T000000Z", hours=10_000) for n in range(9)]
    failed = database.run("backup.sh", "now", PGPASSWORD="wrong")
    assert failed.returncode != 0
    assert "password authentication failed" in failed.stderr
    assert database.backups() == kept


@pytest.mark.slow
def test_old_backups_go_but_not_the_newest_seven(database: Database) -> None:
    other = database.folder / "another_site-20200101T000000Z.dump"
    other.touch()
    age(other, 10_000)
    days = [old_backup(database, f"202001{n:02}T000000Z", hours=24 * (30 - n)) for n in range(30)]
    made = database.back_up()
    # Fourteen days old and more are those up to number 16.
    assert database.backups() == [other, *days[17:], made]
    for file in days[17:]:
        age(file, 10_000)
    again = database.back_up()
    assert database.backups() == [other, *days[-5:], made, again]


@pytest.mark.slow
def test_the_service_backs_up_at_once_and_then_only_when_it_is_due(database: Database) -> None:
    hour = int(time.strftime("%H", time.gmtime()))
    later = {"BACKUP_HOUR": str((hour + 12) % 24)}
    now = {"BACKUP_HOUR": f"{hour:02}"}
    left = database.folder / f"{database.name}-20200101T000000Z.dump.partial"
    left.touch()

    def backups_after(count: int, **variables: str) -> list[Path]:
        """Return the backups when the service rests, with its child `sleep`."""
        script = str(database.scripts / "backup.sh")
        environment = {**database.environment, **variables}
        database.wait_for_another_second()
        with Process(["sh", script, "run"], folder=database.folder, environment=environment) as run:
            wait_until(lambda: resting(run), 20, "the service to rest")
            assert database.run("backup.sh", "check").returncode == 0
            started = time.monotonic()
            assert run.terminate(5) == 0
            assert time.monotonic() - started < 2
        found = database.backups()
        assert len(found) == count, run.lines
        return found

    assert database.run("backup.sh", "check").returncode == 1
    [first] = backups_after(1, **later)
    backups_after(1, **later)
    age(first, 1)
    backups_after(1, **now)
    age(first, 24)
    backups_after(1, **later)
    [_, second] = backups_after(2, **now)
    age(first, 100)
    age(second, 25.5)
    backups_after(3, **later)


def resting(run: Process) -> bool:
    """Return whether a service sleeps until it looks again."""
    assert run.running, run.tail()
    for child in psutil.Process(run.pid).children():
        with suppress(psutil.NoSuchProcess):  # What it started may have ended by now.
            if child.name() == "sleep":
                return True
    return False


@pytest.mark.slow
def test_a_service_that_is_told_to_stop_does_not_wait_for_its_backup(
    database: Database, tmp_path: Path
) -> None:
    dump = 'for a; do touch "${a#--file=}"; done; exec sleep 600'
    path = f"{program(tmp_path / 'bin', 'pg_dump', dump)}:{database.environment['PATH']}"
    environment = {**database.environment, "PATH": path}
    script = str(database.scripts / "backup.sh")
    with Process(["sh", script, "run"], folder=tmp_path, environment=environment) as run:
        wait_until(database.backups, 10, "the backup to begin")
        started = time.monotonic()
        assert run.terminate(5) == 0
        assert time.monotonic() - started < 2
        assert database.backups() == []


@pytest.mark.slow
def test_a_service_goes_on_after_a_backup_that_failed(database: Database) -> None:
    environment = {**database.environment, "PGPASSWORD": "wrong"}
    script = str(database.scripts / "backup.sh")
    with Process(["sh", script, "run"], folder=database.folder, environment=environment) as run:
        run.wait_for_line("backup: failed; the next try is in a minute", 10)
        wait_until(lambda: resting(run), 10, "the service to rest")
    assert database.run("backup.sh", "check").returncode == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("BACKUP_HOUR", "24"), ("BACKUP_HOUR", ""), ("BACKUP_HOUR", "3am"), ("BACKUP_DAYS", "two")],
)
def test_a_setting_that_makes_no_sense_is_named(
    bake: Bake, name: str, value: str, tmp_path: Path
) -> None:
    settings = {"PGDATABASE": "a", "BACKUP_FOLDER": str(tmp_path), "BACKUP_HOUR": "3"}
    refused = subprocess.run(
        ["sh", str(bake() / "deploy" / "backup.sh"), "run"],
        env={"PATH": SYSTEM_PATH, "BACKUP_DAYS": "14", **settings, name: value},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"backup: {name} is '{value}'; it must be ")


def test_the_broker_knows_no_command_that_takes_all_away(bake: Bake) -> None:
    with (
        Redis(configuration=bake() / "deploy" / "redis.conf") as server,
        redis.Redis.from_url(server.url()) as client,
    ):
        for command in ("FLUSHALL", "REPLICAOF NO ONE", "SLAVEOF NO ONE", "SHUTDOWN NOW FORCE"):
            with pytest.raises(redis.ResponseError, match="unknown command"):
                client.execute_command(*command.split())
        assert client.flushdb()  # as Django's cache and docs/deploy.md do
