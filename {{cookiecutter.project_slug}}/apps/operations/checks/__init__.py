"""Every check there is, in one list. ``doctor`` runs it; nothing here mends anything."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread

from django.conf import settings
from django.db import connections

from apps.operations.checks.broker import check_broker, check_broker_memory, check_cache
from apps.operations.checks.configuration import (
    check_configuration,
    check_hosts,
    check_static_files,
)
from apps.operations.checks.database import check_clock, check_database, check_migrations
from apps.operations.checks.disk import check_disk
from apps.operations.checks.email import check_email
from apps.operations.checks.reasons import reason
from apps.operations.checks.schedule import check_{{ cookiecutter.__sender }}, check_schedule
from apps.operations.checks.workers import check_queues, check_round_trip, check_workers
from apps.operations.redaction import Redaction

# In seconds: how long all checks together may take.
PATIENCE = 7.0


@dataclass(frozen=True)
class Check:
    """Something that can be looked at.

    Attributes:
        name: What it is called in the output.
        problems: Returns a sentence for each problem: what is wrong, where, and what to do.
        needs: Names of checks that must have passed, because this one builds on them.
        silence: What to think of and do if nothing is known in time.
    """

    name: str
    problems: Callable[[], list[str]]
    needs: tuple[str, ...] = ()
    silence: str = "does what it asks hang? Restart that."


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


CHECKS = (
    Check("configuration", check_configuration),
    Check("hosts", check_hosts),
    Check("static files", check_static_files),
    Check("disk", check_disk),
    Check("database", check_database),
    Check("migrations", check_migrations, needs=("database",)),
    Check("clock", check_clock, needs=("database",)),
    Check("cache", check_cache),
    Check("broker", check_broker),
    Check("broker memory", check_broker_memory, needs=("broker",)),
    Check(
        "workers",
        check_workers,
        needs=("broker",),
        silence="does none run, or none that reads one of the queues? Start it.",
    ),
    Check("queues", check_queues, needs=("broker",)),
    Check(
        "round trip",
        check_round_trip,
        needs=("database", "migrations", "broker"),
        silence="does no worker run, or are all of them busy? Start one more.",
    ),
    Check("{{ cookiecutter.__sender }}", check_{{ cookiecutter.__sender }}, needs=("database", "migrations")),
    Check("schedule", check_schedule, needs=("database", "migrations")),
    Check("e-mail", check_email, silence="is the provider slow, or a firewall on the way?"),
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
        problems = check.problems()
    except Exception as error:
        problems = [f"could not be looked at ({reason(error)})."]
    finally:
        # Those of this thread; what can't be closed is broken, and was seen.
        with suppress(Exception):
            connections.close_all()
    redact = Redaction(settings.SECRET_VALUES)
    # One line each, and no password that stands in what an error says.
    return Result(check.name, [" ".join(redact(problem).split()) for problem in problems])


def _unknown(check: Check, results: Mapping[str, Result], patience: float) -> Result:
    """Return the result of a check that has not ended, or not even begun."""
    waits_for = next((name for name in check.needs if name not in results), None)
    if waits_for:
        return Result(check.name, skipped=waits_for)
    return Result(check.name, [f"no answer in {patience:.0f} seconds: {check.silence}"])
