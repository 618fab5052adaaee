"""What a deployment file asks a platform to run, and a runner that does it."""

import http.client
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tests.platforms.surroundings import Surroundings
from tests.processes import (
    SYSTEM_PATH,
    Process,
    Response,
    container_environment,
    free_port,
    http_get,
    python_environment,
    wait_until,
)

# What platforms send as Host: an address of the container, which is no host name of the site.
PROBE_HOST = "10.0.0.7"


@dataclass(frozen=True)
class HTTPProbe:
    """A request that must be answered with a status from 200 to 299.

    Attributes:
        path: Path of the request.
        timeout: In seconds.
        host: The Host header.
        headers: Further headers.
    """

    path: str
    timeout: float
    host: str = PROBE_HOST
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CommandProbe:
    """A command beside the process that must succeed.

    Attributes:
        command: Program and arguments.
        timeout: In seconds.
    """

    command: tuple[str, ...]
    timeout: float


Probe = HTTPProbe | CommandProbe


@dataclass(frozen=True)
class Component:
    """One process of a deployment.

    Attributes:
        name: What the file calls it.
        command: Its program and arguments; there is no shell.
        environment: Every variable that the file gives it, and no other.
        probes: What must be well for it to count as up.
        port: The port that it listens on; none if it answers no requests.
        grace: How long it may take to stop, in seconds.
        once: Whether it runs once and must succeed before those that wait for it.
        after: The names of those that must have succeeded before.
        replicas: How many of it run.
        schedule: Five cron fields if the platform starts it at these times; none if it runs always.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    probes: tuple[Probe, ...]
    port: int | None
    grace: float
    once: bool
    after: tuple[str, ...]
    replicas: int = 1
    schedule: str = ""

    def without(self, variable: str) -> "Component":
        """Return the component as it would be if the file forgot a variable."""
        rest = {name: value for name, value in self.environment.items() if name != variable}
        return replace(self, environment=rest)


class ReleaseError(Exception):
    """A component that must succeed first did not; its output is the text."""


class Deployment:
    """Runs components side by side, each with its own environment and temporary folder.

    They share this machine's network, so a component that listens gets a free port instead of
    its own, by PORT; its probes ask that one.
    """

    def __init__(self, project: Path, surroundings: Surroundings) -> None:
        """Prepare, but start nothing.

        Args:
            project: folder of the baked project: what the image holds.
            surroundings: the servers in the place of the platform's.
        """
        self._project = project
        self._image = image_environment(project, surroundings)
        self._exit = ExitStack()
        self._components: dict[str, Component] = {}
        self.processes: dict[str, Process] = {}

    def __enter__(self) -> "Deployment":
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def environment(self, component: Component) -> dict[str, str]:
        """Return what a component's processes see: the image's variables and the file's."""
        port = {} if component.port is None else {"PORT": str(component.port)}
        return {**self._image, **component.environment, **port}

    def run(
        self, component: Component, *command: str, folder: Path | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end in a component's environment.

        Args:
            component: whose environment.
            command: the command; the component's own if none is given.
            folder: where its temporary files are; a new one if none is given.
            timeout: seconds.
        """
        with tempfile.TemporaryDirectory() as new_folder:
            return subprocess.run(
                command or component.command,
                cwd=self._project,
                env=container_environment(folder or Path(new_folder), self.environment(component)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )

    def release(self, components: Iterable[Component]) -> None:
        """Run what must succeed first.

        Args:
            components: all of the file.

        Raises:
            ReleaseError: it failed; the deployment ends here.
        """
        for component in components:
            if component.once:
                result = self.run(component)
                if result.returncode != 0:
                    raise ReleaseError(f"{component.name}: {result.stdout}{result.stderr}")

    def deploy(self, components: list[Component]) -> None:
        """Run what must succeed first, then start the others and wait for their probes.

        Args:
            components: all of the file.

        Raises:
            ReleaseError: something that must succeed first failed; nothing else was started.
            AssertionError: a component did not come up; its log is in the message.
        """
        self.release(components)
        done = {component.name for component in components if component.once}
        for component in components:
            if not component.once:
                assert component.replicas == 1, "the runner starts one of each"
                assert set(component.after) == done, f"{component.name} waits for {component.after}"
                self.start(component)
        for name in self.processes:
            wait_until(partial(self.healthy, name), 60, f"the probes of {name}")

    def start(self, component: Component) -> Process:
        """Start a component without waiting for it."""
        if component.port is not None:
            component = replace(component, port=free_port())
        process = Process(
            component.command,
            folder=self._project,
            environment=self.environment(component),
            name=component.name,
        )
        self._components[component.name] = component
        self.processes[component.name] = self._exit.enter_context(process)
        return process

    def healthy(self, name: str) -> bool:
        """Return whether all probes of a running component succeed.

        Args:
            name: of the component.

        Raises:
            AssertionError: it has ended; its log is in the message.
        """
        process, component = self.processes[name], self._components[name]
        assert process.running, f"{name} ended\n{process.tail()}"
        return all(self._ask(name, probe) for probe in component.probes)

    def _ask(self, name: str, probe: Probe) -> bool:
        component = self._components[name]
        try:
            match probe:
                case HTTPProbe():
                    return self.probe(name, probe).status // 100 == 2
                case CommandProbe():
                    folder = self.processes[name].temporary_folder
                    command = self._at_its_port(component, probe.command)
                    timeout = probe.timeout
                    result = self.run(component, *command, folder=folder, timeout=timeout)
                    return result.returncode == 0
        except (OSError, http.client.HTTPException, subprocess.TimeoutExpired):
            return False

    def _at_its_port(self, component: Component, command: tuple[str, ...]) -> list[str]:
        """Return a command that asks the port in the file as one that asks the free port."""
        if component.port is None:
            return list(command)
        return [re.sub(r"(?<=127\.0\.0\.1:)\d+", str(component.port), part) for part in command]

    def probe(self, name: str, probe: HTTPProbe) -> Response:
        """Ask a running component as its platform does: plain HTTP, with the platform's Host."""
        return http_get(
            f"{self.url(name)}{probe.path}",
            host=probe.host,
            headers=probe.headers,
            timeout=probe.timeout,
        )

    def url(self, name: str) -> str:
        """Return the address of a running component that listens, without a slash at the end."""
        return f"http://127.0.0.1:{self._components[name].port}"

    def stop(self, name: str) -> int:
        """Stop a component with the file's grace period and return its exit code."""
        return self.processes[name].terminate(self._components[name].grace)


def image_environment(project: Path, surroundings: Surroundings) -> dict[str, str]:
    """Return the variables that the project's Dockerfile gives every container.

    Args:
        project: folder of the baked project.
        surroundings: whose folder takes the place of the image's folder for data, and whose
            certificate authority that of the public ones.
    """
    last_stage = (project / "Dockerfile").read_text("utf-8").rpartition("\nFROM ")[2]
    lines = re.findall(r"^ENV (.+)", last_stage.replace("\\\n", " "), re.MULTILINE)
    words = [word for line in lines for word in shlex.split(line)]
    variables = dict(word.split("=", 1) for word in words)
    moved = {
        name: value.replace("/var/lib/beat", str(surroundings.folder))
        for name, value in variables.items()
    }
    return {
        **moved,
        "PATH": f"{python_environment(project) / 'bin'}:{SYSTEM_PATH}",
        "SSL_CERT_FILE": str(surroundings.ca_file),
    }
