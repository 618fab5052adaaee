"""From a command to a page: baking, installing, testing, serving, and the image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uv

from benchmarks.baking import bake
from benchmarks.harness import Figure, Measured, Reading, Skipped, in_turn, say, values
from benchmarks.meters import MEGABYTE
from benchmarks.projects import Lab
from benchmarks.web import time_to_answer
from tests.baking import bake_with_cookiecutter
from tests.processes import Process, free_port

TITLE = "First steps"

BAKE = Figure("first_steps.bake", "Bake with Cookiecutter", "s")
SYNC = Figure("first_steps.sync", "`uv sync`, warm cache", "s")
TESTS = Figure("first_steps.tests", "First run of the project's tests", "s")
SERVE = Figure("first_steps.serve", "`migrate`, `runserver`, first page", "s")
PACKAGES = Figure("first_steps.packages", "Packages in production", "packages", "with the tools")
SIZE = Figure("first_steps.size", "Their size on disk", "MB", "with the tools")
IMAGE = Figure("first_steps.image", "Size of the image", "MB")
OWN_LAYER = Figure(
    "first_steps.image-code", "Size of its layers that a change of code replaces", "MB"
)
REBUILD = Figure("first_steps.rebuild", "Rebuild after a change of code", "s")
FIGURES = (BAKE, SYNC, TESTS, SERVE, PACKAGES, SIZE, IMAGE, OWN_LAYER, REBUILD)


def measure(lab: Lab) -> list[Measured | Skipped]:
    """Measure everything of this section."""
    project = bake_with_cookiecutter(lab.template, lab.folder / "first", {})
    run("sync", project)  # fills the cache and writes the lock

    def sync() -> Reading:
        shutil.rmtree(project / ".venv")
        return {"seconds": timed("sync", project)}

    def tests() -> Reading:
        return {"seconds": timed("run pytest -q", project)}

    sides = {
        "bake": lambda: bake("cookiecutter", lab.template, {}),
        "sync": sync,
        "serve": lambda: {"seconds": serve(project)},
    }
    found = in_turn(sides, lab.effort.rounds, "steps")
    found |= in_turn({"tests": tests}, lab.effort.few, "tests")
    with_tools = packages(project)
    run("sync --no-dev", project)
    alone = packages(project)
    figures = {"bake": BAKE, "sync": SYNC, "serve": SERVE, "tests": TESTS}
    return [
        *(Measured(figure, values(found[name], "seconds")) for name, figure in figures.items()),
        *(
            Measured(figure, (alone[name],), (with_tools[name],))
            for name, figure in (("count", PACKAGES), ("size", SIZE))
        ),
        *image(project, lab),
    ]


def environment() -> dict[str, str]:
    """Return the variables of a user's shell, without those of this environment."""
    own = str(Path(sys.executable).parent)
    path = [part for part in os.environ["PATH"].split(os.pathsep) if part != own]
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return {**kept, "PATH": os.pathsep.join(path)}


def run(command: str, folder: Path) -> None:
    """Run a command of uv.

    Raises:
        AssertionError: it failed.
    """
    python = ["--python", sys.executable] if command.startswith("sync") else []
    result = subprocess.run(
        [uv.find_uv_bin(), *command.split(), *python],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"uv {command}\n{result.stdout}{result.stderr}"


def timed(command: str, folder: Path) -> float:
    """Run a command of uv and return its seconds."""
    started = time.perf_counter()
    run(command, folder)
    return time.perf_counter() - started


def serve(project: Path) -> float:
    """Return the seconds until a new project shows its first page."""
    (project / "db.sqlite3").unlink(missing_ok=True)
    port = free_port()
    started = time.perf_counter()
    run("run manage.py migrate", project)
    command = [uv.find_uv_bin(), "run", "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    with Process(command, folder=project, environment=environment()) as process:
        time_to_answer(process, f"http://127.0.0.1:{port}/health/")
        return time.perf_counter() - started


def packages(project: Path) -> dict[str, float]:
    """Return how many packages are installed, and their megabytes without byte code."""
    [folder] = (project / ".venv" / "lib").glob("python*/site-packages")
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {
        "count": float(len(list(folder.glob("*.dist-info")))),
        "size": sum(path.stat().st_size for path in files) / MEGABYTE,
    }


def docker(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of Docker and return it, whatever its exit code."""
    return subprocess.run(
        ["docker", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def without_docker(project: Path) -> str:
    """Return why no image can be built, or nothing."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    if docker("version").returncode != 0:
        return "no Docker engine answers"
    for line in (project / "Dockerfile").read_text("utf-8").splitlines():
        base = line.removeprefix("FROM ").split()[0] if line.startswith("FROM ") else ""
        if base and docker("image", "inspect", base).returncode != 0:
            return f"the image {base} is not here"
    return ""


def image(project: Path, lab: Lab) -> Sequence[Measured | Skipped]:
    """Measure the image, if there is a Docker engine."""
    reason = without_docker(project)
    if reason:
        return [Skipped(figure, reason) for figure in (IMAGE, OWN_LAYER, REBUILD)]
    tag = "benchmarked-project"
    build = ("build", "--tag", tag, ".")
    say("  image: first build")
    first = docker(*build, folder=project)
    assert first.returncode == 0, first.stderr
    before = layers(tag)
    times = []
    for number in range(lab.effort.few):
        (project / "apps" / "change.py").write_text(f"NUMBER = {number}\n", encoding="utf-8")
        started = time.perf_counter()
        again = docker(*build, folder=project)
        times.append(time.perf_counter() - started)
        assert again.returncode == 0, again.stderr
    after = layers(tag)
    kept = [layer for layer in before if layer in after]
    # Those of the base and the one with the dependencies.
    assert len(kept) >= len(before) - 2, f"a change of code replaced {before} by {after}"
    sizes = [
        int(size)
        for size in docker("history", "--format", "{{.Size}}", "--human=false", tag).stdout.split()
    ]
    docker("image", "rm", "--force", tag)
    changed = len(before) - len(kept)
    own = [size for size in sizes if size][:changed]
    return [
        Measured(IMAGE, (sum(sizes) / MEGABYTE,)),
        Measured(OWN_LAYER, (sum(own) / MEGABYTE,)),
        Measured(REBUILD, tuple(times)),
    ]


def layers(tag: str) -> list[str]:
    """Return the digests of an image's layers, the lowest first."""
    inspected = docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", tag)
    found: list[str] = json.loads(inspected.stdout)
    return found
