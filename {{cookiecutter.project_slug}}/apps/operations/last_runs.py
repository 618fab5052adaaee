"""When the entries of the schedule ran last, whichever beat sent them."""

import logging
from datetime import datetime

from celery.schedules import BaseSchedule
from django.db import connection
from django.utils import timezone

from apps.operations.models import ScheduledRun

logger = logging.getLogger(__name__)


def recorded_runs() -> dict[str, datetime]:
    """Return when a worker last began to run each entry, by the entry's name.

    Returns:
        For an entry that never ran, the time since when it is expected to, so that an interval is
        over some day even if beat is started anew more often. No time is in the future, whatever
        the worker's clock says. Nothing, if the database does not answer: a beat can go on with
        what it knows itself.
    """
    now = timezone.now()
    try:
        runs = ScheduledRun.objects.values_list("name", "started_at", "expected_since")
        return {name: min(started_at or since, now) for name, started_at, since in runs}
    except Exception as error:
        logger.warning("can't ask when periodic tasks ran last: %s", type(error).__name__)
        return {}
    finally:
        connection.close()


def latest_run(when: BaseSchedule, known: datetime | None, recorded: datetime) -> datetime:
    """Return when an entry ran last, as its next run is to be reckoned from.

    What beat knows is the exact time at which it sent the entry, so this counts. If the run that
    was due after it has already begun, another beat sent that one, or this one before it was
    killed; then the record counts.

    Args:
        when: The entry's schedule.
        known: When beat sent it last, if beat knows.
        recorded: When a worker last began to run it.
    """
    if known is None or timezone.now() + when.remaining_estimate(known) <= recorded:
        return recorded
    return known
