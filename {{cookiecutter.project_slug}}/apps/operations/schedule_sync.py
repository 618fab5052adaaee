"""Bringing the schedule in the code into the database, without treading on an administrator."""

import json
from collections.abc import Iterable
from typing import Any

from celery.schedules import crontab, schedule
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import transaction
from django_celery_beat.models import CrontabSchedule, IntervalSchedule
from django_celery_beat.models import PeriodicTask as Row

from apps.operations.models import ScheduleEntry
from apps.operations.schedule import PeriodicTask


@transaction.atomic
def sync_schedule(entries: Iterable[PeriodicTask]) -> list[str]:
    """Write new and changed entries, and disable those that vanished from the code.

    An entry that an administrator edited or deleted stays so; whether an entry is enabled is the
    administrator's alone; rows made by hand are never touched.

    Args:
        entries: The schedule in the code.

    Returns:
        A line for each thing that was done or left alone on purpose.
    """
    lines: list[str] = []
    known = {entry.name: entry for entry in ScheduleEntry.objects.select_for_update()}
    rows = {row.name: row for row in Row.objects.all()}
    for entry in entries:
        lines += _sync_entry(entry, known.pop(entry.name, None), rows.get(entry.name))
    for record in known.values():
        lines += _retire(record, rows.get(record.name))
    return lines


def _sync_entry(entry: PeriodicTask, record: ScheduleEntry | None, row: Row | None) -> list[str]:
    values = _values(entry)
    definition = _describe(Row(**values))
    if record is None:
        if row is not None:
            return [f"Schedule: {entry.name} was made by hand and is left alone."]
        Row.objects.create(name=entry.name, **values)
        ScheduleEntry.objects.create(name=entry.name, definition=definition)
        return [f"Schedule: {entry.name} added."]
    if row is None:
        return [f"Schedule: {entry.name} was deleted by hand and stays so."]
    lines = []
    if record.retired:
        row.enabled = row.enabled or record.was_enabled
        row.save()
        record.retired = False
        state = "enabled" if row.enabled else "disabled, as it was before"
        lines.append(f"Schedule: {entry.name} is back and {state}.")
    if _describe(row) != record.definition:
        lines.append(f"Schedule: {entry.name} was edited by hand and is left alone.")
    elif definition != record.definition:
        for name, value in values.items():
            setattr(row, name, value)
        row.save()
        record.definition = definition
        lines.append(f"Schedule: {entry.name} updated.")
    record.save()
    return lines


def _retire(record: ScheduleEntry, row: Row | None) -> list[str]:
    if row is None:
        record.delete()
        return []
    if record.retired:
        return []
    record.was_enabled = row.enabled
    record.retired = True
    record.save()
    row.enabled = False
    row.save()
    return [f"Schedule: {record.name} is no longer in the code and was disabled."]


def _values(entry: PeriodicTask) -> dict[str, Any]:
    """Return the entry as fields of a row; all rows with an equal schedule share that one."""
    moment: CrontabSchedule | IntervalSchedule
    if isinstance(entry.schedule, crontab):
        moment = CrontabSchedule.from_schedule(entry.schedule)
    else:
        moment = IntervalSchedule.from_schedule(schedule(entry.schedule))
    try:
        moment.full_clean()
    except ValidationError as error:
        raise ImproperlyConfigured(
            f"The schedule of {entry.name} can't be kept in the database: "
            f"{' '.join(error.messages)} Write an interval of whole seconds, or a crontab of text "
            "such as hour='1,2'."
        ) from error
    moment.save()
    # An interval is read back as a whole number; the comparison with the row needs it so.
    moment.refresh_from_db()
    return {
        "task": entry.task,
        "crontab": moment if isinstance(moment, CrontabSchedule) else None,
        "interval": moment if isinstance(moment, IntervalSchedule) else None,
        "args": json.dumps(entry.args),
        "kwargs": json.dumps(dict(entry.kwargs)),
        "queue": entry.queue,
        "expire_seconds": int(entry.expires.total_seconds()) if entry.expires else None,
    }


def _describe(row: Row) -> dict[str, Any]:
    """Return what an administrator can edit, in a form that can be kept and compared."""
    return {
        "task": row.task,
        "schedule": str(row.crontab or row.interval or row.solar or row.clocked),
        "args": json.loads(row.args),
        "kwargs": json.loads(row.kwargs),
        "queue": row.queue,
        "expire_seconds": row.expire_seconds,
    }
