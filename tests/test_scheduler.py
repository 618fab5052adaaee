"""Each scheduler style with a real broker, database and processes: when it ticks, and how often."""

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.processes import Process, Stack, wait_until
from tests.production import effects, prepare, production, production_environment
from tests.servers.postgres import PostgresServer
from tests.servers.redis import Redis
from tests.servers.tls import Authority, TLSProxy
from tests.users import TICK_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("scheduler")]


def sent(beat: Process) -> list[datetime]:
    """Return when a beat sent the task `tick`."""
    lines = [line for line in beat.lines if "Sending due task tick" in line]
    return [datetime.fromisoformat(json.loads(line)["timestamp"]) for line in lines]


def assert_no_tick_is_doubled(moments: list[datetime]) -> None:
    """Expect that no two of the moments are closer than half a tick."""
    for earlier, later in pairwise(sorted(moments)):
        assert (later - earlier).total_seconds() > TICK_SECONDS / 2, moments


@pytest.fixture(scope="module")
def redbeat(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose schedule is kept in Redis, started by django-prodserver."""
    baked = bake(scheduler="redbeat", process_manager="prodserver")
    return prepare(Path(shutil.copytree(baked, tmp_path_factory.mktemp("redbeat") / baked.name)))


@pytest.fixture
def redbeat_stack(redbeat: Path, database_url: str, authority: Authority) -> Iterator[Stack]:
    """The project released, with its broker behind TLS."""
    with (
        Redis(password="secret") as broker,
        TLSProxy(broker.port, authority.server_context()) as proxy,
    ):
        url = f"rediss://:secret@localhost:{proxy.port}/0"
        environment = production_environment(database_url, url, REDIS_CA_FILE=str(authority.file))
        with production(redbeat, environment) as stack:
            stack.commands = {
                "worker": "python manage.py worker worker",
                "beat": "python manage.py worker beat",
            }
            yield stack


def test_of_two_beats_one_ticks_and_the_other_takes_over_after_a_kill(
    redbeat_stack: Stack, database_url: str
) -> None:
    worker = redbeat_stack.worker()
    first = redbeat_stack.start("beat")
    wait_until(lambda: len(sent(first)) >= 3, 60, "three ticks")
    second = redbeat_stack.start("beat")
    second.wait_for_line("another beat ticks", 30)
    seen = len(sent(first))
    wait_until(lambda: len(sent(first)) >= seen + 2, 30, "two more ticks")
    assert sent(second) == []
    first.kill()
    second.wait_for_line("holding the lock", 30)
    wait_until(lambda: len(sent(second)) >= 3, 30, "three ticks of the other beat")
    assert second.terminate(10) == 0
    moments = sent(first) + sent(second)
    wait_until(lambda: len(effects(database_url, "tick")) >= len(moments), 20, "the tasks")
    assert len(effects(database_url, "tick")) == len(moments)
    assert_no_tick_is_doubled(moments)
    assert worker.terminate(20) == 0
    for process in (first, second, worker):
        process.json_lines()
