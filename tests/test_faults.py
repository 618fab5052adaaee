"""A load of tasks while faults are injected, one after another: none is lost, none needs a restart.

A producer and requests enqueue without a pause, two workers run that, and every run of a task is a
row in PostgreSQL. What each fault did is printed at the end; `make faults` also writes it into the
docs.
"""

import http.client
import math
import re
import shlex
import shutil
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass, field
from functools import partial
from itertools import count, pairwise
from pathlib import Path

import psutil
import psycopg
import pytest
import redis as redis_client

from tests.conftest import Bake
from tests.faults import PAGE, PROPERTY, Outcome
from tests.processes import Process, Stack, http_get, python_environment, wait_until
from tests.production import (
    HOST,
    PROXY_HEADERS,
    build,
    production,
    production_environment,
    query,
)
from tests.servers.postgres import Postgres, PostgresServer
from tests.servers.redis import Redis
from tests.servers.tcp import TCPProxy
from tests.users import add_app, replace_once

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("faults"),
    pytest.mark.skipif(sys.platform != "linux", reason="Linux alone limits a server's files"),
]

CONCURRENCY = 2
WORKERS = 2
# Seconds that a task sleeps; each LONG_EVERY-th is long, so that every fault meets one that runs.
SHORT, LONG, LONG_EVERY = 0.02, 2.0, 20
# Seconds of load before a fault and after it.
LEAD = 0.7
# So many may wait when the next fault begins.
BACKLOG = 10
# Numbers of tasks that are enqueued by requests.
FIRST_OF_WEB = 1_000_000
# Seconds, for what no fault should delay any longer.
LONGEST_RECOVERY = 30
# Seconds of CELERY_VISIBILITY_TIMEOUT for what a killed worker held.
VISIBILITY_TIMEOUT = 5

MODELS = """
from django.db import models
from django.db.models.functions import Now


class Run(models.Model):
    number = models.BigIntegerField(db_index=True)
    worker = models.IntegerField()
    child = models.IntegerField()
    started = models.DateTimeField(db_default=Now())
    ended = models.DateTimeField(null=True)
"""

TASKS = f"""
import os
import time

from celery import shared_task
from celery.contrib.django.task import DjangoTask
from django.db.models.functions import Now

from apps.load.models import Run


@shared_task(base=DjangoTask, default_retry_delay=1)
def work(number):
    run = Run.objects.create(number=number, worker=os.getppid(), child=os.getpid())
    time.sleep({SHORT} if number % {LONG_EVERY} else {LONG})
    Run.objects.filter(pk=run.pk).update(ended=Now())
"""

VIEWS = """
from django.db import transaction
from django.http import HttpResponse

from apps.load.tasks import work


@transaction.atomic
def enqueue(request):
    work.delay_on_commit(int(request.GET["number"]))
    return HttpResponse(status=202)
"""

# Says of each number whether its call of `delay` returned, and when.
PRODUCE = """
import itertools, os, time
from apps.load.tasks import work
pause = 1 / float(os.environ["RATE"])
due = time.monotonic()
for number in itertools.count(1):
    try:
        work.delay(number)
    except Exception as error:
        kind = type(error)
        print("refused", number, time.time(), kind.__module__, kind.__name__, flush=True)
    else:
        print("enqueued", number, time.time(), flush=True)
    due = max(due + pause, time.monotonic() - 1)
    time.sleep(max(due - time.monotonic(), 0))
"""

PRODUCER = shlex.join(["python", "manage.py", "shell", "--command", PRODUCE])

# What an enqueueing gets that fails, whatever is wrong with the broker.
AWAY = "kombu.exceptions.OperationalError"

# Moves a process's clock by as many seconds as the file beside it says. Only what asks time.time().
SITE = """
import pathlib, time

offset, real = pathlib.Path(__file__).with_name("offset"), time.time
time.time = lambda: real() + float(offset.read_text() or 0)
"""


@dataclass
class Event:
    """A fault that has happened; times are in seconds since 1970."""

    began: float
    ended: float
    recovered: float
    in_flight: int


@dataclass
class Site:
    """A running project under load."""

    stack: Stack
    next_stack: Stack
    postgres: Postgres
    broker: Redis
    way: TCPProxy
    front: TCPProxy
    offset: Path
    database_url: str
    web: Process
    workers: list[Process]  # the first one by the clock that can be moved
    producer: Process
    # Of enqueued tasks and of refused ones: number -> when.
    requested: dict[int, float] = field(default_factory=dict)
    refused_requests: list[float] = field(default_factory=list)
    events: dict[str, Event] = field(default_factory=dict)

    def enqueued(self) -> dict[int, float]:
        """Return the tasks whose enqueueing returned, and when."""
        lines = [line.split() for line in self.producer.lines if line.startswith("enqueued ")]
        return {int(number): float(moment) for _, number, moment in lines} | self.requested.copy()

    def refusals(self, since: float) -> set[str]:
        """Return the kinds of errors that the producer got since a moment."""
        lines = [line.split() for line in self.producer.lines if line.startswith("refused ")]
        return {f"{module}.{name}" for _, _, moment, module, name in lines if float(moment) > since}

    def in_flight(self) -> int:
        """Return how many tasks the workers hold."""
        with redis_client.Redis.from_url(self.broker.url()) as client:
            return int(client.hlen("unacked"))

    def in_flight_at_most(self, seconds: float) -> int:
        """Return how many tasks the workers hold at most in a time."""
        most, end = self.in_flight(), time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.02)
            most = max(most, self.in_flight())
        return most

    def waiting(self) -> int:
        """Return how many tasks no worker has taken."""
        with redis_client.Redis.from_url(self.broker.url()) as client:
            return int(client.llen("default"))

    def long_task(self, worker: Process) -> int:
        """Wait for a worker that is in the middle of a long task, and return its child's id."""
        statement = (
            f"SELECT child FROM load_run WHERE ended IS NULL AND worker = {worker.pid} "
            "AND started BETWEEN now() - interval '1.5 s' AND now() - interval '0.3 s'"
        )
        rows = wait_until(lambda: query(self.database_url, statement), 60, "a long task")
        child: int = rows[0][0]
        return child

    def first_run(self, since: float, workers: set[int]) -> float | None:
        """Return when one of some workers, by their process ids, has begun a task since."""
        statement = (
            "SELECT min(extract(epoch FROM started))::float FROM load_run "
            f"WHERE started > to_timestamp({since}) AND worker = ANY('{workers}')"
        )
        moment: float | None = None
        with suppress(psycopg.OperationalError):
            [(moment,)] = query(self.database_url, statement)
        return moment

    def settle(self, timeout: float) -> dict[int, float]:
        """Wait until all that was enqueued until now has been executed, and return that."""
        enqueued = self.enqueued()

        def missing() -> set[int]:
            rows = query(
                self.database_url, "SELECT DISTINCT number FROM load_run WHERE ended IS NOT NULL"
            )
            return enqueued.keys() - {number for (number,) in rows}

        with suppress(AssertionError):  # The tests of each fault say what is lost.
            wait_until(lambda: not missing(), timeout, "every task")
        return enqueued

    def outcomes(self, enqueued: dict[int, float]) -> dict[str, Outcome]:
        """Return what became of tasks.

        Each counts under the last fault before it was enqueued, but a start beyond its first under
        the last fault before that start: the one that it met.
        """
        rows = query(
            self.database_url,
            "SELECT number, extract(epoch FROM started)::float, ended IS NOT NULL FROM load_run "
            "ORDER BY started",
        )
        starts = defaultdict(list)
        for number, started, _ in rows:
            starts[number].append(started)
        repeats = [moment for number in enqueued for moment in starts[number][1:]]
        outcomes = {}
        begins = [-math.inf, *(event.began - LEAD for event in list(self.events.values())[1:])]
        ends = [*begins[1:], math.inf]
        for (fault, event), begin, end in zip(self.events.items(), begins, ends, strict=True):
            numbers = {n for n, moment in enqueued.items() if begin <= moment < end}
            executed = {number for number, _, ended in rows if ended} & numbers
            first, last = event.began - LEAD, event.recovered + LEAD
            moments = [moment for _, moment, _ in rows if first <= moment <= last]
            outcomes[fault] = Outcome(
                fault=fault,
                enqueued=len(numbers),
                executed=len(executed),
                lost=len(numbers - executed),
                duplicated=sum(begin + LEAD <= moment < end + LEAD for moment in repeats),
                in_flight=event.in_flight,
                gap=max(later - earlier for earlier, later in pairwise(moments)),
                recovery=event.recovered - event.ended,
            )
        return outcomes


def stop_worker(site: Site) -> None:
    """Stop a worker as a platform does, and start another."""
    worker = site.workers[1]
    site.long_task(worker)
    started = time.monotonic()
    worker.terminate(10)
    assert time.monotonic() - started < 10, "the worker had to be killed"
    site.workers.remove(worker)
    site.workers.append(site.stack.worker())


def kill_child(site: Site) -> None:
    """Kill a worker's child while it runs a task, as the system does when memory is short."""
    psutil.Process(site.long_task(site.workers[1])).kill()


def kill_child_of_full_broker(site: Site) -> None:
    """Kill a worker's child while the broker's memory is full, until the worker has noticed."""
    worker = site.workers[1]
    child = psutil.Process(site.long_task(worker))
    lines = len(worker.lines)
    with full_memory(site):
        child.kill()
        worker.wait_for_line("Failed to retry task", 20, after=lines)


def kill_worker(site: Site) -> int:
    """Kill a worker with its children; another one gives back what it held."""
    worker = site.workers[1]
    site.long_task(worker)
    worker.freeze()
    held = site.in_flight()
    worker.kill()
    site.workers.remove(worker)
    site.workers.append(site.stack.worker(CELERY_VISIBILITY_TIMEOUT=str(VISIBILITY_TIMEOUT)))
    return held


def restart_broker(site: Site) -> None:
    """Stop the broker in order, and start it again."""
    site.broker.stop()
    time.sleep(2)
    site.broker.start()


def kill_broker(site: Site) -> None:
    """Kill the broker, and start it again."""
    site.broker.kill()
    time.sleep(2)
    site.broker.start()


def freeze_broker(site: Site) -> None:
    """Let the broker answer nothing for longer than anybody waits for an answer."""
    site.broker.freeze()
    time.sleep(6)
    site.broker.thaw()


def reset_connections(site: Site) -> None:
    """End all connections to the broker, and new ones for a while."""
    site.way.refusing = True
    site.way.reset()
    time.sleep(2)
    site.way.refusing = False


def forget_connections(site: Site) -> None:
    """Let all connections to the broker die without a word; new ones work."""
    site.way.forget()
    time.sleep(LONG)  # until what had arrived is done


def slow_down(site: Site) -> None:
    """Let each word to and from the broker take its time."""
    site.way.delay = 0.2
    time.sleep(3)
    site.way.delay = 0


@contextmanager
def full_memory(site: Site) -> Iterator[None]:
    """Let the broker's memory be full."""
    with redis_client.Redis.from_url(site.broker.url()) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", before)


def fill_memory(site: Site) -> None:
    """Let the broker's memory be full, while `doctor` asks everything."""
    began = time.time()
    with full_memory(site):
        doctor = site.stack.manage("doctor")
        wait_until(lambda: site.refusals(began), 10, "a refusal")
    assert "PROBLEM  broker memory" in doctor.stdout
    assert site.refusals(began) == {AWAY}


def fill_disk(site: Site) -> None:
    """Let the broker's disk be full."""
    began = time.time()
    site.broker.fill_disk()
    wait_until(lambda: site.refusals(began), 10, "a refusal")
    time.sleep(2)
    site.broker.free_disk()
    assert site.refusals(began) == {AWAY}


def step_clock(hours: int, site: Site) -> None:
    """Move the clock of the first worker until one that it could harm has run a long task."""
    site.offset.write_text(str(hours * 3600))
    time.sleep(1.5)
    site.long_task(site.workers[1 if hours > 0 else 0])
    time.sleep(LONG)
    site.offset.write_text("0")


def restart_postgres(site: Site) -> None:
    """Stop PostgreSQL in order, and start it again."""
    site.postgres.stop()
    site.postgres.start()


def fail_over(site: Site) -> None:
    """Let PostgreSQL be gone for ten seconds, and come back at its address."""
    site.postgres.stop("immediate")
    time.sleep(10)
    site.postgres.start()


def deploy(site: Site) -> None:
    """Bring a new version in and take the old one out, as the platforms do."""
    old = [site.web, *site.workers]
    site.stack = site.next_stack
    release = site.stack.manage("release")
    assert release.returncode == 0, release.stdout + release.stderr
    site.web = site.stack.web()
    site.workers = [site.stack.worker() for _ in range(WORKERS)]
    site.front.target = site.stack.port
    for process in old:
        assert process.terminate(10) != -signal.SIGKILL


# A killed worker comes last, because the one after it gives back after seconds, instead of an hour,
# what is overdue.
FAULTS: dict[str, Callable[[Site], int | None]] = {
    "worker stopped (SIGTERM)": stop_worker,
    "child process of a worker killed": kill_child,
    "child process killed, memory of the broker full": kill_child_of_full_broker,
    "connections to the broker reset": reset_connections,
    "connections to the broker dead without a word": forget_connections,
    "connections to the broker slow": slow_down,
    "broker restarted": restart_broker,
    "broker killed": kill_broker,
    "broker frozen": freeze_broker,
    "disk of the broker full": fill_disk,
    "memory of the broker full": fill_memory,
    "clock of a worker an hour ahead": partial(step_clock, 1),
    "clock of a worker an hour behind": partial(step_clock, -1),
    "PostgreSQL restarted": restart_postgres,
    "PostgreSQL gone for ten seconds": fail_over,
    "deployment of a new version": deploy,
    "worker killed (SIGKILL)": kill_worker,
}


def request_tasks(site: Site, stop: threading.Event) -> None:
    """Enqueue tasks by requests, until told to stop."""
    for number in count(FIRST_OF_WEB):
        moment = time.time()
        url = f"http://127.0.0.1:{site.front.port}/load/?number={number}"
        try:
            status = http_get(url, host=HOST, headers=PROXY_HEADERS, timeout=10).status
        except (OSError, http.client.HTTPException):
            status = 0
        if status == 202:
            site.requested[number] = moment
        else:
            site.refused_requests.append(moment)
        if stop.wait(0.5):
            return


def prepare(project: Path) -> Path:
    """Add the app with the task, its migration and the static files."""
    files = {"models.py": MODELS, "tasks.py": TASKS, "views.py": VIEWS}
    add_app(project, "load", files, {"load/": "enqueue"})
    return build(project, "load")


@pytest.fixture(
    scope="module",
    params=[pytest.param(10, id="10/s"), pytest.param(50, id="50/s", marks=pytest.mark.nightly)],
)
def site(
    request: pytest.FixtureRequest,
    bake: Bake,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,
) -> Iterator[Site]:
    """The default project with production settings, real servers and a load."""
    if not isinstance(postgres, Postgres):
        pytest.skip("DATABASE_URL names a server that these tests cannot stop")
    folder = tmp_path_factory.mktemp("faults")
    project = prepare(Path(shutil.copytree(bake(), folder / "old" / "my_project")))
    new_version = Path(shutil.copytree(project, folder / "new" / "my_project"))
    replace_once(new_version / "pyproject.toml", 'version = "0.1.0"', 'version = "0.2.0"')
    (folder / "clock").mkdir()
    (folder / "clock" / "sitecustomize.py").write_text(SITE)
    offset = folder / "clock" / "offset"
    offset.write_text("0")
    stop = threading.Event()
    with ExitStack() as things:
        broker = things.enter_context(Redis(configuration=project / "deploy" / "redis.conf"))
        way = things.enter_context(TCPProxy(broker.port))
        environment = production_environment(
            postgres.create_database(),
            f"redis://127.0.0.1:{way.port}/0",
            CELERY_WORKER_CONCURRENCY=str(CONCURRENCY),
            CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT="1",
            WEB_CONCURRENCY="1",
            RATE=str(request.param),
        )
        stack = things.enter_context(production(project, environment))
        stack.commands = {**stack.commands, "producer": PRODUCER}
        next_stack = Stack(new_version, environment, python_environment(project))
        site = Site(
            stack=stack,
            next_stack=things.enter_context(next_stack),
            postgres=postgres,
            broker=broker,
            way=way,
            front=things.enter_context(TCPProxy(stack.port)),
            offset=offset,
            database_url=environment["DATABASE_URL"],
            web=stack.web(),
            workers=[stack.worker(PYTHONPATH=str(offset.parent)), stack.worker()],
            producer=stack.start("producer"),
        )
        requests = threading.Thread(target=request_tasks, args=(site, stop))
        requests.start()
        things.callback(requests.join)
        things.callback(stop.set)
        yield site
        postgres.recover()


@pytest.mark.parametrize("fault", FAULTS)
def test_tasks_run_again_after(site: Site, fault: str) -> None:
    wait_until(lambda: site.waiting() < BACKLOG, 60, "the end of what the last fault has left")
    if fault == list(FAULTS)[-1]:
        site.settle(60)
    in_flight = site.in_flight_at_most(LEAD)
    before = {worker.pid for worker in site.workers}
    began = time.time()
    held = FAULTS[fault](site)
    ended = time.time()
    after = {worker.pid for worker in site.workers}
    recovered = wait_until(
        lambda: site.first_run(ended, before & after or after), LONGEST_RECOVERY, "a task that runs"
    )
    assert recovered is not None
    site.events[fault] = Event(began, ended, recovered, in_flight if held is None else held)
    time.sleep(LEAD)
    assert all(process.running for process in [site.web, site.producer, *site.workers])


@pytest.fixture(scope="module")
def outcomes(site: Site) -> dict[str, Outcome]:
    """What became of all tasks, after some time for those that come late."""
    return site.outcomes(site.settle(60))


@pytest.mark.parametrize("fault", FAULTS)
def test_no_task_is_lost_by(
    outcomes: dict[str, Outcome], fault: str, record_property: Callable[[str, object], None]
) -> None:
    outcome = outcomes[fault]
    record_property(PROPERTY, astuple(outcome))
    assert outcome.enqueued > 0
    assert outcome.lost == 0, outcome
    assert outcome.duplicated <= max(outcome.in_flight, CONCURRENCY * WORKERS), outcome


def test_requests_are_served_while_a_new_version_is_deployed(site: Site) -> None:
    event = site.events["deployment of a new version"]
    assert any(event.began < moment < event.ended for moment in site.requested.values())
    assert not [moment for moment in site.refused_requests if event.began < moment < event.ended]


def test_the_page_lists_every_fault() -> None:
    names = re.findall(r"^\| (.+?) +\| +\d", PAGE.read_text("utf-8"), re.MULTILINE)
    assert names == list(FAULTS)
