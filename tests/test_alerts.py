"""Failures, overdue tasks and processes that can't start, told by mail from real processes."""

import shutil
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from tests.conftest import Bake
from tests.processes import Stack, free_port, wait_until
from tests.production import prepare, production, production_environment, query
from tests.servers.redis import Redis
from tests.servers.smtp import Delivery, SMTPServer
from tests.servers.tls import Authority, TLSProxy
from tests.users import replace_once

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("alerts")]

RECIPIENT = "operator@example.com"
FAILURES = 1000
RESTARTS = 3

# What takes minutes or hours in a project, in seconds: file, its line, and the line for the tests.
QUICK = (
    ("apps/operations/programs.py", "DATABASE_PATIENCE = 30.0", "DATABASE_PATIENCE = 0.0"),
    ("apps/operations/watch.py", "FIRST_LOOK = 180.0", "FIRST_LOOK = 2.0"),
    ("apps/operations/watch.py", "INTERVAL = 60.0", "INTERVAL = 0.5"),
)
QUICK_BEAT = (
    ("apps/operations/overdue.py", "timedelta(minutes=2)", "timedelta(seconds=4)"),
    ("{name}/schedule.py", 'crontab(hour="6", minute="0")', "timedelta(seconds=2)"),
)
QUICK_CRON = (
    ("apps/operations/overdue.py", "timedelta(minutes=10)", "timedelta(seconds=4)"),
    ("{name}/schedule.py", "import crontab\n", "import crontab, schedule\n"),
    ("{name}/schedule.py", "schedule=crontab(),", "schedule=schedule(timedelta(seconds=2)),"),
)


def quicken(project: Path, scheduler: str) -> Path:
    """Let all that waits in a project wait for seconds only.

    Args:
        project: folder of a project that may be changed.
        scheduler: its answer to the question of that name.

    Returns:
        The same folder.
    """
    for name, slow, quick in QUICK + (QUICK_CRON if scheduler == "platform" else QUICK_BEAT):
        replace_once(project / name.format(name=project.name), slow, quick)
    return project


Project = Callable[[str], Path]


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return `project(scheduler) -> Path`: a quick project with the apps of the tests."""

    @cache
    def project(scheduler: str) -> Path:
        folder = tmp_path_factory.mktemp("alerts") / "my_project"
        hosting = "dokku" if scheduler == "platform" else "compose"
        shutil.copytree(bake(scheduler=scheduler, hosting=hosting), folder)
        return quicken(prepare(folder), scheduler)

    return project


@pytest.fixture
def environment(
    database_url: str, stoppable_redis: Redis, smtp_server: SMTPServer
) -> dict[str, str]:
    """Variables of a project that sends its alerts to the SMTP server."""
    return production_environment(
        database_url,
        stoppable_redis.url(),
        EMAIL_PORT=str(smtp_server.port),
        ALERT_RECIPIENTS=RECIPIENT,
    )


@pytest.fixture
def stack(project: Project, environment: dict[str, str]) -> Iterator[Stack]:
    """The released project with its schedule in the database; nothing runs yet."""
    with production(project("database"), environment) as stack:
        yield stack


def about(mails: SMTPServer, subject: str) -> list[Delivery]:
    """Return the mails that were taken and whose subject has these words."""
    return [mail for mail in mails.inbox if subject in str(mail.message["Subject"])]


def wait_for_alert(mails: SMTPServer, subject: str, timeout: float) -> str:
    """Wait for one mail and return its text; a second one fails the test.

    Args:
        mails: where it arrives.
        subject: words of its subject.
        timeout: seconds.
    """
    [alert] = wait_until(lambda: about(mails, subject), timeout, f"a mail: {subject}")
    assert alert.recipients == (RECIPIENT,)
    return str(alert.message.get_content())


def forget_alerts(redis_url: str) -> None:
    """Let a project send every alert again, though it was sent within the hour.

    Args:
        redis_url: where its cache is.
    """
    with redis_client.Redis.from_url(redis_url) as client:
        for key in client.scan_iter("my_project:*"):
            client.delete(key)


def test_a_thousand_failures_are_one_mail_and_one_line_of_the_digest(
    stack: Stack,
    environment: dict[str, str],
    stoppable_redis: Redis,
    smtp_server: SMTPServer,
) -> None:
    # The machine may take its time: those who alert begin when all have failed.
    for queue in ("default", "maintenance"):
        command = f"{stack.commands['worker']} --queues {queue} --hostname {queue}@%h"
        stack.commands = {**stack.commands, queue: command}
    database_url = environment["DATABASE_URL"]
    stack.start("default").wait_for_line("ready", 30)
    code = (
        "from apps.trial.tasks import fail\n"
        f"for number in range({FAILURES}): fail.delay('very-private', more=str(number))"
    )
    result = stack.manage("shell", "--command", code)
    assert result.returncode == 0, result.stderr
    statement = "SELECT count(*) FROM operations_failedtask"
    wait_until(lambda: query(database_url, statement) == [(FAILURES,)], 90, "all failures")
    with redis_client.Redis.from_url(stoppable_redis.url()) as broker:
        assert broker.llen("maintenance") == 1
    stack.start("maintenance").wait_for_line("ready", 30)
    text = wait_for_alert(smtp_server, "tasks.fail failed 1000 times: ValueError", 20)
    assert "Arguments: secret, more" in text

    stack.beat()
    text = wait_for_alert(smtp_server, "What failed since the last digest", 20)
    assert f"{FAILURES} x apps.trial.tasks.fail: ValueError" in text
    # Beat sends the digest's task again, and then once more: nobody gets a second mail.
    runs = "SELECT finished_at FROM operations_scheduledrun WHERE name = 'failure-digest'"
    for _ in range(2):
        before = query(database_url, runs)
        wait_until(partial(has_changed, database_url, runs, before), 20, "another digest")
    assert len(about(smtp_server, "failed")) == 2
    for mail in smtp_server.inbox:
        assert "private" not in mail.message.as_string()


def has_changed(database_url: str, statement: str, before: list[tuple[Any, ...]]) -> bool:
    """Return whether a query has another result than before."""
    return query(database_url, statement) != before


def wait_for_run(database_url: str) -> None:
    """Wait until a worker has run an entry that beat has sent."""
    statement = "SELECT 1 FROM operations_scheduledrun WHERE started_at IS NOT NULL"
    wait_until(lambda: query(database_url, statement), 20, "a scheduled run")


def alerts_of(mails: SMTPServer, before: int, entry: str) -> list[str]:
    """Return the texts of alerts about an entry of the schedule.

    Args:
        mails: where they arrive.
        before: how many mails to skip.
        entry: the entry's name.
    """
    texts = [str(mail.message.get_content()) for mail in mails.inbox[before:]]
    return [text for text in texts if f"- {entry} was due at " in text]


@pytest.mark.parametrize(
    ("scheduler", "dead", "alive"), [("database", "beat", "worker"), ("code", "worker", "beat")]
)
def test_worker_and_beat_notice_when_the_other_is_dead(
    project: Project,
    environment: dict[str, str],
    smtp_server: SMTPServer,
    scheduler: str,
    dead: str,
    alive: str,
) -> None:
    with production(project(scheduler), environment) as stack:
        processes = {"worker": stack.worker(), "beat": stack.beat()}
        wait_for_run(environment["DATABASE_URL"])
        # What a slow start may have looked like is forgotten.
        forget_alerts(environment["REDIS_URL"])
        before = len(smtp_server.inbox)
        processes[dead].kill()
        alerts = partial(alerts_of, smtp_server, before, "heartbeat")
        [text] = wait_until(alerts, 30, "an alert")
        assert f"A {alive} process noticed this" in text
        doctor = stack.manage("doctor")
        assert doctor.returncode == 1
        assert "PROBLEM  schedule: heartbeat was due at " in doctor.stdout, doctor.stdout
        # Several looks later it was not told again.
        assert len(alerts()) == 1
        assert processes[alive].running


@pytest.mark.parametrize("alive", ["worker", "cron"])
def test_worker_and_cron_notice_when_the_other_is_dead(
    project: Project, environment: dict[str, str], smtp_server: SMTPServer, alive: str
) -> None:
    def alerts() -> list[str]:
        """Let cron look if it is alive, and return the alerts."""
        if alive == "cron":
            assert stack.manage("enqueue", "tick").returncode == 0
        return alerts_of(smtp_server, before, "tick")

    with production(project("platform"), environment) as stack:
        worker = stack.worker()
        assert stack.manage("enqueue", "tick").returncode == 0
        wait_for_run(environment["DATABASE_URL"])
        if alive == "cron":
            worker.kill()
        # What a slow start may have looked like is forgotten.
        forget_alerts(environment["REDIS_URL"])
        before = len(smtp_server.inbox)
        [text] = wait_until(alerts, 60, "an alert")
        assert f"A {alive} process noticed this" in text
        doctor = stack.manage("doctor")
        assert "PROBLEM  schedule: tick was due at " in doctor.stdout, doctor.stdout
        # Several looks later it was not told again.
        assert len(alerts()) == 1


@pytest.mark.parametrize(("name", "fault"), [("worker", "database"), ("beat", "certificate")])
def test_a_process_that_can_not_start_alerts_once_however_often_it_is_restarted(
    stack: Stack,
    stoppable_redis: Redis,
    authority: Authority,
    smtp_server: SMTPServer,
    name: str,
    fault: str,
) -> None:
    with TLSProxy(stoppable_redis.port, authority.server_context("localhost")) as proxy:
        if fault == "database":
            stack.environment["DATABASE_URL"] = f"postgres://u:p@127.0.0.1:{free_port()}/n"
            reason = "the database does not answer"
        else:
            # With the broker, the cache is away too.
            stack.environment["REDIS_URL"] = proxy.redis_url()
            reason = "the certificate of the broker is not verified"
        for _ in range(RESTARTS):
            process = stack.start(name)
            assert process.wait(60) == 1, process.tail()
            process.wait_for_line(f"{name} can't start: {reason}", 0)
    [alert] = smtp_server.inbox
    assert str(alert.message["Subject"]) == f"[my_project] {name} could not start: {reason}"
    assert alert.recipients == (RECIPIENT,)
