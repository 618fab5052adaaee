"""The web process, against the same gunicorn with a bare callable and with a bare Django view."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

from benchmarks.harness import Effort, Figure, Measured, Reading, in_turn, values
from benchmarks.meters import cpu_seconds, memory, program_json, wrk
from benchmarks.projects import COUNTERPARTS, Lab, counterpart
from tests.processes import Process, Stack, http_get
from tests.production import HOST, PROXY_HEADERS, query

TITLE = "Web"

HEALTH = Figure("web.health", "`/health/`", "requests/s", "a bare WSGI callable")
HOME = Figure("web.home-django", "Home page", "requests/s", "a bare Django view")
HOME_WSGI = Figure("web.home-wsgi", "Home page", "requests/s", "a bare WSGI callable")
HOME_ALONE = Figure("web.home-alone", "Home page", "requests/s", "a view without middleware")
HEALTH_CPU = Figure("web.health-cpu", "CPU of `/health/`", "ms", "a bare WSGI callable")
READY_CPU = Figure("web.ready-cpu", "CPU of `/ready/`", "ms")
HOME_CPU = Figure("web.home-cpu", "CPU of the home page", "ms", "a bare Django view")
SETUP = Figure(
    "web.setup",
    "Settings and `django.setup()`, CPU",
    "s",
    "an empty project with the same apps of Django",
)
START = Figure("web.start", "Start to the first answer", "s", "a bare Django view")
MEMORY = Figure("web.memory", "Memory of a web process, after load", "MB", "a bare Django view")
CONNECTIONS = Figure(
    "web.connections", "PostgreSQL connections under load", "connections", "the budget of the pages"
)
FIGURES = (
    HEALTH,
    HOME,
    HOME_WSGI,
    HOME_ALONE,
    HEALTH_CPU,
    READY_CPU,
    HOME_CPU,
    SETUP,
    START,
    MEMORY,
    CONNECTIONS,
)

# What the pages say: workers x threads, and one more per worker for probes.
BUDGET = 2 * 4 + 2

COUNT = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Target:
    """A page to load."""

    process: Process
    url: str
    headers: Mapping[str, str]

    def load(self, seconds: float) -> Reading:
        """Load it and return requests per second and milliseconds of CPU per request."""
        before = cpu_seconds(self.process)
        load = wrk(self.url, seconds, self.headers)
        return {
            "rate": load.rate,
            "cpu": (cpu_seconds(self.process) - before) / load.requests * 1000,
        }


def measure(lab: Lab) -> list[Measured]:
    """Measure everything of this section."""
    with lab.released(lab.project) as stack:
        return [*starts(lab, stack), *loads(lab, stack)]


def answers(url: str, process: Process) -> bool:
    """Return whether a page is there, or its process is not any more."""
    with suppress(OSError, http.client.HTTPException):
        return http_get(url, host=HOST, headers=PROXY_HEADERS, timeout=2).status == 200
    return not process.running


def time_to_answer(process: Process, url: str) -> float:
    """Return the seconds from now to the first answer, which a moment ago was the start."""
    started = time.perf_counter()
    while not answers(url, process):
        time.sleep(0.005)
    assert process.running, process.tail()
    return time.perf_counter() - started


def starts(lab: Lab, stack: Stack) -> list[Measured]:
    """Measure how long it takes to begin."""

    def project() -> Reading:
        with stack.start("web") as process:
            return {"seconds": time_to_answer(process, f"{stack.url}/")}

    def bare() -> Reading:
        with counterpart(stack, "startproject") as (process, url):
            return {"seconds": time_to_answer(process, f"{url}/")}

    found = in_turn({"ours": project, "theirs": bare}, lab.effort.rounds, "start")
    names = {"ours": "my_project.settings.production", "theirs": "empty_project"}
    setups = {name: partial(setup, stack, module) for name, module in names.items()}
    times = in_turn(setups, lab.effort.many, "django.setup()")
    return [
        Measured(START, values(found["ours"], "seconds"), values(found["theirs"], "seconds")),
        Measured(SETUP, values(times["ours"], "seconds"), values(times["theirs"], "seconds")),
    ]


def setup(stack: Stack, module: str) -> Reading:
    """Return the CPU of loading a settings module and of `django.setup()`, in seconds."""
    code = (
        "import json, time\n"
        "started = time.process_time()\n"
        "import django\n"
        "django.setup()\n"
        "print(json.dumps({'seconds': time.process_time() - started}))\n"
    )
    result = stack.run(
        ["python", "-c", code], DJANGO_SETTINGS_MODULE=module, PYTHONPATH=str(COUNTERPARTS)
    )
    assert result.returncode == 0, result.stderr
    return program_json(result.stdout)


def loads(lab: Lab, stack: Stack) -> list[Measured]:
    """Measure requests per second, their CPU, and what is held meanwhile."""
    probe = {"Host": "10.0.0.7"}
    visitor = {"Host": HOST, **PROXY_HEADERS}
    with ExitStack() as running:
        web = running.enter_context(stack.web())
        targets = {
            "health": Target(web, f"{stack.url}/health/", probe),
            "ready": Target(web, f"{stack.url}/ready/", probe),
            "home": Target(web, f"{stack.url}/", visitor),
        }
        for name in ("bare_wsgi", "bare_django", "startproject"):
            process, url = running.enter_context(counterpart(stack, name))
            time_to_answer(process, f"{url}/")
            targets[name] = Target(process, f"{url}/", visitor)
        for target in targets.values():
            target.load(1)  # what is done once: connections, caches, byte code
        sides = {name: partial(target.load, lab.effort.load) for name, target in targets.items()}
        found = in_turn(sides, lab.effort.many, "load")
        held = connections_under_load(stack, web, lab.effort)
        pss = {name: memory(targets[name].process)[1:] for name in ("home", "startproject")}

    def pair(figure: Figure, ours: str, theirs: str, name: str) -> Measured:
        return Measured(figure, values(found[ours], name), values(found[theirs], name))

    return [
        pair(HEALTH, "health", "bare_wsgi", "rate"),
        pair(HOME, "home", "startproject", "rate"),
        pair(HOME_WSGI, "home", "bare_wsgi", "rate"),
        pair(HOME_ALONE, "home", "bare_django", "rate"),
        pair(HEALTH_CPU, "health", "bare_wsgi", "cpu"),
        Measured(READY_CPU, values(found["ready"], "cpu")),
        pair(HOME_CPU, "home", "startproject", "cpu"),
        Measured(MEMORY, tuple(pss["home"]), tuple(pss["startproject"])),
        Measured(CONNECTIONS, held, (float(BUDGET),) * len(held)),
    ]


def connections_under_load(stack: Stack, web: Process, effort: Effort) -> tuple[float, ...]:
    """Return how many connections PostgreSQL had at most, once per round.

    The load comes over more connections than there are threads, beside probes, and every request
    asks the database.
    """
    url = stack.environment["DATABASE_URL"]
    page = Target(web, f"{stack.url}/bench/count/", {"Host": HOST, **PROXY_HEADERS})
    probe = Target(web, f"{stack.url}/ready/", {"Host": "10.0.0.7"})
    seen = []
    for _ in range(effort.rounds):
        loads = [threading.Thread(target=target.load, args=(1,)) for target in (page, probe)]
        for load in loads:
            load.start()
        most = 0
        while any(load.is_alive() for load in loads):
            [(count,)] = query(url, COUNT)
            most = max(most, count)
            time.sleep(0.1)
        seen.append(float(most))
    return tuple(seen)
