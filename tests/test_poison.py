"""Tasks that take their process with them, and messages that nobody can read, on real servers."""

import base64
import json
import pickle
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
import shutil
from typing import Any

import pytest
import redis as redis_client

from tests.conftest import Bake
from tests.processes import Process, Stack, wait_until
from tests.production import (
    call,
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

    def push(self, *messages: bytes, queue: str = "default") -> None:
        """Put messages onto a queue as they are."""
        with redis_client.Redis.from_url(self.broker.url()) as client:
            client.lpush(queue, *messages)

    def failures(self, columns: str, condition: str) -> list[tuple[Any, ...]]:
        """Return what is recorded of failures, oldest first."""
        statement = f"SELECT {columns} FROM operations_failedtask WHERE {condition} ORDER BY id"
        return query(self.database_url, statement)

    def runs_a_good_task(self) -> None:
        """Assert that the same worker takes a task now, and that nothing is left of the others."""
        name = uuid.uuid4().hex
        self.push(message("apps.trial.tasks.record", name, "done"))
        wait_for_effect(self.database_url, name, "done", 30)
        assert self.worker.running
        with redis_client.Redis.from_url(self.broker.url()) as client:
            wait_until(lambda: not client.hlen("unacked"), 10, "all messages to be acknowledged")
            assert client.zcard("unacked_index") == 0
            assert client.llen("default") == 0


def envelope(headers: Any, body: Any, **changes: Any) -> dict[str, Any]:
    """Return a message as Celery writes it, apart from what is wrong with it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
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


def headers(task: str, **changes: Any) -> dict[str, Any]:
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
