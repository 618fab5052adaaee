"""What a deployment file asks a platform to run, and a runner that does it."""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tests.processes import (
    SYSTEM_PATH,
    Process,
    Response,
    container_environment,
    free_port,
    http_get,
    wait_until,
)

# What platforms send as Host: an address of the container, which is no host name of the site.
PROBE_HOST = "10.0.0.7"


@dataclass(frozen=True)
class Component:
    """One process of a deployment.

    Attributes:
        name: What the file calls it.
        command: Its program and arguments; there is no shell.
        environment: Every variable that the file gives it, and no other.
        check: The command of its health check, run beside it; none if it has no such check.
        port: The port that it listens on; none if it answers no requests.
        grace: How long it may take to stop, in seconds.
        once: Whether it runs once and must succeed before those that wait for it.
        after: The names of those that must have succeeded before.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    check: tuple[str, ...] | None
    port: int | None
    grace: float
    once: bool
    after: tuple[str, ...]

    def without(self, variable: str) -> "Component":
        """Return the component as it would be if the file forgot a variable."""
        rest = {name: value for name, value in self.environment.items() if name != variable}
        return replace(self, environment=rest)


class ReleaseError(Exception):
    """A component that must succeed first did not; its output is the text."""


class Deployment:
    """Runs components side by side, each with its own environment and temporary folder.

    They share this machine's network, so a component that listens gets a free port instead of
    its own; its check asks that one.
    """

    def __init__(self, project: Path, virtual_environment: Path) -> None:
        """Prepare, but start nothing.

        Args:
            project: folder of the baked project: what the image holds.
            virtual_environment: the image's Python packages.
        """
        self._project = project
        self._path = f"{virtual_environment / 'bin'}:{SYSTEM_PATH}"
        self._exit = ExitStack()
        self._components: dict[str, Component] = {}
        self.processes: dict[str, Process] = {}

    def __enter__(self) -> "Deployment":
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def environment(self, component: Component) -> dict[str, str]:
        """Return what a component's processes see: the file's variables and the image's PATH."""
        image = {"PATH": self._path, "PYTHONDONTWRITEBYTECODE": "1"}
        port = {} if component.port is None else {"PORT": str(component.port)}
        return {**image, **component.environment, **port}

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

    def deploy(self, components: list[Component]) -> None:
        """Run what must succeed first, then start the others and wait for their checks.

        Args:
            components: all of the file.

        Raises:
            ReleaseError: something that must succeed first failed; nothing else was started.
            AssertionError: a component did not come up; its log is in the message.
        """
        for component in (component for component in components if component.once):
            result = self.run(component)
            if result.returncode != 0:
                raise ReleaseError(f"{component.name}: {result.stdout}{result.stderr}")
        done = {component.name for component in components if component.once}
        for component in (component for component in components if not component.once):
            assert set(component.after) <= done, f"{component.name} waits for {component.after}"
            self.start(component)
        for name in self.processes:
            wait_until(partial(self.healthy, name), 60, f"the check of {name}")

    def start(self, component: Component) -> Process:
        """Start a component without waiting for it."""
        if component.port is not None:
            port = free_port()
            check = component.check and tuple(
                part.replace(f":{component.port}/", f":{port}/") for part in component.check
            )
            component = replace(component, port=port, check=check)
        process = Process(
            list(component.command),
            folder=self._project,
            environment=self.environment(component),
            name=component.name,
        )
        self._components[component.name] = component
        self.processes[component.name] = self._exit.enter_context(process)
        return process

    def healthy(self, name: str) -> bool:
        """Return what the health check of a running component says."""
        process, component = self.processes[name], self._components[name]
        assert process.running, f"{name} ended\n{process.tail()}"
        if component.check is None:
            return True
        result = self.run(component, *component.check, folder=process.temporary_folder)
        return result.returncode == 0

    def probe(self, name: str, path: str) -> Response:
        """Ask a running component as a platform does: plain HTTP, with a foreign Host header."""
        return http_get(f"{self.url(name)}{path}", host=PROBE_HOST)

    def url(self, name: str) -> str:
        """Return the address of a running component that listens, without a slash at the end."""
        return f"http://127.0.0.1:{self._components[name].port}"

    def stop(self, name: str) -> int:
        """Stop a component with the file's grace period and return its exit code."""
        return self.processes[name].terminate(self._components[name].grace)


@contextmanager
def deployed(
    project: Path, virtual_environment: Path, components: list[Component]
) -> Iterator[Deployment]:
    """Yield a deployment whose components are up.

    Args:
        project: folder of the baked project.
        virtual_environment: its Python packages.
        components: all of the file.
    """
    with Deployment(project, virtual_environment) as deployment:
        deployment.deploy(components)
        yield deployment
