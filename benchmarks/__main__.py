"""`make bench`: measure sections, write the results and the report, and name each limit missed."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from benchmarks import limits, report
from benchmarks.harness import FULL, QUICK, Measured, Skipped, say
from benchmarks.meters import wrk_is_missing
from benchmarks.projects import Lab

SECTIONS = ("baking", "first_steps", "web", "worker", "scale", "smallest")
ROOT = Path(__file__).parent.parent
QUICK_FOLDER = ROOT / ".cache" / "benchmarks"


def section(name: str) -> ModuleType:
    """Return the module of a section."""
    return importlib.import_module(f"benchmarks.{name}")


def run(names: Sequence[str], folder: Path, quick: bool) -> list[str]:
    """Measure sections and write what was found.

    Args:
        names: of the sections.
        folder: where results and report are; those of other sections stay.
        quick: whether to measure little, for a test.

    Returns:
        A sentence for each limit of these sections that does not hold.
    """
    results: list[Measured] = []
    for name in names:
        module = section(name)
        say(f"{module.TITLE}:")
        started = time.monotonic()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            lab = Lab(Path(scratch), QUICK if quick else FULL)
            try:
                found = module.measure(lab)
            finally:
                lab.close()
        report.keep(folder, name, found)
        results += [one for one in found if isinstance(one, Measured)]
        for one in found:
            if isinstance(one, Skipped):
                say(f"  {one.figure.key} is skipped: {one.reason}")
        say(f"  {module.TITLE} took {time.monotonic() - started:.0f} s")
    report.write(folder, [section(name) for name in SECTIONS])
    return limits.missed(results)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those of the process if not given.

    Returns:
        0, or 1 if a limit does not hold.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure a project beside what it stands on, in turn, and write the report.",
    )
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="measure little, to try the code")
    parser.add_argument("--output", type=Path, help="folder of the report: docs, or a scratch one")
    options = parser.parse_args(arguments)
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    names = options.sections or list(SECTIONS)
    missing = wrk_is_missing()
    if missing and "web" in names:
        parser.error(missing)
    folder = options.output or (QUICK_FOLDER if options.quick else ROOT / "docs")
    missed = run(names, folder, options.quick)
    say(f"The report is {folder / report.PAGE}.")
    for sentence in missed:
        say(f"missed: {sentence}")
    return 1 if missed else 0


if __name__ == "__main__":
    # Whoever ends it does not leave its servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
