"""Measuring sides in turn, so that what else the machine does slows all of them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Reading = Mapping[str, float]
Side = Callable[[], Reading]


@dataclass(frozen=True)
class Figure:
    """What is measured: one row of the table.

    Attributes:
        key: name in `limits`, in the results and in the picture.
        what: for people.
        unit: of both sides.
        against: what the project stands beside; empty if it stands alone.
    """

    key: str
    what: str
    unit: str
    against: str = ""


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of what was measured several times."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarize values.

        Raises:
            statistics.StatisticsError: there are none.
        """
        data = list(values)
        if len(data) == 1:
            return cls(data[0], data[0], data[0])
        low, median, high = statistics.quantiles(data, n=4, method="inclusive")
        return cls(low, median, high)


@dataclass(frozen=True)
class Measured:
    """A figure with what was measured of it, one value per round.

    Attributes:
        figure: which.
        ours: of the template or the project.
        theirs: of what it stands beside, in the same rounds; empty if it stands alone.
    """

    figure: Figure
    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()

    @property
    def value(self) -> Spread:
        """Ours."""
        return Spread.of(self.ours)

    @property
    def other(self) -> Spread | None:
        """Theirs, if there is another side."""
        return Spread.of(self.theirs) if self.theirs else None

    @property
    def ratio(self) -> Spread | None:
        """Ours by theirs, round by round, if there is another side."""
        if not self.theirs:
            return None
        return Spread.of(one / other for one, other in zip(self.ours, self.theirs, strict=True))


@dataclass(frozen=True)
class Skipped:
    """A figure that could not be measured here.

    Attributes:
        figure: which.
        reason: what is missing.
    """

    figure: Figure
    reason: str


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: how often each side is measured.
        many: the same for what takes a second, so that what slows the machine for a while slows
            both sides of as many rounds.
        few: the same for what takes a minute each time.
        load: seconds of load on a server each time.
        tasks: tasks that a worker is given each time.
        idle: seconds for which an idle worker is watched.
        waiting: lengths of the queue.
        workers: numbers of workers, and of processes of one.
        entries: sizes of the schedule.
    """

    rounds: int
    many: int
    few: int
    load: float
    tasks: int
    idle: float
    waiting: tuple[int, ...]
    workers: tuple[int, ...]
    entries: tuple[int, ...]


FULL = Effort(
    rounds=7,
    many=21,
    few=3,
    load=1.0,
    tasks=1500,
    idle=60.0,
    waiting=(10, 10_000, 1_000_000),
    workers=(1, 2, 4, 8),
    entries=(10, 1_000, 10_000),
)
QUICK = Effort(
    rounds=1,
    many=1,
    few=1,
    load=0.5,
    tasks=200,
    idle=5.0,
    waiting=(10, 1_000),
    workers=(1, 2),
    entries=(10, 100),
)


def say(text: str) -> None:
    """Tell on stderr what goes on."""
    print(text, file=sys.stderr, flush=True)


def in_turn(sides: Mapping[str, Side], rounds: int, what: str) -> dict[str, list[Reading]]:
    """Measure every side once per round, in the opposite order every other round.

    Args:
        sides: what measures a side, by its name.
        rounds: how many.
        what: what is measured, for the line that tells how far it is.

    Returns:
        The readings of each side, one per round.
    """
    readings: dict[str, list[Reading]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        say(f"  {what}: round {number + 1} of {rounds}")
        for name in names:
            readings[name].append(sides[name]())
        names.reverse()
    return readings


def values(readings: Iterable[Reading], name: str) -> tuple[float, ...]:
    """Return one value of each reading."""
    return tuple(reading[name] for reading in readings)
