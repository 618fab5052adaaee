"""The scheduler style redbeat when beats die, hang or restart, and when Redis does."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from tests.conftest import Bake
from tests.processes import Process, Stack, process_commands, wait_until
from tests.production import effects, prepare, production, production_environment
from tests.servers.redis import Redis
from tests.servers.tls import Authority, TLSProxy
from tests.users import TICK, TICK_SECONDS, replace_once

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("redbeat")]

PREFIX = "my_project:redbeat:"

REMOVAL = """
SCHEDULE = tuple(entry for entry in SCHEDULE if entry.name != "clear-expired-sessions")
"""


def sent(*beats: Process) -> list[datetime]:
    """Return when beats sent the task `tick`, in order."""
    lines = [line for beat in beats for line in beat.lines if "Sending due task tick (" in line]
    return sorted(datetime.fromisoformat(json.loads(line)["timestamp"]) for line in lines)


def wait_for_ticks(count: int, *beats: Process, timeout: float = 30) -> None:
    """Wait until beats together have ticked some more times."""
    wanted = len(sent(*beats)) + count
    wait_until(lambda: len(sent(*beats)) >= wanted, timeout, f"{count} more ticks")


def assert_no_tick_is_doubled(*beats: Process) -> None:
    """Expect that no two ticks are closer than the interval; clocks may differ a little."""
    moments = sent(*beats)
    for earlier, later in pairwise(moments):
        assert (later - earlier).total_seconds() > 0.9 * TICK_SECONDS, moments


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose schedule is kept in Redis, started by django-prodserver."""
    baked = bake(scheduler="redbeat", process_manager="prodserver")
    return prepare(Path(shutil.copytree(baked, tmp_path_factory.mktemp("redbeat") / baked.name)))


@contextmanager
def released(project: Path, environment: dict[str, str]) -> Iterator[Stack]:
    """Yield the project, released, with its commands."""
    with production(project, environment) as stack:
        stack.commands = process_commands(project.name, "prodserver")
        yield stack


def test_of_two_beats_one_ticks_and_the_other_takes_over_when_it_hangs_or_is_killed(
    project: Path, database_url: str, authority: Authority
) -> None:
    with (
        Redis(password="secret") as broker,
        TLSProxy(broker.port, authority.server_context()) as proxy,
    ):
        url = f"rediss://:secret@localhost:{proxy.port}/0"
        environment = production_environment(database_url, url, REDIS_CA_FILE=str(authority.file))
        with released(project, environment) as stack:
            worker = stack.worker()
            first = stack.beat()
            wait_for_ticks(2, first)
            second = stack.beat()
            second.wait_for_line("another beat ticks", 30)
            wait_for_ticks(2, first)
            assert sent(second) == []

            first.freeze()
            second.wait_for_line("holding the lock", 30)
            wait_for_ticks(2, second)
            before = len(sent(first))
            first.thaw()
            first.wait_for_line("lost the lock", 10)
            first.wait_for_line("another beat ticks", 10)
            wait_for_ticks(2, second)
            assert len(sent(first)) == before

            lines = len(first.lines)
            second.kill()
            first.wait_for_line("holding the lock", 30, after=lines)
            wait_for_ticks(2, first)
            assert first.terminate(10) == 0
            assert_no_tick_is_doubled(first, second)
            ticks = len(sent(first, second))
            wait_until(lambda: len(effects(database_url, "tick")) >= ticks, 20, "the tasks")
            assert len(effects(database_url, "tick")) == ticks
            assert worker.terminate(20) == 0
            for process in (first, second, worker):
                process.json_lines()


@pytest.mark.parametrize("kept", [True, False], ids=["its data", "nothing"])
def test_beats_live_through_a_restart_of_redis_with(
    project: Path, database_url: str, kept: bool
) -> None:
    with (
        Redis(append_only=kept) as server,
        released(project, production_environment(database_url, server.url())) as stack,
    ):
        first = stack.beat()
        first.wait_for_line("holding the lock", 30)
        second = stack.beat()
        second.wait_for_line("another beat ticks", 30)
        wait_for_ticks(2, first)
        lines = len(first.lines)
        server.stop()
        first.wait_for_line("Redis does not answer", 20, after=lines)
        server.start()
        wait_for_ticks(3, first, second)
        assert_no_tick_is_doubled(first, second)
        for beat in (first, second):
            check = ["python", "-m", "apps.operations.heartbeat", "beat"]
            health = stack.run(check, TMPDIR=str(beat.temporary_folder))
            assert health.returncode == 0, health.stderr
        lost = [line for line in first.lines if "lost the lock" in line]
        assert bool(lost) is not kept

        server.stop()
        for beat in (first, second):
            assert beat.terminate(10) == 0
            assert not list(beat.temporary_folder.glob("*.heartbeat"))
            beat.json_lines()
        server.start()


def definition(client: Any, name: str) -> dict[str, Any]:
    """Return what Redis holds of an entry: its definition, and when it ran last."""
    entry = client.hgetall(f"{PREFIX}{name}")
    return {**json.loads(entry["definition"]), **json.loads(entry["meta"])}


def test_a_restart_brings_changes_of_the_code_and_keeps_when_each_entry_ran(
    project: Path, database_url: str, stoppable_redis: Redis, tmp_path: Path
) -> None:
    project = Path(shutil.copytree(project, tmp_path / project.name))
    schedule = project / project.name / "schedule.py"
    url = stoppable_redis.url()
    with (
        redis_client.Redis.from_url(url, decode_responses=True) as client,
        released(project, production_environment(database_url, url)) as stack,
    ):
        beat = stack.beat()
        wait_for_ticks(1, beat)
        assert {"tick", "heartbeat", "failure-digest"} <= client.smembers(f"{PREFIX}:statics")
        # Nothing else has a name of its own but what kombu writes.
        known = ("my_project:", "_kombu.", "default", "maintenance", "notifications")
        assert [key for key in client.scan_iter() if not key.startswith(known)] == []
        assert beat.terminate(10) == 0
        assert not client.exists(f"{PREFIX}:lock")
        before = definition(client, "failure-digest")

        replace_once(schedule, TICK, TICK.replace('("tick",)', '("tick", "changed")'))
        with schedule.open("a", encoding="utf-8") as file:
            file.write(REMOVAL)
        beat = stack.beat()
        beat.wait_for_line("holding the lock", 30)
        assert definition(client, "tick")["args"] == ["tick", "changed"]
        assert definition(client, "failure-digest") == before
        assert not client.exists(f"{PREFIX}clear-expired-sessions")
        assert f"{PREFIX}clear-expired-sessions" not in client.zrange(f"{PREFIX}:schedule", 0, -1)
