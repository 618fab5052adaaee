"""Each scheduler style with a real broker, database and processes: when it ticks, and how often.

The time zone of the projects is none of the machine, and it has summer time.
"""

import json
import shutil
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.conftest import Bake
from tests.platforms.cron import is_due
from tests.processes import Process, Stack, process_commands, python_environment, wait_until
from tests.production import prepare, production, production_environment, query
from tests.servers.postgres import PostgresServer
from tests.servers.redis import Redis
from tests.users import TICK_SECONDS, add_trial_app, replace_once

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("scheduler")]

ZONE = ZoneInfo("America/New_York")
ANSWERS = {
    "database": {"scheduler": "database"},
    "code": {"scheduler": "code"},
    "redbeat": {"scheduler": "redbeat", "process_manager": "prodserver"},
    "platform": {"scheduler": "platform", "hosting": "dokku"},
}
WITH_BEAT = ("database", "code", "redbeat")

INTERVALS = {"tick": TICK_SECONDS, "seven": 7, "twelve": 12}
ENTRIES = """
PeriodicTask(
    name="seven",
    task="apps.trial.tasks.record",
    schedule=timedelta(seconds=7),
    args=("seven", "positional"),
),
PeriodicTask(
    name="twelve",
    task="apps.trial.tasks.record",
    schedule=timedelta(seconds=12),
    args=("twelve",),
),
"""
CRONTABS = """
PeriodicTask(
    name="minutely",
    task="apps.trial.tasks.record",
    schedule=crontab(),
    args=("minutely",),
),
PeriodicTask(
    name="local",
    task="apps.trial.tasks.record",
    schedule=crontab(hour="{local_hours}"),
    kwargs={{"name": "local", "detail": "named"}},
    queue="notifications",
    expires=timedelta(minutes=1),
),
PeriodicTask(
    name="elsewhere",
    task="apps.trial.tasks.record",
    schedule=crontab(hour="{other_hours}"),
    args=("elsewhere",),
),
"""
# For simulated minutes.
CRON_ENTRIES = """
PeriodicTask(
    name="every-minute",
    task="apps.trial.tasks.record",
    schedule=crontab(),
    args=("every-minute", "positional"),
),
PeriodicTask(
    name="every-third",
    task="apps.trial.tasks.record",
    schedule=crontab(minute="*/3"),
    kwargs={"name": "every-third"},
    queue="notifications",
),
PeriodicTask(
    name="at-eight",
    task="apps.trial.tasks.record",
    schedule=crontab(hour="8", minute="0"),
    args=("at-eight",),
),
"""
CRON_START = datetime(2026, 3, 6, 7, 57)
CRON_MINUTES = 6


@dataclass
class Style:
    """A running project.

    Attributes:
        stack: Its processes.
        database_url: Where its tasks leave their effects.
        beats: All that ran, the last one last; none under the style platform.
        start: Since when all of them run.
    """

    stack: Stack
    database_url: str
    beats: list[Process]
    start: datetime

    def sent(self, entry: str) -> list[datetime]:
        """Return when an entry was sent, according to the logs."""
        wanted = f"Sending due task {entry} ("
        lines = [line for beat in self.beats for line in beat.lines if wanted in line]
        return [datetime.fromisoformat(json.loads(line)["timestamp"]) for line in lines]

    def effects(self, name: str) -> list[datetime]:
        """Return when tasks left their effects."""
        statement = f"SELECT created FROM trial_effect WHERE name = '{name}' ORDER BY created"
        return [moment for (moment,) in query(self.database_url, statement)]

    def wait_for_more(self, entry: str, count: int, timeout: float) -> None:
        """Wait until an entry was sent some more times and all its tasks have run."""
        before = len(self.sent(entry))
        wait_until(
            lambda: len(self.sent(entry)) >= before + count, timeout, f"{count} more of {entry}"
        )
        wait_until(lambda: len(self.effects(entry)) >= len(self.sent(entry)), 20, "the effects")


def add_entries(project: Path, entries: str) -> None:
    """Put entries before the others in a project's schedule."""
    schedule = project / project.name / "schedule.py"
    replace_once(schedule, "SCHEDULE = (\n", "SCHEDULE = (\n" + textwrap.indent(entries, "    "))


def hours_now(zone: ZoneInfo) -> str:
    """Return the hours of the next minutes in a time zone, as a crontab names them."""
    now = datetime.now(zone)
    return ",".join(sorted({str(now.hour), str((now + timedelta(minutes=6)).hour)}))


def minute_of(moment: datetime) -> datetime:
    """Return the beginning of a moment's minute."""
    return moment.replace(second=0, microsecond=0)


def prepare_style(style: str, project: Path) -> None:
    """Give a project the entries of this module and its own time zone."""
    replace_once(project / project.name / "settings" / "base.py", '"UTC"', f'"{ZONE.key}"')
    if style == "platform":
        add_trial_app(project)
        add_entries(project, CRON_ENTRIES)
        with Stack(project, {}, python_environment(project)) as stack:
            result = stack.manage("makemigrations", "trial")
        assert result.returncode == 0, result.stderr
        return
    prepare(project)
    hours = {"local_hours": hours_now(ZONE), "other_hours": hours_now(ZoneInfo("Asia/Tokyo"))}
    add_entries(project, ENTRIES + CRONTABS.format(**hours))


@pytest.fixture(scope="module")
def styles(
    bake: Bake, tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer
) -> Iterator[dict[str, Style]]:
    """All styles at once, so that the tests below wait for the same minute."""
    projects = {}
    for style, answers in ANSWERS.items():
        folder = tmp_path_factory.mktemp(style)
        projects[style] = Path(shutil.copytree(bake(**answers), folder / "my_project"))
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(prepare_style, projects, projects.values()))
    with Redis() as redis, ExitStack() as exit_stack:

        def start(number: int, style: str) -> Style:
            project, database_url = projects[style], postgres.create_database()
            environment = production_environment(
                database_url,
                redis.url(number),
                CELERY_WORKER_CONCURRENCY="1",
                CELERY_BEAT_SCHEDULE_FILE=str(project.parent / "schedule"),
            )
            stack = exit_stack.enter_context(production(project, environment))
            stack.commands = process_commands(
                project.name, ANSWERS[style].get("process_manager", "direct")
            )
            stack.worker(timeout=60)
            beats = [stack.beat(timeout=60)] if style in WITH_BEAT else []
            return Style(stack, database_url, beats, datetime.now(UTC))

        with ThreadPoolExecutor(max_workers=2) as pool:
            running = pool.map(start, range(1, len(projects) + 1), projects)
            yield dict(zip(projects, running, strict=True))


def test_cron_sends_each_entry_as_often_as_it_says(styles: dict[str, Style]) -> None:
    style = styles["platform"]
    code = (
        "import json; from django.conf import settings; "
        "print(json.dumps({e.name: e.as_cron() for e in settings.PERIODIC_TASKS}))"
    )
    entries = json.loads(style.stack.manage("shell", "--command", code).stdout.splitlines()[-1])
    for number in range(CRON_MINUTES):
        moment = CRON_START + timedelta(minutes=number)
        for name in [name for name, schedule in entries.items() if is_due(schedule, moment)]:
            result = style.stack.manage("enqueue", name)
            assert result.returncode == 0, result.stdout + result.stderr
    expected = {"every-minute": CRON_MINUTES, "every-third": 2, "at-eight": 1}
    wait_until(
        lambda: {name: len(style.effects(name)) for name in expected} == expected, 20, "the tasks"
    )
    details = "SELECT DISTINCT name, detail FROM trial_effect WHERE detail <> ''"
    assert query(style.database_url, details) == [("every-minute", "positional")]
    statement = "SELECT name FROM operations_scheduledrun WHERE finished_at IS NOT NULL"
    assert {name for (name,) in query(style.database_url, statement)} >= set(expected)


@dataclass
class Watched:
    """The time in which the styles were watched."""

    start: datetime
    end: datetime


@pytest.fixture(scope="module")
def watched(styles: dict[str, Style]) -> Watched:
    """A minute in which no beat is disturbed."""
    start = max(style.start for style in styles.values())
    end = start + timedelta(seconds=60)
    wait_until(lambda: datetime.now(UTC) > end, 70, "a minute")
    return Watched(start, end)


@pytest.mark.parametrize("name", WITH_BEAT)
def test_each_interval_fires_as_often_as_it_should(
    styles: dict[str, Style], watched: Watched, name: str
) -> None:
    style = styles[name]
    for entry, interval in INTERVALS.items():
        due = (watched.end - watched.start).total_seconds() / interval
        sent = [moment for moment in style.sent(entry) if watched.start <= moment <= watched.end]
        assert len(sent) <= due + 1, f"{entry}: {sent}"
        # A machine that is busy lets each tick be a little late.
        assert len(sent) >= 0.8 * due - 1, f"{entry}: {sent}"
        assert_none_is_doubled(sent, interval)
        # Each message was one run.
        style.wait_for_more(entry, 0, 20)
        assert len(style.effects(entry)) <= len(style.sent(entry))


@pytest.mark.parametrize("name", WITH_BEAT)
def test_a_crontab_fires_once_in_each_minute_of_its_hours_in_the_project_s_time_zone(
    styles: dict[str, Style], watched: Watched, name: str
) -> None:
    style = styles[name]
    # The one minute that begins while they are watched, unless at the very end.
    begins = minute_of(watched.end)
    expected = {begins} if begins < watched.end - timedelta(seconds=5) else set()
    for entry in ("minutely", "local"):
        minutes = [minute_of(moment) for moment in style.sent(entry)]
        assert len(minutes) == len(set(minutes)), f"{entry}: {style.sent(entry)}"
        assert expected <= set(minutes), f"{entry}: {style.sent(entry)}"
    assert style.sent("elsewhere") == []
    details = "SELECT DISTINCT name, detail FROM trial_effect WHERE detail <> '' ORDER BY name"
    assert query(style.database_url, details) == [("local", "named"), ("seven", "positional")]


def assert_none_is_doubled(moments: list[datetime], interval: float) -> None:
    """Expect that no two of the moments are closer than an interval; clocks may differ a little."""
    for earlier, later in pairwise(sorted(moments)):
        assert (later - earlier).total_seconds() > 0.9 * interval, moments


def end_often(style: Style, ends: str) -> None:
    """End beat some times and start it again, with two ticks in between.

    Args:
        style: the project.
        ends: `K` for SIGKILL and `T` for SIGTERM, in order.
    """
    style.wait_for_more("twelve", 1, 40)
    for end in ends:
        # Between two ticks, so that each line of the log is a message.
        style.wait_for_more("tick", 1, 40)
        beat = style.beats[-1]
        if end == "K":
            beat.kill()
        else:
            assert beat.terminate(10) == 0
        style.beats.append(style.stack.beat())
        style.wait_for_more("tick", 2, 60)


@pytest.fixture(scope="module")
def restarted(styles: dict[str, Style], watched: Watched) -> dict[str, Style]:
    """The styles after beat ended some times more often than the longest interval lasts."""
    # redbeat's lock outlives a kill by more than the longest interval, so that comes last.
    ends = {"database": "KTT", "code": "KTT", "redbeat": "TTK"}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: end_often(styles[name], ends[name]), WITH_BEAT))
    return styles


@pytest.mark.parametrize("name", WITH_BEAT)
def test_nothing_runs_twice_or_never_when_beat_is_killed_and_restarted_often(
    restarted: dict[str, Style], name: str
) -> None:
    style = restarted[name]
    for entry, interval in INTERVALS.items():
        sent = style.sent(entry)
        assert_none_is_doubled(sent, interval)
        # A lock that nobody gave away holds for 20 seconds, and others ask every 5.
        pause = 25 if name == "redbeat" else 0
        for earlier, later in pairwise([*sent, datetime.now(UTC)]):
            # The rest is the time that a start takes on a busy machine.
            assert (later - earlier).total_seconds() < interval + pause + 20, (entry, sent)
        assert len(style.effects(entry)) <= len(style.sent(entry))
    for entry in ("minutely", "local"):
        minutes = [minute_of(moment) for moment in style.sent(entry)]
        assert len(minutes) == len(set(minutes)), (entry, minutes)
