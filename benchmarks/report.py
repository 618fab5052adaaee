"""The report: results as JSON, one table in a page, one picture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.harness import Figure, Measured, Skipped, Spread
from benchmarks.limits import LIMITS

RESULTS = "benchmarks.json"
PAGE = "benchmarks.md"
PICTURE = "benchmarks.svg"
# Between them the page has its table.
BEGIN, END = "<!-- The table is written by make bench. -->\n", "<!-- The end of the table. -->\n"


def keep(folder: Path, section: str, found: Iterable[Measured | Skipped]) -> None:
    """Write the results of a section beside those of the others.

    Args:
        folder: made when missing.
        section: its name.
        found: what was measured or skipped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = read(folder)
    results[section] = {
        one.figure.key: {"skipped": one.reason}
        if isinstance(one, Skipped)
        else {"ours": _rounded(one.ours), "theirs": _rounded(one.theirs)}
        for one in found
    }
    text = json.dumps(results, indent=1, sort_keys=True)
    (folder / RESULTS).write_text(text + "\n", encoding="utf-8")


def _rounded(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results by section and figure."""
    file = folder / RESULTS
    results: dict[str, dict[str, Any]] = (
        json.loads(file.read_text("utf-8")) if file.exists() else {}
    )
    return results


def write(folder: Path, sections: Sequence[ModuleType]) -> None:
    """Write the table into the page, and the picture.

    Args:
        folder: where the results are.
        sections: modules of all sections, in their order.
    """
    results = {key: value for section in read(folder).values() for key, value in section.items()}
    page = folder / PAGE
    text = page.read_text("utf-8") if page.exists() else f"{BEGIN}{END}"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{table(sections, results)}\n{END}{after}", encoding="utf-8")
    (folder / PICTURE).write_text(picture(sections, results), encoding="utf-8")


def number(value: float) -> str:
    """Return a number with three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _spread(spread: Spread) -> str:
    if spread.low == spread.high:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.low)}–{number(spread.high)})"  # noqa: RUF001


def table(sections: Sequence[ModuleType], results: dict[str, dict[str, Any]]) -> str:
    """Return the table of all figures, in Markdown."""
    lines = [
        "| Section | What | Here | There | Ratio | Must hold |",
        "|---|---|---|---|---|---|",
    ]
    for section in sections:
        for figure in section.FIGURES:
            cells = [section.TITLE, figure.what, *_cells(figure, results.get(figure.key))]
            limit = LIMITS.get(figure.key)
            lines.append(f"| {' | '.join([*cells, str(limit or '')])} |")
    return "\n".join(lines) + "\n"


def _cells(figure: Figure, result: dict[str, Any] | None) -> list[str]:
    if result is None:
        return ["not measured yet", "", ""]
    if "skipped" in result:
        return [f"skipped: {result['skipped']}", "", ""]
    measured = Measured(figure, tuple(result["ours"]), tuple(result["theirs"]))
    here = f"{_spread(measured.value)} {figure.unit}"
    if measured.other is None or measured.ratio is None:
        return [here, figure.against, ""]
    return [
        here,
        f"{number(measured.other.median)}, {figure.against}",
        f"**{_spread(measured.ratio)}**",
    ]


WIDTH, ROW, LEFT, RIGHT, PANEL = 860, 26, 430, 60, 240
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .axis, .one { stroke: #d1d9e0; stroke-width: 1; }
  .one { stroke: #59636e; stroke-dasharray: 3 3; }
  .bar { fill: #0969da; }
  .spread { stroke: #1f2328; stroke-width: 1.5; }
  .limit { stroke: #cf222e; stroke-width: 2; }
  .faint { fill: #59636e; }
  .line { stroke-width: 2.5; }
  .line-0 { stroke: #0969da; }
  .line-1 { stroke: #1a7f37; }
  .line-2 { stroke: #8250df; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .axis { stroke: #3d444d; }
    .one { stroke: #9198a1; }
    .bar { fill: #4493f8; }
    .spread { stroke: #f0f6fc; }
    .limit { stroke: #f85149; }
    .faint { fill: #9198a1; }
    .line-0 { stroke: #4493f8; }
    .line-1 { stroke: #3fb950; }
    .line-2 { stroke: #ab7df8; }
  }
"""


def picture(sections: Sequence[ModuleType], results: dict[str, dict[str, Any]]) -> str:
    """Return the picture of all ratios with their limits, in SVG: its text stays text."""
    rows: list[tuple[str, Measured | None]] = []
    curves = {name: curve for section in sections for name, curve in curves_of(section).items()}
    for section in sections:
        if curves_of(section):
            continue
        found = [
            measured
            for figure in section.FIGURES
            if (measured := _measured(figure, results)) and measured.ratio
        ]
        if found:
            rows += [(section.TITLE, None), *((one.figure.what, one) for one in found)]
    longest = 2.0
    scale = (WIDTH - LEFT - RIGHT) / longest
    bottom = ROW * (len(rows) + 2)
    height = bottom + PANEL
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        ' aria-labelledby="title">',
        '<title id="title">A project beside what it stands on: ratios and limits</title>',
        f"<style>{STYLE}</style>",
        f'<text x="{LEFT}" y="{ROW - 8}" class="faint">ratio with quartiles; '
        "red: limit; dashed: equal</text>",
    ]
    for position, (label, measured) in enumerate(rows, start=1):
        y = ROW * position
        if measured is None:
            parts.append(f'<text x="8" y="{y + 18}" class="title">{escape(label)}</text>')
            continue
        parts += _bar(label, measured, y, scale, longest)
    x = LEFT + scale
    parts.append(f'<line x1="{x}" y1="{ROW}" x2="{x}" y2="{bottom - ROW}" class="one"/>')
    parts += _panel(curves, results, bottom)
    parts.append("</svg>\n")
    return "\n".join(parts)


def curves_of(section: ModuleType) -> dict[str, dict[int, Figure]]:
    """Return the figures of a section that the picture shows as lines, if it has any."""
    curves: dict[str, dict[int, Figure]] = getattr(section, "CURVES", {})
    return curves


def _panel(
    curves: dict[str, dict[int, Figure]], results: dict[str, dict[str, Any]], top: int
) -> list[str]:
    """Return lines: how many times as much so many of something do as one does."""
    parts = [
        f'<text x="8" y="{top + 4}" class="title">Scale</text>',
        f'<text x="{LEFT}" y="{top + 4}" class="faint">tasks per second, times one; '
        "dashed: in proportion</text>",
    ]
    most = max((count for curve in curves.values() for count in curve), default=1)
    below, right = top + PANEL - 34, WIDTH - RIGHT

    def place(count: float, times: float) -> str:
        x = LEFT + (right - LEFT) * math.log2(count) / max(math.log2(most), 1)
        y = below - (below - top - 20) * math.log2(max(times, 1)) / max(math.log2(most), 1)
        return f"{x:.1f},{y:.1f}"

    parts.append(f'<polyline points="{place(1, 1)} {place(most, most)}" class="one" fill="none"/>')
    parts.append(f'<line x1="{LEFT}" y1="{below}" x2="{right}" y2="{below}" class="axis"/>')
    for count in [2**power for power in range(most.bit_length())]:
        x = place(count, 1).partition(",")[0]
        parts.append(f'<text x="{x}" y="{below + 18}" text-anchor="middle">{count}</text>')
    for number, (name, curve) in enumerate(curves.items()):
        y = top + 40 + ROW * number
        parts.append(
            f'<line x1="20" y1="{y - 4}" x2="50" y2="{y - 4}" class="line line-{number}"/>'
        )
        parts.append(f'<text x="58" y="{y}">{escape(name)}</text>')
        found = {
            count: one for count, figure in curve.items() if (one := _measured(figure, results))
        }
        points = [
            place(count, one.ratio.median if one.ratio else 1) for count, one in found.items()
        ]
        if points:
            parts.append(
                f'<polyline points="{" ".join(points)}" fill="none" class="line line-{number}"/>'
            )
    return parts


def _measured(figure: Figure, results: dict[str, dict[str, Any]]) -> Measured | None:
    result = results.get(figure.key, {})
    if not result.get("ours"):
        return None
    return Measured(figure, tuple(result["ours"]), tuple(result["theirs"]))


def _bar(label: str, measured: Measured, y: int, scale: float, longest: float) -> list[str]:
    ratio = measured.ratio
    assert ratio is not None

    def place(value: float) -> str:
        return f"{LEFT + min(value, longest) * scale:.1f}"

    against = f"{label}, against {measured.figure.against}".replace("`", "")
    width = f"{min(ratio.median, longest) * scale:.1f}"
    parts = [
        f'<text x="20" y="{y + 18}">{escape(shorten(against))}</text>',
        f'<rect x="{LEFT}" y="{y + 6}" width="{width}" height="{ROW - 12}" class="bar"/>',
        f'<line x1="{place(ratio.low)}" y1="{y + ROW / 2}" x2="{place(ratio.high)}"'
        f' y2="{y + ROW / 2}" class="spread"/>',
        f'<text x="{WIDTH - RIGHT + 12}" y="{y + 18}">{number(ratio.median)}</text>',
    ]
    limit = LIMITS.get(measured.figure.key)
    if limit and not limit.of_value:
        x = place(limit.least if limit.least is not None else limit.most or 0)
        parts.append(f'<line x1="{x}" y1="{y + 2}" x2="{x}" y2="{y + ROW - 2}" class="limit"/>')
    return parts


def shorten(text: str, length: int = 58) -> str:
    """Return a text that is at most so many characters long."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
