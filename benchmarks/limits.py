"""What must hold, in one place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.harness import Measured


@dataclass(frozen=True)
class Limit:
    """A bound of a figure's median: of its ratio where it has another side, else of its value.

    Attributes:
        least: the smallest allowed; None for no such bound.
        most: the greatest allowed; None for no such bound.
        of_value: whether the value counts although there is another side.
    """

    least: float | None = None
    most: float | None = None
    of_value: bool = False

    def found(self, measured: Measured) -> float:
        """Return the number that is held against the limit."""
        ratio = None if self.of_value else measured.ratio
        return (ratio or measured.value).median

    def holds(self, measured: Measured) -> bool:
        """Return whether a figure keeps to the limit."""
        found = self.found(measured)
        return (self.least is None or found >= self.least) and (
            self.most is None or found <= self.most
        )

    def __str__(self) -> str:
        bound = f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"
        return f"{bound} (value)" if self.of_value else bound


LIMITS = {
    # Against an empty template it is four times: the page says why.
    "baking.cookiecutter-hollow": Limit(most=1.6),
    "baking.copier-hollow": Limit(most=1.6),
    "web.health": Limit(least=0.75),
    "web.home-wsgi": Limit(least=0.30),
    "web.home-django": Limit(least=0.60),
    "web.ready-cpu": Limit(most=2.0),
    "web.setup": Limit(most=1.5),
    "web.connections": Limit(most=1.0),
    "worker.nothing-cpu": Limit(most=1.3),
    # Against Celery without Django it is 1.4 times: the page says why.
    "worker.ready-django": Limit(most=1.3),
    "worker.memory": Limit(most=1.25),
    "worker.idle-frugal": Limit(most=20, of_value=True),
    # A quarter of half a gigabyte is left.
    "smallest.web": Limit(most=384),
    "smallest.worker": Limit(most=384),
    "smallest.beat": Limit(most=384),
}


def missed(results: Iterable[Measured]) -> list[str]:
    """Return a sentence for each limit that does not hold."""
    return [
        f"{measured.figure.key}: {limit.found(measured):.3g} is not {limit}"
        for measured in results
        if (limit := LIMITS.get(measured.figure.key)) and not limit.holds(measured)
    ]
