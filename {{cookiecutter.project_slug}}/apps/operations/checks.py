"""Every check there is, in one list. ``doctor`` runs it; nothing here mends anything."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from celery import current_app
from django.conf import settings
from django.core import checks as django_checks
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Min
from django.utils import timezone

from apps.operations.models import Heartbeat, ScheduledRun
from apps.operations.overdue import overdue_entries
from apps.operations.pings import ping_broker, ping_cache, ping_database, ping_results
{%- if cookiecutter.scheduler in ("database", "code") %}
from apps.operations.presence import doubled_beats
{%- endif %}
from apps.operations.tasks import record_heartbeat

# In seconds: how long a task may take from here through broker and worker to the database.
ROUND_TRIP_TIMEOUT = 5.0
# The schedule's heartbeat comes {{ "every five minutes" if cookiecutter.scheduler == "platform" else "once a minute" }}.
OLDEST_HEARTBEAT = timedelta(minutes={{ 15 if cookiecutter.scheduler == "platform" else 3 }})


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
)


def run_checks() -> list[Result]:
    """Run every check, those that build on a failed one excepted.

    Returns:
        The results in the order of ``CHECKS``.
    """
    results: list[Result] = []
    failed: set[str] = set()
    for check in CHECKS:
        blocked_by = next((name for name in check.needs if name in failed), None)
        result = (
            Result(check.name, skipped=blocked_by)
            if blocked_by
            else Result(check.name, check.problems())
        )
        if result.problems or result.skipped:
            failed.add(check.name)
        results.append(result)
    return results
