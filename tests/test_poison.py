"""Tasks that take their process with them, and messages that nobody can read, on real servers."""

import base64
import json
import os
import pickle
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from tests.conftest import Bake
from tests.processes import Process, Stack, wait_until
from tests.production import (
    effects,
    prepare,
    production,
    production_environment,
    query,
    wait_for_effect,
)
from tests.servers.postgres import PostgresServer
from tests.servers.redis import Redis
from tests.servers.smtp import Delivery, SMTPServer
from tests.users import add_app, replace_once

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("poison")]

RECIPIENT = "operator@example.com"
MARK = "very-private"

POISON_TASKS = """
import os
import signal
import time

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded

from apps.trial.models import Effect


@shared_task(default_retry_delay=0)
def die(name, way):
    Effect.objects.create(name=name, detail="started")
    if way == "exit":
        os._exit(1)
    os.kill(os.getpid(), getattr(signal, way))
    time.sleep(60)


@shared_task(default_retry_delay=0, max_retries=None)
def die_for_ever(name):
    Effect.objects.create(name=name, detail="started")
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@shared_task(soft_time_limit=1, time_limit=3)
def never_end(name, swallow=False):
    while True:
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            Effect.objects.create(name=name, detail="told to stop")
            if not swallow:
                raise


@shared_task
def hold(name):
    Effect.objects.create(name=name, detail="started")
    time.sleep(60)


@shared_task(ignore_result=False)
def return_an_object(secret):
    return object()
"""


@dataclass
class Site:
    """A project whose worker is given poison."""

    stack: Stack
    worker: Process
    broker: Redis
    database_url: str
    mails: SMTPServer

    def push(self, *messages: bytes, database: int = 0) -> None:
        """Put messages onto the queue `default` of one of the broker's databases as they are."""
        with redis_client.Redis.from_url(self.broker.url(database)) as client:
            client.lpush("default", *messages)

    def failures(self, columns: str, condition: str) -> list[tuple[Any, ...]]:
        """Return what is recorded of failures, oldest first."""
        statement = f"SELECT {columns} FROM operations_failedtask WHERE {condition} ORDER BY id"
        return query(self.database_url, statement)

    def wait_for_failures(self, task: str, count: int) -> list[tuple[Any, ...]]:
        """Return id and reason of a task's failures, as soon as there are so many."""
        condition = f"task = '{task}'"
        found = lambda: len(self.failures("1", condition)) >= count  # noqa: E731
        wait_until(found, 60, f"{count} failures of {task}")
        return self.failures("task_id, reason", condition)

    def about(self, words: str) -> list[Delivery]:
        """Return the mails whose subject holds some words."""
        return [mail for mail in self.mails.inbox if words in str(mail.message["Subject"])]

    def counted(self, reason: str) -> int:
        """Return what the metrics say of discarded messages."""
        with redis_client.Redis.from_url(self.broker.url()) as client:
            return int(client.hget("my_project:metrics:tasks", reason) or 0)

    def goes_on(self) -> None:
        """Assert that the same worker takes a task now, and that nothing is left of the others."""
        name = uuid.uuid4().hex
        self.push(message("apps.trial.tasks.record", name, "done"))
        wait_for_effect(self.database_url, name, "done", 30)
        assert self.worker.running
        with redis_client.Redis.from_url(self.broker.url()) as client:
            wait_until(lambda: not client.hlen("unacked"), 10, "all messages to be acknowledged")
            assert client.zcard("unacked_index") == 0
            assert client.llen("default") == 0


def envelope(headers: Any, content: Any, **changes: Any) -> dict[str, Any]:
    """Return a message as Celery writes it, apart from what is wrong with it."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return {
        "body": base64.b64encode(raw).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            "correlation_id": "1",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "default"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": uuid.uuid4().hex,
        },
        **changes,
    }


def headers(task: Any, **changes: Any) -> dict[str, Any]:
    """Return the headers of a message for a task."""
    number = uuid.uuid4().hex
    return {"lang": "py", "task": task, "id": number, "root_id": number, "retries": 0, **changes}


EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def message(task: str, *arguments: Any, **changes: Any) -> bytes:
    """Return a message for a task that there is."""
    return json.dumps(envelope(headers(task, **changes), [arguments, {}, EMBED])).encode()


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A default project with the apps of the tests and with poison."""
    folder = tmp_path_factory.mktemp("poison") / "my_project"
    project = prepare(Path(shutil.copytree(bake(use_prometheus="true"), folder)))
    add_app(project, "poison", {"tasks.py": POISON_TASKS, "views.py": ""}, {})
    replace_once(project / "apps/operations/messages.py", "MAX_LOSSES = 3\n", "MAX_LOSSES = 1\n")
    return project


@pytest.fixture(scope="module")
def site(project: Path, postgres: PostgresServer) -> Iterator[Site]:
    """The project with one worker of two processes, which all tests share."""
    with Redis() as broker, SMTPServer() as mails:
        environment = production_environment(
            postgres.create_database(),
            broker.url(),
            EMAIL_PORT=str(mails.port),
            ALERT_RECIPIENTS=RECIPIENT,
        )
        with production(project, environment) as stack:
            yield Site(stack, stack.worker(), broker, environment["DATABASE_URL"], mails)


def test_a_task_that_kills_its_process_is_run_twice_and_is_then_a_failure(site: Site) -> None:
    ways = ("SIGKILL", "SIGSEGV", "exit")
    site.push(*(message("apps.poison.tasks.die", f"{MARK}-{way}", way, id=way) for way in ways))
    site.push(message("apps.poison.tasks.die_for_ever", f"{MARK}-ever", id="ever"))
    # Meanwhile others are served.
    site.push(message("apps.trial.tasks.record", "neighbour", "done"))
    wait_for_effect(site.database_url, "neighbour", "done", 30)
    failed = site.wait_for_failures("apps.poison.tasks.die", 3)
    failed += site.wait_for_failures("apps.poison.tasks.die_for_ever", 1)
    assert sorted(failed) == sorted((name, "WorkerLostError") for name in (*ways, "ever"))
    for name in (*ways, "ever"):
        assert effects(site.database_url, f"{MARK}-{name}") == ["started"] * 2
        lines = [line for line in site.worker.lines if f"[{name}] failed for good" in line]
        assert len(lines) == 1
    wait_until(lambda: site.about("tasks.die failed"), 20, "a mail")
    wait_until(lambda: site.about("tasks.die_for_ever failed"), 20, "a mail")
    assert MARK not in str(site.worker.lines)
    site.goes_on()


def test_a_task_that_never_ends_is_stopped_by_its_limits(site: Site) -> None:
    task = "apps.poison.tasks.never_end"
    site.push(message(task, "obeys", id="obeys"), message(task, "swallows", True, id="swallows"))
    assert sorted(site.wait_for_failures(task, 2)) == [
        ("obeys", "SoftTimeLimitExceeded"),
        ("swallows", "TimeLimitExceeded"),
    ]
    assert effects(site.database_url, "obeys") == ["told to stop"]
    assert effects(site.database_url, "swallows") == ["told to stop"]
    for reason in ("SoftTimeLimitExceeded", "TimeLimitExceeded"):
        wait_until(lambda: site.about(f"never_end failed: {reason}"), 20, "a mail")  # noqa: B023
    site.goes_on()


def test_a_result_that_is_no_json_fails_alone(site: Site) -> None:
    task = "apps.poison.tasks.return_an_object"
    site.push(message(task, MARK, id="object"))
    assert site.wait_for_failures(task, 1) == [("object", "EncodeError")]
    wait_until(lambda: site.about("return_an_object failed: EncodeError"), 20, "a mail")
    site.goes_on()
    assert len(site.failures("1", f"task = '{task}'")) == 1


def test_arguments_that_do_not_fit_are_a_failure(site: Site) -> None:
    task = "apps.trial.tasks.record"
    site.push(message(task, MARK, MARK, MARK, MARK, id="four"))
    assert site.wait_for_failures(task, 1) == [("four", "TypeError")]
    site.goes_on()


class Payload:
    """What makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.file}",)


def malformed(task: str, file: Path) -> dict[str, bytes]:
    """Return messages that no worker may run, and that none may be ended by."""
    good = [[MARK, MARK], {}, EMBED]
    payload = pickle.dumps([[Payload(file)], {}, EMBED])
    old = pickle.dumps({"task": task, "id": "1", "args": [Payload(file)], "kwargs": {}})
    pickled = {"content-type": "application/x-python-serialize", "content-encoding": "binary"}
    whole = envelope(headers(task), good)
    properties = whole["properties"]
    messages: dict[str, Any] = {
        "a pickle": envelope(headers(task), payload, **pickled),
        "a pickle of the old protocol": envelope({}, old, **pickled),
        "a pickle called JSON": envelope(headers(task), payload),
        "a list": [MARK],
        "null": None,
        "a text": MARK,
        "an empty object": {},
        "no properties": {**whole, "properties": None},
        "empty properties": {**whole, "properties": {}},
        "no tag": {**whole, "properties": {**properties, "delivery_tag": None}},
        "no place": {**whole, "properties": {**properties, "delivery_info": None}},
        "headers as a list": envelope([MARK], good),
        "no headers": envelope(None, good),
        "no task": envelope({"id": "1"}, {"args": MARK}),
        "no id": envelope({"task": task}, good),
        "a task that is a list": envelope(headers([MARK]), good),
        "another form of content": envelope(headers(task), good, **{"content-type": "text/x"}),
        "no body": envelope(headers(task), good, body=None),
        "an empty body": envelope(headers(task), good, body=""),
        "a body that is no base64": envelope(headers(task), good, body="!"),
        "a body that is a number": envelope(headers(task), good, body=5),
        "a body that is no JSON": envelope(headers(task), MARK.encode()),
        "a body of two parts": envelope(headers(task), good[:2]),
        "a body that is null": envelope(headers(task), None),
        "arguments as an object": envelope(headers(task), [{MARK: 1}, {}, EMBED]),
        "names as a list": envelope(headers(task), [[], [MARK], EMBED]),
        "links that are numbers": envelope(headers(task), [[], {}, {**EMBED, "callbacks": [5]}]),
        "a limit that is a text": envelope(headers(task, timelimit=[MARK, None]), good),
        "stamps that are a number": envelope(headers(task, stamped_headers=5), good),
        "a time before all times": envelope(headers(task, eta="0001-01-01T00:00:00+05:00"), good),
        "a time that is none": envelope(headers(task, eta=MARK), good),
        "a broken compression": envelope(headers(task, compression="zlib"), good),
        "an identifier that is none": envelope(
            headers(task, root_id={"__type__": "uuid", "__value__": MARK}), good
        ),
    }
    return {
        "nothing": b"",
        "no JSON": MARK.encode(),
        "half of a message": json.dumps(whole).encode()[:-20],
        "no UTF-8": b'{"' + MARK.encode() + b'\xff": 1}',
        "ten megabytes": os.urandom(10 * 1024 * 1024),
        "a hundred thousand lists": b"[" * 100_000,
        **{name: json.dumps(content).encode() for name, content in messages.items()},
    }


def test_no_message_ends_a_worker(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "was-run"
    messages = malformed("apps.trial.tasks.record", file)
    # While it waits, the worker takes a message in another way than while there are more.
    for number, (name, content) in enumerate(messages.items(), 1):
        site.push(content)
        wait_until(
            lambda: site.counted("rejected") == number or not site.worker.running,  # noqa: B023
            20,
            f"{name} to be refused",
        )
        assert site.worker.running, name
    messages = malformed("apps.trial.tasks.record", file)
    site.push(message("apps.trial.tasks.record", "first", "done"), *messages.values())
    wait_until(lambda: site.counted("rejected") == 2 * len(messages), 60, "all to be refused")
    unreadable = "task = 'discarded message' AND reason = 'unreadable'"
    wait_until(
        lambda: len(site.failures("1", unreadable)) == 2 * len(messages), 20, "all to be recorded"
    )
    lines = [line for line in site.worker.lines if "could not be read" in line]
    assert len(lines) == 2 * len(messages)
    wait_until(lambda: site.about("discarded messages: unreadable"), 20, "a mail")
    assert not file.exists()
    # Notes of two that Redis could read and Python could not; they are dropped in an hour.
    with redis_client.Redis.from_url(site.broker.url()) as client:
        left = client.hgetall("unacked")
        assert all(b"__type__" in note for note in left.values()), left
        client.delete("unacked", "unacked_index")
    site.goes_on()
    assert len(site.about("unreadable")) == 1
    assert MARK not in str(site.worker.lines)
    assert not any(MARK in mail.message.as_string() for mail in site.mails.inbox)


ASK_FOR_RESULTS = """
from celery.result import AsyncResult
for name in ("pickle", "error"):
    try:
        print(name, "gave", AsyncResult(name).get(timeout=2))
    except Exception as error:
        print(name, "raised", type(error).__name__)
"""


def test_a_stored_result_runs_nothing(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "was-run"
    call = {"exc_type": "system", "exc_module": "os", "exc_message": [f"touch {file}"]}
    with redis_client.Redis.from_url(site.broker.url()) as client:
        client.set("celery-task-meta-pickle", pickle.dumps(Payload(file)))
        error = {"status": "FAILURE", "result": call, "task_id": "error", "traceback": None}
        client.set("celery-task-meta-error", json.dumps(error))
    answer = site.stack.manage("shell", "--command", ASK_FOR_RESULTS).stdout
    assert "pickle raised" in answer, answer
    assert "error raised" in answer, answer
    assert not file.exists()


def test_a_thousand_unknown_tasks_are_one_mail(site: Site) -> None:
    names = [f"apps.gone.tasks.number_{number}" for number in range(1000)]
    site.push(*(message(name, MARK) for name in names))
    wait_until(lambda: site.counted("unknown") == len(names), 180, "all to be discarded")
    unknown = "task = 'discarded message' AND reason = 'unknown task'"

    def recorded() -> set[str]:
        """Return the names in the table, which tasks of their own write after the count."""
        return {detail for (detail,) in site.failures("detail", unknown)}

    wait_until(lambda: recorded() == set(names), 60, "all to be recorded")
    wait_until(lambda: site.about("unknown task"), 20, "a mail")
    site.goes_on()
    assert len(site.about("unknown task")) == 1
    assert MARK not in str(site.worker.lines)


def test_a_task_that_takes_its_whole_worker_with_it_is_not_run_for_ever(site: Site) -> None:
    variables: dict[str, Any] = {"REDIS_URL": site.broker.url(1), "CELERY_VISIBILITY_TIMEOUT": "2"}
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    site.push(
        message("apps.poison.tasks.hold", "fatal", id="fatal"),
        message("apps.trial.tasks.record", "later", "done", eta=later),
        # Redis can read it, and Python can't: it is refused, and its note is dropped.
        json.dumps(envelope({"task": {"__type__": "uuid", "__value__": MARK}}, [])).encode(),
        database=1,
    )
    for run in (1, 2):
        worker = site.stack.worker(**variables)
        started = ["started"] * run
        wait_until(lambda: effects(site.database_url, "fatal") == started, 30, "a run")  # noqa: B023
        worker.kill()
    worker = site.stack.worker(**variables)
    [(task_id, reason)] = site.wait_for_failures("apps.poison.tasks.hold", 1)
    assert (task_id, reason) == ("fatal", "LostTooOftenError")
    worker.wait_for_line(r"hold\[fatal\] failed for good", 20)
    wait_until(lambda: site.about("hold failed: LostTooOftenError"), 20, "a mail")
    site.push(message("apps.trial.tasks.record", "after", "done"), database=1)
    wait_for_effect(site.database_url, "after", "done", 30)
    assert effects(site.database_url, "fatal") == ["started"] * 2
    with redis_client.Redis.from_url(site.broker.url(1)) as client:
        # What waits for its time is no poison, however often its worker dies.
        [note] = wait_until(lambda: client.hlen("unacked") == 1 and client.hvals("unacked"), 20, "")
        assert later in note.decode()
        assert "losses" not in json.loads(note)[0]["headers"]
    worker.terminate(20)
