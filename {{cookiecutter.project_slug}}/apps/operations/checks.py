"""Every check there is, in one list. ``doctor`` runs it; nothing here mends anything."""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from threading import Event, Thread

from celery import current_app
from django.conf import settings
from django.core import checks as django_checks
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Min
from django.utils import timezone

from apps.notifications.errors import PermanentDeliveryError, TemporaryDeliveryError
from apps.notifications.login import check_login
from apps.operations.models import Heartbeat, ScheduledRun
from apps.operations.overdue import overdue_entries
from apps.operations.pings import ping_broker, ping_cache, ping_database, ping_results
{%- if cookiecutter.scheduler in ("database", "code") %}
from apps.operations.presence import doubled_beats
{%- endif %}
from apps.operations.tasks import record_heartbeat

# In seconds: how long all checks together may take.
PATIENCE = 7.0
# In seconds: how long a task may take from here through broker and worker to the database.
ROUND_TRIP_TIMEOUT = 5.0
# The schedule's heartbeat comes {{ "every five minutes" if cookiecutter.scheduler == "platform" else "once a minute" }}.
OLDEST_HEARTBEAT = timedelta(minutes={{ 15 if cookiecutter.scheduler == "platform" else 3 }})
# In seconds. A status page asks far more often, and servers lock out those who try a wrong password
# again and again. Each run of ``doctor`` is a process of its own, and asks.
LOGIN_INTERVAL = 300.0


@dataclass(frozen=True)
class Check:
    """Something that can be looked at.

    Attributes:
        name: What it is called in the output.
        problems: Returns a sentence for each problem: what is wrong, where, and what to do.
        needs: Names of checks that must have passed, because this one builds on them.
    """

    name: str
    problems: Callable[[], list[str]]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
        check: The name of the check.
        problems: Its problems, none if all is well.
        skipped: The check that it needs and that did not pass, if that is why it did not run.
    """

    check: str
    problems: list[str] = field(default_factory=list)
    skipped: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the check ran and found nothing."""
        return not self.problems and self.skipped is None


def check_configuration() -> list[str]:
    """Run Django's own checks, with those for a deployment unless this is development."""
    messages = django_checks.run_checks(include_deployment_checks=not settings.DEBUG)
    return [
        f"{message.id}: {message.msg}{f' {message.hint}' if message.hint else ''}"
        for message in messages
        if message.level >= django_checks.WARNING and not message.is_silenced()
    ]


def check_database() -> list[str]:
    """Ask the database."""
    try:
        ping_database()
    except Exception as error:
        database = connection.settings_dict
        return [
            f"{database['NAME']} at {database['HOST'] or 'this machine'} does not answer "
            f"({_one_line(error)}): is it running, and is DATABASE_URL right?"
        ]
    return []


def check_migrations() -> list[str]:
    """Compare the migrations in the code with those in the database."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return []
    names = ", ".join(str(migration) for migration, _ in plan)
    return [f"{len(plan)} not applied ({names}): run python manage.py release."]


def check_cache() -> list[str]:
    """Write to the cache and read back."""
    try:
        ping_cache()
    except Exception as error:
        return [f"does not work ({_one_line(error)}): is REDIS_URL right?"]
    return []


def check_broker() -> list[str]:
    """Connect to the broker and to the store of results."""
    problems = []
    for variable, ping in (
        ("CELERY_BROKER_URL or REDIS_URL", ping_broker),
        ("CELERY_RESULT_BACKEND or REDIS_URL", ping_results),
    ):
        try:
            ping()
        except Exception as error:
            problems.append(f"does not answer ({_one_line(error)}): is {variable} right?")
    return problems


def check_round_trip() -> list[str]:
    """Send a task and see its row appear in this process's database."""
    name = f"doctor-{uuid.uuid4()}"
    record_heartbeat.apply_async((name,), expires=ROUND_TRIP_TIMEOUT)
    rows = Heartbeat.objects.filter(name=name)
    deadline = time.monotonic() + ROUND_TRIP_TIMEOUT
    while not rows.exists():
        if time.monotonic() > deadline:
            queue = settings.CELERY_TASK_ROUTES["apps.operations.tasks.*"]["queue"]
            return [
                f"a task sent to the queue {queue} left no trace in {ROUND_TRIP_TIMEOUT:.0f} "
                "seconds: does a worker run, read that queue, and use the same DATABASE_URL?"
            ]
        time.sleep(0.05)
    rows.delete()
    return []


def check_{{ cookiecutter.__sender }}() -> list[str]:
    """Look {% if cookiecutter.scheduler in ("database", "code") %}for a second beat, and {% endif %}at the age of the last heartbeat that {{ cookiecutter.__sender }} sent{% if cookiecutter.scheduler not in ("database", "code") %} and a worker wrote down{% endif %}."""
    if current_app.conf.task_always_eager:
        return []  # no {{ cookiecutter.__sender }}, no worker
{%- if cookiecutter.scheduler in ("database", "code") %}
    if beats := doubled_beats():
        names = " and ".join(map(str, beats))
        return [f"{len(beats)} of them run ({names}) and each sends every task: stop all but one."]
{%- endif %}
    heartbeat = Heartbeat.objects.filter(name="{{ cookiecutter.__sender }}").first()
    if heartbeat:
        since, what = heartbeat.seen_at, "sent its last heartbeat"
    else:
        # A new deployment gets the same time.
        since = ScheduledRun.objects.aggregate(first=Min("expected_since"))["first"]
        what = "has sent no heartbeat since the release"
    if since is None:
        return ["the schedule is unknown: run python manage.py release."]
    age = timezone.now() - since
    if age <= OLDEST_HEARTBEAT:
        return []
    return [f"{what} {age.total_seconds():.0f} seconds ago: do {{ cookiecutter.__sender }} and a worker run?"]


def check_schedule() -> list[str]:
    """Compare when each entry of the schedule ran with when it should have."""
    if current_app.conf.task_always_eager:
        return []
    return [f"{entry}." for entry in overdue_entries()]


def check_email() -> list[str]:
    """Log in to the e-mail provider; a process does that once in ``LOGIN_INTERVAL``."""
    try:
        return _login_problems(time.monotonic() // LOGIN_INTERVAL)
    except TemporaryDeliveryError as error:
        return [str(error)]


@lru_cache(maxsize=1)
def _login_problems(interval: float) -> list[str]:
    """Return what the provider said; that it said nothing is raised, and not remembered."""
    try:
        check_login()
    except PermanentDeliveryError as error:
        return [str(error)]
    return []


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


CHECKS = (
    Check("configuration", check_configuration),
    Check("database", check_database),
    Check("migrations", check_migrations, needs=("database",)),
    Check("cache", check_cache),
    Check("broker", check_broker),
    Check("round trip", check_round_trip, needs=("database", "migrations", "broker")),
    Check("{{ cookiecutter.__sender }}", check_{{ cookiecutter.__sender }}, needs=("database", "migrations")),
    Check("schedule", check_schedule, needs=("database", "migrations")),
    Check("e-mail", check_email),
)


def run_checks(patience: float = PATIENCE) -> list[Result]:
    """Run every check, those that build on a failed one excepted.

    They run side by side, each in a thread of its own, so that all is known after ``patience``,
    whatever hangs.

    Args:
        patience: How long all of it may take, in seconds.

    Returns:
        The results in the order of ``CHECKS``.
    """
    deadline = time.monotonic() + patience
    results: dict[str, Result] = {}
    ended = {check.name: Event() for check in CHECKS}

    def run(check: Check) -> None:
        try:
            for name in check.needs:
                ended[name].wait(max(0.0, deadline - time.monotonic()))
            # What has no result hangs, so that there is none for this check either.
            with suppress(KeyError):
                needed = [results[name] for name in check.needs]
                results[check.name] = _result(check, needed)
        finally:
            connections.close_all()
            ended[check.name].set()

    for check in CHECKS:
        # No pool: at the end of the process, Python would wait for those of its threads that hang.
        Thread(target=run, args=(check,), name=f"check-{check.name}", daemon=True).start()
    for event in ended.values():
        event.wait(max(0.0, deadline - time.monotonic()))
    known = dict(results)
    return [known.get(check.name) or _unknown(check, known, patience) for check in CHECKS]


def _result(check: Check, needed: Iterable[Result]) -> Result:
    """Return the result of a check, given the results of those that it needs."""
    for other in needed:
        if not other.passed:
            return Result(check.name, skipped=other.check)
    try:
        return Result(check.name, check.problems())
    except Exception as error:
        return Result(check.name, [f"could not be looked at ({_one_line(error)})."])


def _unknown(check: Check, results: Mapping[str, Result], patience: float) -> Result:
    """Return the result of a check that has not ended, or not even begun."""
    waits_for = next((name for name in check.needs if name not in results), None)
    if waits_for:
        return Result(check.name, skipped=waits_for)
    return Result(check.name, [f"no answer in {patience:.0f} seconds: what it asks may hang."])
