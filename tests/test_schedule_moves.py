"""A schedule that moves from one beat to another runs on; two beats at once are noticed."""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Bake
from tests.processes import Process, Stack, wait_until
from tests.production import effects, prepare, production, production_environment, query
from tests.servers.smtp import SMTPServer
from tests.users import TICK_SECONDS, quicken_presence, replace_once

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("schedule-moves")]

Project = Callable[[str], Path]

# An interval that is longer than beat is away when it moves.
SLOW_SECONDS = 8
# Half a day away from now, so not due while the tests run.
DAILY_HOUR = (datetime.now(UTC) + timedelta(hours=12)).hour
ENTRIES = f"""\
    PeriodicTask(
        name="slow",
        task="apps.trial.tasks.record",
        schedule=timedelta(seconds={SLOW_SECONDS}),
        args=("slow",),
    ),
    PeriodicTask(
        name="daily",
        task="apps.trial.tasks.record",
        schedule=crontab(hour="{DAILY_HOUR}", minute="0"),
        args=("daily",),
    ),
"""
SCHEDULE_FILE = "celerybeat-schedule*"
DAYS_AGO = "now() - interval '2 days'"


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return `project(scheduler) -> Path`: one tree for each style, with the same entries."""

    @cache
    def project(scheduler: str) -> Path:
        folder = tmp_path_factory.mktemp(scheduler) / "my_project"
        shutil.copytree(bake(scheduler=scheduler), folder)
        prepare(folder)
        schedule = folder / "my_project" / "schedule.py"
        replace_once(schedule, "SCHEDULE = (\n", f"SCHEDULE = (\n{ENTRIES}")
        return folder

    return project


def timestamp(line: str) -> datetime:
    """Return when a line was logged."""
    return datetime.fromisoformat(json.loads(line)["timestamp"])


def sent(entry: str, *beats: Process) -> list[datetime]:
    """Return when beats sent an entry, in order."""
    text = f"Sending due task {entry} ("
    return sorted(timestamp(line) for beat in beats for line in beat.lines if text in line)


def execute(database_url: str, statement: str) -> None:
    """Change rows, of which there must be some."""
    with psycopg.connect(database_url) as connection:
        assert connection.execute(statement).rowcount > 0, statement


def assert_none_is_doubled(moments: list[datetime], seconds: float) -> None:
    """Expect that no two of the moments are much closer than the time between runs."""
    for earlier, later in pairwise(moments):
        assert (later - earlier).total_seconds() > seconds * 0.7, moments


def wait_for_effects(database_url: str, name: str, count: int) -> list[str]:
    """Wait until workers have run a task so many times; return what they recorded."""
    wait_until(lambda: len(effects(database_url, name)) >= count, 20, "the tasks")
    return effects(database_url, name)


def wait_for_old_phase(beat: Process) -> None:
    """Wait until a beat that has just been started sends `slow`, before a new interval is over."""
    wait_until(partial(sent, "slow", beat), SLOW_SECONDS + 30, "the slow entry")
    started = timestamp(beat.wait_for_line("beat: Starting", 0))
    assert (sent("slow", beat)[0] - started).total_seconds() < SLOW_SECONDS, "began anew"
    # The next beat starts some time after this run, so that its phase shows.
    ticks = len(sent("tick", beat))
    wait_until(lambda: len(sent("tick", beat)) > ticks, 30, "another tick")


def test_a_schedule_runs_on_whichever_style_sends_it(
    project: Project, database_url: str, redis_url: str
) -> None:
    environment = production_environment(database_url, redis_url)
    beats: list[Process] = []
    with ExitStack() as stacks:

        def release(scheduler: str) -> Stack:
            return stacks.enter_context(production(project(scheduler), environment))

        def change_to(stack: Stack, *, kill: bool = False) -> None:
            """Stop the beat that runs, start another one, and see the schedule run on."""
            if kill:
                beats[-1].kill()
            else:
                assert beats[-1].terminate(10) == 0
            beats.append(stack.beat())
            wait_for_old_phase(beats[-1])

        code = release("code")
        # As if the service had stood still.
        record = f"UPDATE operations_scheduledrun SET started_at = {DAYS_AGO} WHERE name = 'daily'"
        execute(database_url, record)
        worker = code.worker()
        beats.append(code.beat())
        wait_until(partial(sent, "slow", beats[0]), SLOW_SECONDS + 30, "the slow entry")
        wait_until(lambda: effects(database_url, "daily"), 20, "what was missed")

        database = release("database")
        # As if the project had been with this style before.
        execute(
            database_url,
            f"UPDATE django_celery_beat_periodictask SET last_run_at = {DAYS_AGO}"
            " WHERE name = 'daily'",
        )
        change_to(database)
        # What an administrator pauses stays so, whatever else sends the schedule for a while.
        pause = (
            "UPDATE django_celery_beat_periodictask SET enabled = false WHERE name = 'heartbeat'"
        )
        execute(database_url, pause)
        redbeat = release("redbeat")
        change_to(redbeat, kill=True)
        # The file of the first beat knows an old run; then there is no file.
        change_to(code)
        for file in code.project.glob(SCHEDULE_FILE):
            file.unlink()
        change_to(code, kill=True)

        assert beats[-1].terminate(10) == 0
        for entry, seconds in (("tick", TICK_SECONDS), ("slow", SLOW_SECONDS)):
            moments = sent(entry, *beats)
            assert_none_is_doubled(moments, seconds)
            assert len(wait_for_effects(database_url, entry, len(moments))) == len(moments)
        assert len(effects(database_url, "daily")) == 1
        assert worker.terminate(20) == 0

        release("database")
        paused = "SELECT name FROM django_celery_beat_periodictask WHERE NOT enabled"
        assert query(database_url, paused) == [("heartbeat",)]


@pytest.mark.parametrize("scheduler", ["database", "code"])
def test_two_beats_are_named_and_alerted_and_a_killed_one_is_not_counted(
    project: Project,
    database_url: str,
    redis_url: str,
    smtp_server: SMTPServer,
    scheduler: str,
    tmp_path: Path,
) -> None:
    quick = Path(shutil.copytree(project(scheduler), tmp_path / "my_project"))
    quicken_presence(quick)
    environment = production_environment(
        database_url,
        redis_url,
        EMAIL_PORT=str(smtp_server.port),
        ALERT_RECIPIENTS="operator@example.com",
    )
    with production(quick, environment) as stack:
        worker = stack.worker()
        # Two machines: each has its own file of the code style.
        first = stack.beat(CELERY_BEAT_SCHEDULE_FILE=str(tmp_path / "first"))
        wait_until(partial(sent, "tick", first), 30, "a tick")
        second = stack.beat(CELERY_BEAT_SCHEDULE_FILE=str(tmp_path / "second"))

        def mails() -> list[str]:
            subjects = [str(mail.message["Subject"]) for mail in smtp_server.inbox]
            return [subject for subject in subjects if "more than one beat runs" in subject]

        wait_until(mails, 30, "an alert")
        doctor = stack.manage("doctor")
        assert doctor.returncode == 1, doctor.stdout
        assert "PROBLEM  beat: 2 of them run (process " in doctor.stdout
        for beat in (first, second):
            assert f"process {beat.pid} on " in doctor.stdout, doctor.stdout

        assert second.terminate(10) == 0
        doctor = stack.manage("doctor")
        assert doctor.returncode == 0, doctor.stdout
        # Nobody runs what is sent now: only beat itself knows that it has sent it.
        assert worker.terminate(20) == 0
        runs = len(sent("slow", first))
        wait_until(lambda: len(sent("slow", first)) > runs, SLOW_SECONDS + 30, "a slow entry")
        first.kill()
        third = stack.beat(CELERY_BEAT_SCHEDULE_FILE=str(tmp_path / "first"))
        wait_until(partial(sent, "tick", third), 30, "a tick")
        # The killed one has left its row; the new one writes its own beside its first ticks.
        rows = "SELECT count(*) FROM operations_runningbeat"
        wait_until(lambda: query(database_url, rows) == [(2,)], 30, "two rows")
        doctor = stack.manage("doctor")
        assert "PROBLEM  beat" not in doctor.stdout, doctor.stdout
        wait_until(partial(sent, "slow", third), SLOW_SECONDS + 30, "a slow entry")
        for entry, seconds in (("tick", TICK_SECONDS), ("slow", SLOW_SECONDS)):
            assert_none_is_doubled([sent(entry, first)[-1], *sent(entry, third)], seconds)
        assert len(mails()) == 1
