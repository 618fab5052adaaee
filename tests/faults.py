"""What faults did to the tasks of a project, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "faults.md"
COLUMNS = (
    "fault",
    "enqueued",
    "executed",
    "lost",
    "duplicated",
    "in flight",
    "longest gap",
    "recovery",
)
# Under which a test records its row.
PROPERTY = "fault"
# In the page, the table stands between these.
BEGIN, END = "<!-- measured -->\n", "<!-- end -->\n"


@dataclass(frozen=True)
class Outcome:
    """What became of the tasks around one fault.

    Attributes:
        fault: its name.
        enqueued: tasks whose enqueueing returned.
        executed: those of them that ended at least once.
        lost: those that did not.
        duplicated: starts beyond the first of a task, from this fault until the next.
        in_flight: tasks that workers held at most just before the fault.
        gap: longest time without the start of a task, in seconds.
        recovery: time from the fault's end to the next start by a worker that was not restarted, in
            seconds.
    """

    fault: str
    enqueued: int
    executed: int
    lost: int
    duplicated: int
    in_flight: int
    gap: float
    recovery: float


def table(rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown that is readable as text too.

    Args:
        rows: cells in the order of `COLUMNS`.
    """
    cells = [COLUMNS, *(tuple(map(_text, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def _text(cell: object) -> str:
    return f"{cell:.1f} s" if isinstance(cell, float) else str(cell)


def write(text: str) -> None:
    """Put a table into the page, in place of the one there."""
    page = PAGE.read_text("utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(before + BEGIN + text + END + after, encoding="utf-8")
