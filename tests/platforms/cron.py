"""The cron of a platform: five fields, and what they start at a minute of a clock that is told."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.platforms.components import Component, Deployment

# First and last value of minute, hour, day of the month, month and day of the week (0 is Sunday).
LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def values(field: str, first: int, last: int) -> set[int]:
    """Return what a cron field names: a list of `*`, numbers and ranges, some with a step.

    Args:
        field: the field.
        first: the lowest value that it may name.
        last: the highest one.

    Raises:
        ValueError: it names nothing, or what it may not.
    """
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        low, dash, high = (str(first), "-", str(last)) if span == "*" else span.partition("-")
        start = int(low)
        end = int(high) if dash else start
        if not first <= start <= end <= last:
            raise ValueError(f"{part!r} is not within {first}-{last}")
        if slash and not dash:
            raise ValueError(f"{part!r} has a step without a range")
        found.update(range(start, end + 1, int(step) if slash else 1))
    return found


def is_due(schedule: str, moment: datetime) -> bool:
    """Return whether a schedule names the minute of a moment.

    As in every cron, one of the two fields for days is enough if neither begins with `*`.

    Args:
        schedule: five fields.
        moment: in the time zone of the schedule.

    Raises:
        ValueError: the schedule is none.
    """
    fields = schedule.split()
    if len(fields) != len(LIMITS):
        raise ValueError(f"{schedule!r} has {len(fields)} fields instead of {len(LIMITS)}")
    now = (moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7)
    minute, hour, day, month, weekday = (
        value in values(field, *limits)
        for field, value, limits in zip(fields, now, LIMITS, strict=True)
    )
    restricted = not fields[2].startswith("*") and not fields[4].startswith("*")
    return minute and hour and month and ((day or weekday) if restricted else (day and weekday))


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
