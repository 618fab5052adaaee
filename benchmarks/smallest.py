"""The smallest deployment: each process with half a gigabyte, under load."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Figure, Measured, Skipped, say
from benchmarks.meters import memory, wrk, wrk_is_missing
from benchmarks.projects import Lab
from benchmarks.web import time_to_answer
from benchmarks.worker import project_side
from tests.processes import Process, Stack, wait_until
from tests.production import HOST, PROXY_HEADERS

TITLE = "Smallest deployment"
# The smallest plans of App Platform and Container Apps, in bytes.
LIMIT = 512 * 1024 * 1024

WEB = Figure("smallest.web", "Web under load, in 512 MiB", "MB")
WORKER = Figure("smallest.worker", "Worker under load, in 512 MiB", "MB")
BEAT = Figure("smallest.beat", "Beat, in 512 MiB", "MB")
FIGURES = (WEB, WORKER, BEAT)

V1 = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Group:
    """A group of processes with a limit of memory.

    Attributes:
        folder: of the group, below `/sys/fs/cgroup`.
    """

    folder: Path

    @property
    def killed(self) -> bool:
        """Whether the kernel has killed one of them for want of memory."""
        control = self.folder / ("memory.oom_control" if self.is_v1 else "memory.events")
        counts = dict(line.split() for line in control.read_text().splitlines())
        return int(counts["oom_kill"]) > 0

    @property
    def is_v1(self) -> bool:
        """Whether it is one of the first version of cgroups."""
        return (self.folder / "memory.limit_in_bytes").exists()


@contextmanager
def group(name: str) -> Iterator[Group | None]:
    """Make a group with the limit, if this machine lets us.

    Args:
        name: of the group.

    Yields:
        It, or None.
    """
    v2 = (V2 / "cgroup.controllers").exists()
    folder = (V2 if v2 else V1) / f"benchmarks-{os.getpid()}-{name}"
    try:
        folder.mkdir()
        (folder / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text(str(LIMIT))
        if v2:
            with suppress(OSError):
                (folder / "memory.swap.max").write_text("0")
    except OSError:
        with suppress(OSError):
            folder.rmdir()
        say("  no memory limit can be set here, so the memory is measured alone")
        yield None
        return
    try:
        yield Group(folder)
    finally:
        wait_until(lambda: _removed(folder), 20, f"the end of {folder}")


def _removed(folder: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def start(stack: Stack, name: str, limited: Group | None) -> Process:
    """Start a process of the project inside of a group.

    Args:
        stack: the project.
        name: of the process.
        limited: the group, if there is one.
    """
    command = shlex.split(stack.commands[name])
    if limited:
        enter = f'echo $$ > {limited.folder}/cgroup.procs && exec "$@"'
        command = ["/bin/sh", "-c", enter, "sh", *command]
    return Process(command, folder=stack.project, environment=stack.environment, name=name)


def measure(lab: Lab) -> list[Measured | Skipped]:
    """Measure everything of this section."""
    found: dict[str, list[float]] = {"web": [], "worker": [], "beat": []}
    with lab.released(lab.project) as stack:
        message = project_side(stack).message("write_row.delay()")
        for number in range(lab.effort.few):
            say(f"  round {number + 1} of {lab.effort.few}")
            with ExitStack() as running:
                groups = {name: running.enter_context(group(name)) for name in found}
                processes = {
                    name: running.enter_context(start(stack, name, groups[name])) for name in found
                }
                time_to_answer(processes["web"], f"{stack.url}/")
                processes["worker"].wait_for_line(r"\S+@\S+ ready", 60)
                load(lab, stack, message)
                for name, process in processes.items():
                    assert process.running, process.tail()
                    limited = groups[name]
                    assert limited is None or not limited.killed, f"{name} was killed"
                    found[name].append(sum(memory(process)))
    figures = {"web": WEB, "worker": WORKER, "beat": BEAT}
    return [Measured(figure, tuple(found[name])) for name, figure in figures.items()]


def load(lab: Lab, stack: Stack, message: list[str]) -> None:
    """Give web and worker something to do."""
    queue = project_side(stack).queue
    queue.fill(message, lab.effort.tasks)
    if wrk_is_missing():
        time.sleep(lab.effort.load)
    else:
        wrk(f"{stack.url}/", lab.effort.load, {"Host": HOST, **PROXY_HEADERS})
    queue.wait(timeout=240)
