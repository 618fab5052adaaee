"""Fixtures that bake projects, each combination of answers once for all workers of a run."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from _pytest.nodeid import NodeId

from tests import faults
from tests.baking import (
    bake_with_cookiecutter,
    bake_with_copier,
    combinations,
    copy_template,
    pairs,
)

# The servers are programs for Unix; on Windows only the tests that bake can run.
pytest_plugins = [] if sys.platform == "win32" else ["tests.servers.fixtures"]

# A busy machine draws slowly, which is no fault of a strategy.
hypothesis.settings.register_profile(
    "normal",
    max_examples=200,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("normal")

Bake = Callable[..., Path]

# The first nine hold each answer at least once. In the pairs any two answers meet.
FEW, MANY = 9, len(pairs())
FOUND = combinations()
COMBINATIONS = [
    pytest.param(answers, id="-".join(answers.values()), marks=marks)
    for some, marks in (
        (FOUND[:FEW], ()),
        (FOUND[FEW:MANY], pytest.mark.slow),
        (FOUND[MANY:], pytest.mark.nightly),
    )
    for answers in some
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make faults` ask for the table of its page."""
    parser.addoption(
        "--write-faults", action="store_true", help="write the table of docs/faults.md"
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what each fault did, as the tests of `test_faults.py` have recorded it."""
    kinds = terminalreporter.stats.values()
    reports = [report for kind in kinds for report in kind if isinstance(report, pytest.TestReport)]
    rows: list[Any] = [
        row
        for report in sorted(reports, key=lambda report: report.start)
        for name, row in report.user_properties
        if name == faults.PROPERTY and report.when == "call"
    ]
    if not rows:
        return
    table = faults.table(rows)
    terminalreporter.section("faults")
    terminalreporter.write_line(table)
    if config.getoption("write_faults"):
        faults.write(table)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the marks `xdist_group` count: xdist 3.8 writes them where pytest 9.2 does not look."""
    for item in items:
        if "_nodeid" in vars(item):
            item._id = NodeId.parse(item._nodeid)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clean copy of the template as it stands in the working tree."""
    return copy_template(tmp_path_factory.mktemp("template") / "template")


def _baked_once(
    engine: Callable[[Path, Path, dict[str, str]], Path], template: Path, folder: Path, nested: bool
) -> Bake:
    folder.mkdir(exist_ok=True)

    def bake(**answers: str) -> Path:
        key = hashlib.sha256(json.dumps(sorted(answers.items())).encode()).hexdigest()[:16]
        shared = folder / key
        if not shared.exists():
            own = Path(tempfile.mkdtemp(dir=folder))
            place = own / answers.get("project_slug", "my_project") if nested else own
            engine(template, place, answers)
            # Another worker may have been quicker, which gave the same.
            with contextlib.suppress(OSError):
                own.rename(shared)
        [project] = shared.iterdir()
        return project

    return bake


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all xdist workers of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def bake(template: Path, shared_folder: Path) -> Bake:
    """Return `bake(**answers) -> Path`, baking with Cookiecutter; do not change it."""
    return _baked_once(
        bake_with_cookiecutter, template, shared_folder / "cookiecutter", nested=False
    )


@pytest.fixture(scope="session")
def copier_bake(template: Path, shared_folder: Path) -> Bake:
    """Return `copier_bake(**answers) -> Path`, baking with Copier; do not change it."""
    return _baked_once(bake_with_copier, template, shared_folder / "copier", nested=True)


@pytest.fixture
def bake_copy(bake: Bake, tmp_path: Path) -> Bake:
    """Return `bake_copy(**answers) -> Path`, which gives a project that the test may change."""

    def bake_copy(**answers: str) -> Path:
        project = bake(**answers)
        return Path(shutil.copytree(project, tmp_path / project.name))

    return bake_copy
