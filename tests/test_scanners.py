"""Scanners for weaknesses: of the code, of the workflows, of what gets installed."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import uv

from tests.baking import ROOT
from tests.conftest import Bake
from tests.processes import add_lock_file

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the scanners are for Unix")

PROGRAMS = Path(sys.executable).parent
# Between them, nearly all that an answer can add to a project.
PROJECTS = (
    {"use_flower": "true", "use_prometheus": "true"},
    {
        "hosting": "digitalocean",
        "scheduler": "redbeat",
        "process_manager": "prodserver",
        "email_provider": "ses",
    },
)
# What runs where somebody uses the template; its tests run only where it is developed.
OWN_CODE = ("hooks", "local_extensions.py")
# A rule of bandit that ruff is told not to see, which has the same number there.
SILENCED = re.compile(r"# noqa: (?:[A-Z]+\d+, )*S(\d+)(?:, [A-Z]+\d+)*(.*)")


def bandit(folder: Path, *paths: str) -> list[tuple[str, int, str]]:
    """Return each finding of medium or high severity: file, line and rule."""
    result = subprocess.run(
        [PROGRAMS / "bandit", "--quiet", "-ll", "--format", "json", "--recursive", *paths],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(result.stdout)
    assert report["errors"] == []
    assert report["metrics"]["_totals"]["loc"] > 0
    return [
        (found["filename"], found["line_number"], found["test_id"]) for found in report["results"]
    ]


def silenced(file: Path) -> dict[int, tuple[str, bool]]:
    """Return the lines where a finding is silenced: which rule, and whether a reason is there.

    The reason stands behind the rule, or as a comment above.
    """
    lines = file.read_text("utf-8").splitlines()
    return {
        number: (f"B{found[1]}", "(" in found[2] or lines[number - 2].lstrip().startswith("#"))
        for number, line in enumerate(lines, start=1)
        if (found := SILENCED.search(line))
    }


@pytest.mark.slow
@pytest.mark.parametrize("answers", PROJECTS)
def test_bandit_finds_nothing_that_has_no_reason_beside_it(
    bake: Bake, answers: dict[str, str]
) -> None:
    project = bake(**answers)
    files = {path: silenced(path) for path in project.rglob("*.py")}
    reasons = [(path, why) for path, lines in files.items() for _, why in lines.values()]
    assert [path for path, why in reasons if not why] == []
    for name, line, rule in bandit(project, "."):
        assert (rule, True) == files[project / name].get(line), f"{name}:{line}: {rule}"


@pytest.mark.slow
def test_bandit_finds_nothing_in_what_runs_when_a_project_is_made() -> None:
    assert bandit(ROOT, *OWN_CODE) == []


def test_every_rule_that_is_off_for_a_file_has_a_reason_above(bake: Bake) -> None:
    text = (bake() / "pyproject.toml").read_text("utf-8")
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert "ignore" not in lint
    lines = text.partition("[tool.ruff.lint.per-file-ignores]\n")[2].splitlines()
    assert len(lint["per-file-ignores"]) * 2 == len(lines)
    assert all(line.startswith("# ") for line in lines[::2])


def test_bandit_finds_what_is_planted(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("import subprocess\nsubprocess.run(input(), shell=True)\n")
    assert bandit(tmp_path, ".") == [("./planted.py", 2, "B602")]
    planted.write_text('address = "0.0.0.0"  # noqa: S104\n')
    assert silenced(planted) == {1: ("B104", False)}


def test_zizmor_finds_nothing_in_the_template_s_own_workflows() -> None:
    result = subprocess.run(
        [PROGRAMS / "zizmor", "--offline", "--quiet", ".github"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def known_vulnerabilities(folder: Path, file: Path) -> list[str]:
    """Return what pip-audit knows of the packages that a lock file names.

    Args:
        folder: where `uv.lock` is.
        file: is written: the packages.
    """
    export = ["export", "--quiet", "--locked", "--no-dev", "--output-file", str(file)]
    subprocess.run(
        [uv.find_uv_bin(), *export], cwd=folder, check=True, capture_output=True, timeout=120
    )
    audit = ["--disable-pip", "--require-hashes", "--format", "json", "--requirement", str(file)]
    result = subprocess.run(
        [PROGRAMS / "pip-audit", "--progress-spinner", "off", *audit],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    try:
        packages = json.loads(result.stdout)["dependencies"]
    except ValueError:
        pytest.skip("the advisories can't be reached: " + result.stderr.strip()[-200:])
    if all("skip_reason" in package for package in packages):
        pytest.skip(f"the index here has no advisories: {packages[0]['skip_reason']}")
    return [
        f"{package['name']} {package['version']}: {found['id']}"
        for package in packages
        for found in package.get("vulns", [])
    ]


@pytest.mark.nightly
@pytest.mark.parametrize("answers", PROJECTS)
def test_a_project_installs_nothing_with_a_known_vulnerability(
    bake_copy: Bake, answers: dict[str, str], tmp_path: Path
) -> None:
    project = bake_copy(**answers)
    add_lock_file(project)
    assert known_vulnerabilities(project, tmp_path / "audit.txt") == []


@pytest.mark.nightly
def test_the_template_installs_nothing_with_a_known_vulnerability(tmp_path: Path) -> None:
    assert known_vulnerabilities(ROOT, tmp_path / "audit.txt") == []
