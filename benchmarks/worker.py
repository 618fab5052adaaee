"""The worker, against a bare Celery application with the same guarantees."""

from __future__ import annotations

import http.client
import json
import shlex
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import redis

from benchmarks.harness import Effort, Figure, Measured, Reading, in_turn, say, values
from benchmarks.meters import commands, cpu_seconds, memory
from benchmarks.projects import COUNTERPARTS, Lab, counterpart, counterpart_variables
from benchmarks.queues import Queue
from benchmarks.web import time_to_answer
from tests.processes import Process, Stack
from tests.production import HOST, PROXY_HEADERS
from tests.servers.redis import Redis

TITLE = "Worker"
BARE = "a bare Celery application"
WITH_DJANGO = "the same in an empty Django project"

READY = Figure("worker.ready", "Start of a worker to ready", "s", BARE)
MEMORY = Figure("worker.memory", "Memory of an idle worker, all its processes", "MB", BARE)
READY_DJANGO = Figure("worker.ready-django", "Start of a worker to ready", "s", WITH_DJANGO)
MEMORY_DJANGO = Figure(
    "worker.memory-django", "Memory of an idle worker, all its processes", "MB", WITH_DJANGO
)
NOTHING = Figure("worker.nothing", "Tasks that do nothing", "tasks/s", BARE)
NOTHING_CPU = Figure("worker.nothing-cpu", "CPU of a task that does nothing", "ms", BARE)
ROW = Figure("worker.row", "Tasks that write one row", "tasks/s", BARE)
ROW_CPU = Figure("worker.row-cpu", "CPU of a task that writes one row", "ms", BARE)
ENQUEUE = Figure("worker.enqueue", "Enqueuing in a request, median", "ms", BARE)
ENQUEUE_99 = Figure("worker.enqueue-99", "Enqueuing in a request, 99th percentile", "ms", BARE)
IDLE = Figure("worker.idle", "Broker commands of an idle worker", "commands/min", BARE)
FRUGAL = Figure(
    "worker.idle-frugal",
    "... of one that asks every 15 seconds",
    "commands/min",
    "the usual profile",
)
STOP = Figure("worker.stop", "End of an idle worker after SIGTERM", "s")
STOP_FRUGAL = Figure(
    "worker.stop-frugal", "... of one that asks every 15 seconds", "s", "the usual profile"
)
FIGURES = (
    READY,
    READY_DJANGO,
    MEMORY,
    MEMORY_DJANGO,
    NOTHING,
    NOTHING_CPU,
    ROW,
    ROW_CPU,
    ENQUEUE,
    ENQUEUE_99,
    IDLE,
    FRUGAL,
    STOP,
    STOP_FRUGAL,
)

# Where a broker is paid by the command (docs/scaling.md of a project).
FRUGAL_VARIABLES = {"CELERY_POLLING_INTERVAL": "15"}
# In seconds: how long an idle worker may take to settle before it is watched or told to stop.
SETTLING = 2.0
REQUESTS = 200
BARE_COMMAND = "celery -A bare_celery worker --loglevel INFO --without-gossip --without-mingle"


@dataclass(frozen=True)
class Side:
    """A Celery application whose workers can be started and given tasks.

    Attributes:
        name: for the log.
        command: of a worker.
        folder: its working directory.
        environment: its variables.
        queue: what it reads.
        source: Python that names the tasks `tasks`.
    """

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    queue: Queue
    source: str

    def start(self, *options: str, **more: str) -> Process:
        """Start a worker and wait until it is ready.

        Args:
            options: of the command.
            more: variables of this worker alone.
        """
        environment = {**self.environment, **more}
        command = [*self.command, *options]
        process = Process(command, folder=self.folder, environment=environment, name=self.name)
        try:
            process.wait_for_line(r"\S+@\S+ ready", 60)
        except AssertionError:
            process.close()
            raise
        return process

    def message(self, call: str) -> list[str]:
        """Return the message of a call, as `Queue.fill` takes it.

        Args:
            call: such as `nothing.delay()`.
        """
        command = ["python", "-c", f"{self.source}; tasks.{call}"]
        with Process(command, folder=self.folder, environment=self.environment) as process:
            assert process.wait(60) == 0, process.tail()
        return self.queue.take()


def project_side(stack: Stack) -> Side:
    """Return the worker of a project."""
    return Side(
        name="worker",
        command=shlex.split(stack.commands["worker"]),
        folder=stack.project,
        environment=stack.environment,
        queue=Queue(redis.Redis.from_url(stack.environment["REDIS_URL"])),
        source=(
            "from my_project.celery import app; import django; django.setup(); "
            "from apps.bench import tasks"
        ),
    )


def bare_side(stack: Stack, url: str) -> Side:
    """Return the worker of the bare application.

    Args:
        stack: the project, whose virtual environment and database it uses.
        url: of its broker.
    """
    return Side(
        name="bare",
        command=shlex.split(BARE_COMMAND),
        folder=COUNTERPARTS,
        environment={**counterpart_variables(stack), "REDIS_URL": url},
        queue=Queue(redis.Redis.from_url(url)),
        source="import bare_celery as tasks",
    )


def measure(lab: Lab) -> list[Measured]:
    """Measure everything of this section."""
    with lab.released(lab.project) as stack:
        ours, bare = project_side(stack), bare_side(stack, lab.redis.url(1))
        return [
            *lives(ours, bare, lab.effort),
            *loads(ours, bare, lab.effort),
            *requests(lab, stack),
            *idleness(ours, bare, lab.effort),
        ]


def lives(ours: Side, bare: Side, effort: Effort) -> list[Measured]:
    """Measure start, idle memory and end of workers."""

    def life(side: Side, **variables: str) -> Reading:
        started = time.perf_counter()
        with side.start(**variables) as process:
            ready = time.perf_counter() - started
            time.sleep(SETTLING)
            used = sum(memory(process))
            started = time.perf_counter()
            process.terminate(grace=60)
            return {"ready": ready, "memory": used, "stop": time.perf_counter() - started}

    found = in_turn(
        {
            "ours": lambda: life(ours),
            "bare": lambda: life(bare),
            "django": lambda: life(bare, DJANGO_SETTINGS_MODULE="empty_project"),
            "frugal": lambda: life(ours, **FRUGAL_VARIABLES),
        },
        effort.rounds,
        "start and stop",
    )
    pairs = (
        (READY, "ready", "bare"),
        (READY_DJANGO, "ready", "django"),
        (MEMORY, "memory", "bare"),
        (MEMORY_DJANGO, "memory", "django"),
    )
    return [
        *(
            Measured(figure, values(found["ours"], value), values(found[name], value))
            for figure, value, name in pairs
        ),
        Measured(STOP, values(found["ours"], "stop")),
        Measured(STOP_FRUGAL, values(found["frugal"], "stop"), values(found["ours"], "stop")),
    ]


def run(side: Side, process: Process, message: list[str], count: int) -> Reading:
    """Let a worker run tasks.

    Args:
        side: the application.
        process: its only worker.
        message: what `Side.message` returned.
        count: how many.

    Returns:
        Tasks per second, and milliseconds of CPU per task.
    """
    before = cpu_seconds(process)
    started = time.perf_counter()
    side.queue.fill(message, count)
    side.queue.wait()
    seconds = time.perf_counter() - started
    return {"rate": count / seconds, "cpu": (cpu_seconds(process) - before) / count * 1000}


def loads(ours: Side, bare: Side, effort: Effort) -> list[Measured]:
    """Measure tasks per second and their CPU."""
    sides = {"ours": ours, "bare": bare}
    tasks = ("nothing", "write_row")
    messages = {
        (name, task): side.message(f"{task}.delay()")
        for name, side in sides.items()
        for task in tasks
    }
    with ExitStack() as running:
        workers = {name: running.enter_context(side.start()) for name, side in sides.items()}

        def load(name: str, task: str, count: int = effort.tasks // 3) -> Reading:
            return run(sides[name], workers[name], messages[name, task], count)

        for name, task in messages:
            load(name, task, 50)
        found = in_turn(
            {f"{name} {task}": partial(load, name, task) for task in tasks for name in sides},
            effort.many,
            "tasks",
        )
    figures = {"nothing": (NOTHING, NOTHING_CPU), "write_row": (ROW, ROW_CPU)}
    return [
        Measured(figure, *(values(found[f"{name} {task}"], value) for name in sides))
        for task, pair in figures.items()
        for figure, value in zip(pair, ("rate", "cpu"), strict=True)
    ]


def requests(lab: Lab, stack: Stack) -> list[Measured]:
    """Measure how long a request waits until its task is enqueued."""

    def ask(url: str, headers: Mapping[str, str]) -> Reading:
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        times = []
        for _ in range(REQUESTS):
            connection.request("GET", address.path, headers=dict(headers))
            times.append(json.loads(connection.getresponse().read())["seconds"] * 1000)
        connection.close()
        return {"median": statistics.median(times), "99": statistics.quantiles(times, n=100)[98]}

    with stack.web(), counterpart(stack, "bare_django") as (process, url):
        time_to_answer(process, f"{url}/")
        headers = {"Host": HOST, **PROXY_HEADERS}
        found = in_turn(
            {
                "ours": lambda: ask(f"{stack.url}/bench/enqueue/", headers),
                "bare": lambda: ask(f"{url}/enqueue/", headers),
            },
            lab.effort.rounds,
            "enqueue",
        )
    Queue(redis.Redis.from_url(stack.environment["REDIS_URL"])).client.flushdb()
    return [
        Measured(ENQUEUE, values(found["ours"], "median"), values(found["bare"], "median")),
        Measured(ENQUEUE_99, values(found["ours"], "99"), values(found["bare"], "99")),
    ]


def idleness(ours: Side, bare: Side, effort: Effort) -> list[Measured]:
    """Count what idle workers ask of their brokers, each of a server of its own."""
    say(f"  idle: {effort.idle:g} s")
    sides = {"ours": (ours, {}), "bare": (bare, {}), "frugal": (ours, FRUGAL_VARIABLES)}
    with ExitStack() as running:
        clients = {}
        for name, (side, variables) in sides.items():
            server = running.enter_context(Redis())
            running.enter_context(side.start(REDIS_URL=server.url(), **variables))
            clients[name] = redis.Redis.from_url(server.url())
        time.sleep(SETTLING)
        before = {name: sum(commands(client).values()) for name, client in clients.items()}
        started = time.monotonic()
        time.sleep(effort.idle)
        minutes = (time.monotonic() - started) / 60
        counts = {
            name: ((sum(commands(client).values()) - before[name]) / minutes,)
            for name, client in clients.items()
        }
    return [
        Measured(IDLE, counts["ours"], counts["bare"]),
        Measured(FRUGAL, counts["frugal"], counts["ours"]),
    ]
