"""The cron of a platform: five fields, and what they start at a minute of a clock that is told."""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.platforms.components import Component, Deployment

# Field -> its least and its greatest value. Sunday is 0; not every cron takes 7 for it.
FIELDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day of month": (1, 31),
    "month": (1, 12),
    "day of week": (0, 6),
}
PART = re.compile(r"(?:\*|(?P<first>\d+)(?:-(?P<last>\d+))?)(?:/(?P<step>[1-9]\d*))?")


def parse(schedule: str) -> list[set[int]]:
    """Return the numbers that each field of a crontab names.

    Args:
        schedule: five fields of numbers, lists, ranges and steps, which every cron reads alike.

    Raises:
        ValueError: there are not five, or one of them is out of its range.
    """
    texts = schedule.split(" ")
    if len(texts) != len(FIELDS):
        raise ValueError(f"{schedule!r} has not five fields with single spaces")
    fields = []
    for text, (name, (least, greatest)) in zip(texts, FIELDS.items(), strict=True):
        try:
            parts = [_numbers(part, least, greatest) for part in text.split(",")]
        except ValueError as error:
            raise ValueError(f"{schedule!r} has a wrong {name}: {error}") from None
        fields.append(set().union(*parts))
    return fields


def _numbers(part: str, least: int, greatest: int) -> set[int]:
    found = PART.fullmatch(part)
    if not found or (found["step"] and found["first"] and not found["last"]):
        raise ValueError(f"{part!r} is no number, range or step")
    first = int(found["first"] or least)
    last = int(found["last"] or found["first"] or greatest)
    if not least <= first <= last <= greatest:
        raise ValueError(f"{part!r} is not within {least}-{greatest}")
    return set(range(first, last + 1, int(found["step"] or 1)))


def five_fields(schedule: str) -> str:
    """Return a crontab as it is, if it is one; see `parse`."""
    parse(schedule)
    return schedule


def is_due(schedule: str, moment: datetime) -> bool:
    """Return whether a crontab names the minute of a moment.

    As in every cron, one of the two fields for days is enough if neither begins with `*`.

    Args:
        schedule: five fields.
        moment: in the time zone of the schedule.

    Raises:
        ValueError: the schedule is none.
    """
    now = (moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7)
    minute, hour, day, month, weekday = (
        value in numbers for value, numbers in zip(now, parse(schedule), strict=True)
    )
    _, _, days, _, weekdays = schedule.split(" ")
    both = not days.startswith("*") and not weekdays.startswith("*")
    return minute and hour and month and ((day or weekday) if both else (day and weekday))


@dataclass(frozen=True)
class Run:
    """One run of a scheduled component.

    Attributes:
        name: Of the component.
        moment: The minute at which it was due.
        exit_code: What it ended with.
        lines: What it printed.
    """

    name: str
    moment: datetime
    exit_code: int
    lines: list[str]


class Cron:
    """Starts the scheduled components of a deployment.

    Its clock goes on when all that was due at a minute has ended, so no entry runs twice at once.
    """

    def __init__(self, deployment: Deployment, components: Iterable[Component]) -> None:
        """Prepare, but start nothing.

        Args:
            deployment: in which the components run.
            components: all of the file.
        """
        self._deployment = deployment
        self._components = [component for component in components if component.schedule]

    def run(self, start: datetime, minutes: int = 1) -> list[Run]:
        """Start what is due in some minutes, and wait for each minute's commands to end.

        Args:
            start: the first minute, in the time zone of the schedules.
            minutes: how many there are.

        Returns:
            The runs, oldest first.
        """
        moments = [start + timedelta(minutes=number) for number in range(minutes)]
        return [run for moment in moments for run in self._minute(moment)]

    def _minute(self, moment: datetime) -> list[Run]:
        due = [component for component in self._components if is_due(component.schedule, moment)]
        with ThreadPoolExecutor(max_workers=2) as pool:
            results = list(pool.map(self._deployment.run, due))
        return [
            Run(
                component.name,
                moment,
                result.returncode,
                (result.stdout + result.stderr).splitlines(),
            )
            for component, result in zip(due, results, strict=True)
        ]
