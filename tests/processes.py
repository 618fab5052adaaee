"""Running a baked project's processes as a container would, and watching them.

A `Process` gets only the environment that a test names, its own temporary and home folder, and a
session of its own, so that nothing of the test run leaks in and nothing outlives it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import psutil
import uv

if sys.platform != "win32":  # there, only the tests that bake run
    import fcntl
    import pwd

T = TypeVar("T")

CACHE = Path(__file__).resolve().parent.parent / ".cache"
ENVIRONMENTS = CACHE / "environments"
BYTECODE = CACHE / "bytecode"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
# Packages of an environment that few processes import, as parts of a regular expression.
RARELY_IMPORTED = (
    "anyio",
    "coverage",
    r"locale/\w+",
    "mypy",
    "mypyc",
    "mypy_django_plugin",
    "pygments",
    "_pytest",
)

# Below the ports that Linux (32768+) and macOS (49152+) hand to outgoing connections: such a
# connection cannot take the address of a server that a test has stopped for a moment.
SERVER_PORTS = range(20_000, 32_768)


def wait_until(condition: Callable[[], T], timeout: float, what: str) -> T:
    """Call `condition` until its result is true, at first often and then twice a second.

    Args:
        condition: what is asked; an exception that it raises ends the wait.
        timeout: seconds until the wait is given up.
        what: what is waited for, named in the failure.

    Returns:
        The first true result.

    Raises:
        AssertionError: the time is over.
    """
    deadline = time.monotonic() + timeout
    pause = 0.01
    while True:
        result = condition()
        if result:
            return result
        left = deadline - time.monotonic()
        if left <= 0:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}; last: {result!r}")
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, 0.5)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens."""
    while True:
        # Not `random`: pytest-randomly gives every xdist worker the same seed, hence port.
        port = SERVER_PORTS.start + secrets.randbelow(len(SERVER_PORTS))
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True)
class Response:
    """An HTTP response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the body parsed as JSON."""
        return json.loads(self.body)


def http_request(
    method: str,
    url: str,
    *,
    host: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 5.0,
) -> Response:
    """Send one plain HTTP request; redirects are not followed.

    Args:
        method: GET, POST, ...
        url: `http://` address, also used as the target to connect to.
        host: value of the Host header, if it should not be that of the address.
        headers: further headers; names in the answer are lower case.
        body: the request's body.
        timeout: seconds for the connection and for each read.

    Raises:
        OSError: the server cannot be reached or does not answer in time.
        http.client.HTTPException: the answer is not HTTP.
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(
        address.hostname or "", address.port or 80, timeout=timeout
    )
    path = (address.path or "/") + (f"?{address.query}" if address.query else "")
    fields = {"Host": host or address.netloc, "Accept-Encoding": "identity"}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**fields, **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        received = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, received, answer.read())
    finally:
        connection.close()


def http_get(
    url: str,
    *,
    host: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 5.0,
) -> Response:
    """GET one address; see `http_request`."""
    return http_request("GET", url, host=host, headers=headers, timeout=timeout)


def alive(process: psutil.Process) -> bool:
    """Return whether a process runs; one that only waits to be counted by its parent does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def container_environment(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a container has anyway, below the variables that the test names.

    Args:
        folder: existing folder that becomes HOME and TMPDIR.
        environment: the variables; they win.
    """
    base = {"PATH": SYSTEM_PATH, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
    return {**base, **environment}


def identity(user: str | None) -> dict[str, Any]:
    """Return the options with which `subprocess` runs a program as a user.

    Args:
        user: name of the user, which needs root; None for the one who runs the tests.
    """
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def json_objects(name: str, lines: Sequence[str]) -> list[dict[str, Any]]:
    """Return every line of a log parsed as a JSON object.

    Args:
        name: whose log it is, for the failure.
        lines: the log.

    Raises:
        AssertionError: a line is none; the first such line is named.
    """
    parsed = []
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise AssertionError(f"{name}: line {number} is no JSON object: {line!r}")
        parsed.append(value)
    return parsed


class Process:
    """A running command with a captured log; as a context manager it leaves no orphan.

    stdout and stderr form one log, as on the hosting platforms. When an assertion fails inside
    the `with` block, the end of the log is added to the failure.
    """

    def __init__(
        self,
        command: Sequence[str] | str,
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        name: str | None = None,
    ) -> None:
        """Start the command.

        Args:
            command: arguments, or one string that is split as a shell would but run without one.
            folder: working directory.
            environment: all variables besides PATH, HOME, TMPDIR and LANG (which it may replace).
            user: name of the user to run as; needs root.
            name: what to call the process in failures; the command's first word if not given.

        Raises:
            FileNotFoundError: the program does not exist on the environment's PATH.
        """
        self.command = shlex.split(command) if isinstance(command, str) else list(command)
        self.name = name or Path(self.command[0]).name
        self.temporary_folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        if user is not None:
            shutil.chown(self.temporary_folder, user)
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._log_ended = False
        try:
            self._popen = subprocess.Popen(
                self.command,
                cwd=folder,
                env=container_environment(self.temporary_folder, environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **identity(user),
            )
        except OSError:
            shutil.rmtree(self.temporary_folder)
            raise
        self._reader = threading.Thread(target=self._read, name=f"{self.name} log", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, AssertionError):
            error.add_note(self.tail())
        self.close()

    @property
    def pid(self) -> int:
        """The process id, which is also that of its session and process group."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.exit_code is None

    @property
    def lines(self) -> list[str]:
        """The log so far, without line ends."""
        with self._changed:
            return list(self._lines)

    def tail(self, count: int = 40) -> str:
        """Return the last `count` lines of the log under a heading with the state."""
        state = "running" if self.running else f"exit code {self.exit_code}"
        log = "\n".join(f"  {line}" for line in self.lines[-count:]) or "  (empty)"
        return f"--- log of {self.name} ({state}):\n{log}"

    def json_lines(self) -> list[dict[str, Any]]:
        """Return every line of the log parsed as a JSON object.

        Raises:
            AssertionError: a line is none; the first such line is named.
        """
        return json_objects(self.name, self.lines)

    def wait_for_line(self, pattern: str, timeout: float, *, after: int = 0) -> str:
        """Wait until a line of the log matches.

        Args:
            pattern: regular expression, searched in each line.
            timeout: seconds.
            after: how many lines to skip, such as `len(process.lines)` before the cause.

        Returns:
            The first matching line.

        Raises:
            AssertionError: the time is over, or the log has ended without the line.
        """
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        position = after
        with self._changed:
            while True:
                for line in self._lines[position:]:
                    if wanted.search(line):
                        return line
                position = max(position, len(self._lines))
                left = deadline - time.monotonic()
                if self._log_ended or left <= 0:
                    break
                self._changed.wait(left)
        how = "its log ended" if self._log_ended else f"{timeout:g} s passed"
        raise AssertionError(f"{self.name}: {how} without a line like {pattern!r}\n{self.tail()}")

    def wait(self, timeout: float) -> int:
        """Wait for the end of the process and of its log.

        Args:
            timeout: seconds.

        Returns:
            The exit code, negative for a signal.

        Raises:
            AssertionError: it still runs.
        """
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            message = f"{self.name} still runs after {timeout:g} s\n{self.tail()}"
            raise AssertionError(message) from None
        self._reader.join(timeout=1)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, as a container runtime does."""
        self._popen.send_signal(number)

    def terminate(self, grace: float) -> int:
        """Stop the process as a platform does: SIGTERM, and SIGKILL for all after the grace.

        Args:
            grace: seconds between the two.

        Returns:
            The exit code; -9 if the grace was too short.
        """
        family = self._family()
        self.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(grace)
        self._kill(family)
        return self.wait(timeout=10)

    def kill(self) -> None:
        """End the process and its children at once with SIGKILL, as the out-of-memory killer."""
        if self.running:
            # A stopped process starts no child between the count and the kill.
            self.send_signal(signal.SIGSTOP)
        self._kill(self._family())
        self.wait(timeout=10)

    def freeze(self) -> None:
        """Suspend the process and its children: connections are accepted, nothing answers."""
        self.send_signal(signal.SIGSTOP)
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let a frozen process and its children continue."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End everything that was started and remove the temporary folder."""
        self.kill()
        self._reader.join(timeout=5)
        if not self._reader.is_alive() and self._popen.stdout is not None:
            self._popen.stdout.close()
        shutil.rmtree(self.temporary_folder, ignore_errors=True)

    def _family(self) -> list[psutil.Process]:
        """Return all descendants: also one in its own session, also one whose parent is gone."""
        found: set[psutil.Process] = set()
        with suppress(psutil.NoSuchProcess):
            if self.running:
                found.update(psutil.Process(self.pid).children(recursive=True))
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if process.pid != self.pid and os.getsid(process.pid) == self.pid:
                    found.add(process)
        return list(found)

    def _kill(self, family: Sequence[psutil.Process]) -> None:
        everyone = {*family, *self._family()}
        for process in everyone:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self.running:
            self._popen.kill()
        wait_until(lambda: not any(map(alive, everyone)), 10, f"the end of {self.name}'s children")

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for raw in iter(self._popen.stdout.readline, b""):
            with self._changed:
                self._lines.append(raw.decode(errors="replace").rstrip("\r\n"))
                self._changed.notify_all()
        with self._changed:
            self._log_ended = True
            self._changed.notify_all()


def python_environment(project: Path) -> Path:
    """Return a virtual environment with everything that a baked project asks for.

    A real `uv sync` makes it, once for all projects with the same requirements: it is kept in
    the template's `.cache/` and shared by xdist workers and later runs. So use its programs, or
    `uv run --no-sync`, which leave it as it is. The project's folder is not touched.

    Args:
        project: folder of a baked project (its `pyproject.toml` is all that is read).

    Raises:
        AssertionError: `uv sync` failed; its output is the message.
    """
    return _synchronized(project) / ".venv"


def add_lock_file(project: Path) -> None:
    """Write the `uv.lock` that belongs to `python_environment` into a baked project.

    Args:
        project: folder of a baked project, to be changed.

    Raises:
        AssertionError: `uv lock` failed; its output is the message.
    """
    shutil.copy(_synchronized(project) / "uv.lock", project)
    _uv("lock", folder=project)  # keeps the versions, corrects the project's name


def _synchronized(project: Path) -> Path:
    """Return a folder with a copy of `pyproject.toml`, `uv.lock` and the environment."""
    source = (project / "pyproject.toml").read_text(encoding="utf-8")
    folder = ENVIRONMENTS / _requirements_digest(source)
    done = folder / "done"
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive(folder / "lock"):
        if not done.exists():
            (folder / "pyproject.toml").write_text(source, encoding="utf-8")
            _uv("sync", folder=folder)
            _compile(folder / ".venv")
            done.touch()
    return folder


def _uv(command: str, *, folder: Path) -> None:
    """Run uv in a folder, with the environment in `.venv` there."""
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder / ".venv")}
    environment.pop("VIRTUAL_ENV", None)
    result = subprocess.run(
        [uv.find_uv_bin(), command, "--no-progress", "--python", sys.executable],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"uv {command} in {folder} failed:\n{result.stderr}"


def _compile(environment: Path) -> None:
    """Write the bytecode of what processes import, most of which other environments have.

    The tests start hundreds of processes that write none: without it, each of them would compile
    Django and Celery anew and start less than half as fast. All of it would take twice as long.
    Bytecode of another version is written anew: it names size and time of its source.
    """
    [packages] = environment.glob("lib/*/site-packages")
    BYTECODE.mkdir(exist_ok=True)
    with _exclusive(BYTECODE / "lock"):
        for path in BYTECODE.rglob("*.pyc"):
            place = packages / path.relative_to(BYTECODE)
            # A folder without a source would be a package that nobody has installed.
            if place.parent.parent.is_dir():
                place.parent.mkdir(exist_ok=True)
                os.link(path, place)
    python = str(environment / "bin" / "python")
    command = [python, "-m", "compileall", "-q", "-x", f"/({'|'.join(RARELY_IMPORTED)})/"]
    result = subprocess.run([*command, str(packages)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{environment} can't be compiled:\n{result.stdout}"
    with _exclusive(BYTECODE / "lock"):
        for path in packages.rglob("*.pyc"):
            stored = BYTECODE / path.relative_to(packages)
            if not stored.exists() or not stored.samefile(path):
                stored.parent.mkdir(parents=True, exist_ok=True)
                stored.unlink(missing_ok=True)
                os.link(path, stored)


def _requirements_digest(source: str) -> str:
    """Return a name for all that decides what `uv sync` installs, and nothing else.

    Name, description and tool settings differ between answers but not the packages.
    """
    document = tomllib.loads(source)
    project = document.get("project", {})
    relevant = {
        "python": [sys.version_info[:2], sys.platform, platform.machine()],
        "requires-python": project.get("requires-python"),
        "dependencies": project.get("dependencies"),
        "optional-dependencies": project.get("optional-dependencies"),
        "groups": document.get("dependency-groups"),
        "uv": document.get("tool", {}).get("uv"),
    }
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold a lock that other processes respect; the system frees it when a process dies."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def process_commands(slug: str, process_manager: str = "direct") -> dict[str, str]:
    """Return the commands of a project's processes by name.

    Args:
        slug: name of the Django project package.
        process_manager: the answer to the question of that name.
    """
    if process_manager == "prodserver":
        return {
            "web": "python manage.py server web",
            "worker": "python manage.py worker worker",
            "beat": "python manage.py worker beat",
            "flower": "python manage.py server flower",
        }
    return {
        "web": f"gunicorn --config gunicorn.conf.py {slug}.wsgi:application",
        "worker": f"celery -A {slug} worker --without-gossip --without-mingle",
        "beat": f"celery -A {slug} beat",
        "flower": f"celery -A {slug} flower --conf=flower.conf.py --logging=none",
    }


class Stack:
    """The processes of one baked project, started like containers of one image.

    All get the same environment and PORT; each has its own temporary folder. Leaving the
    context ends all of them and adds their logs to a failed assertion.
    """

    def __init__(
        self,
        project: Path,
        environment: Mapping[str, str],
        virtual_environment: Path,
        *,
        commands: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare, but start nothing.

        Args:
            project: folder of the baked project, named like its package.
            environment: all variables of all processes, apart from PATH and PORT.
            virtual_environment: what `python_environment` returned.
            commands: command by process name; those of `process_commands` if not given.
        """
        self.project = project
        self.port = free_port()
        self.environment = {
            "PATH": f"{virtual_environment / 'bin'}:{SYSTEM_PATH}",
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",  # as in the image
            **environment,
        }
        self.commands = commands or process_commands(project.name)
        self._processes = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._processes.__exit__(kind, error, traceback)

    @property
    def url(self) -> str:
        """Address of the web process, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, name: str, **environment: str) -> Process:
        """Start the process of that name without waiting for it.

        Args:
            name: key of `commands`.
            environment: variables of this process alone.
        """
        process = Process(
            self.commands[name],
            folder=self.project,
            environment={**self.environment, **environment},
            name=name,
        )
        return self._processes.enter_context(process)

    def web(self, *, timeout: float = 30, **environment: str) -> Process:
        """Start the web process and wait until `/health/` answers 200.

        Args:
            timeout: seconds.
            environment: variables of this process alone.

        Raises:
            AssertionError: it ended or did not answer in time; the log is in the message.
        """
        process = self.start("web", **environment)
        try:
            wait_until(lambda: not process.running or self._healthy(), timeout, "/health/")
            assert process.running, f"{process.name} ended"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{process.tail()}") from None
        return process

    def worker(self, *, timeout: float = 30, **environment: str) -> Process:
        """Start a worker and wait until it says that it is ready; see `web`."""
        process = self.start("worker", **environment)
        process.wait_for_line(r"\S+@\S+ ready", timeout)
        return process

    def beat(self, *, timeout: float = 30, **environment: str) -> Process:
        """Start beat and wait until it says that it starts; see `web`."""
        process = self.start("beat", **environment)
        process.wait_for_line(r"beat: Starting", timeout)
        return process

    def run(
        self, command: Sequence[str], *, timeout: float = 60, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a one-off command to its end and return it, whatever its exit code.

        Args:
            command: arguments.
            timeout: seconds.
            environment: variables of this command alone.

        Raises:
            subprocess.TimeoutExpired: it was still running and has been killed.
        """
        with tempfile.TemporaryDirectory() as folder:
            variables = {**self.environment, **environment}
            return subprocess.run(
                command,
                cwd=self.project,
                env=container_environment(Path(folder), variables),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )

    def manage(
        self, *arguments: str, timeout: float = 60, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python manage.py` with these arguments; see `run`."""
        return self.run(["python", "manage.py", *arguments], timeout=timeout, **environment)

    def _healthy(self) -> bool:
        try:
            return http_get(f"{self.url}/health/", timeout=2).status == 200
        except (OSError, http.client.HTTPException):
            return False
