"""Cookiecutter and Copier give the same bytes, always, and touch nothing else."""

import ast
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from tests.baking import (
    ROOT,
    bake_with_cookiecutter,
    bake_with_copier,
    copy_template,
    run_engine,
    tree,
)
from tests.conftest import COMBINATIONS, Bake

HOSTILE = {
    "project_name": 'Zoë\'s "shop" \\ {x} # : $HOME %s \U0001f600',
    "project_slug": "shop",
    "description": "''' \"\"\" \\n &amp; <b>",
    "author_name": "- @nobody: \\\"' \U0001f600",
}
# Each answer once in every run. Copier makes the rest at night.
ANSWERS = [
    pytest.param(*answers.values, id=answers.id, marks=pytest.mark.nightly if answers.marks else ())
    for answers in COMBINATIONS
]


@pytest.mark.parametrize("answers", [*ANSWERS, pytest.param(HOSTILE, id="hostile")])
def test_both_engines_give_the_same_bytes_and_modes(
    bake: Bake, copier_bake: Bake, answers: dict[str, str]
) -> None:
    by_cookiecutter, by_copier = tree(bake(**answers)), tree(copier_bake(**answers))

    assert by_copier.pop(".copier-answers.yml")
    assert by_cookiecutter.keys() == by_copier.keys()
    assert [name for name in by_copier if by_copier[name] != by_cookiecutter[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["cookiecutter", "copier"])
def test_two_bakes_are_equal(
    engine: str, template: Path, bake: Bake, copier_bake: Bake, tmp_path: Path
) -> None:
    """The second comes from a process of its own, with another hash seed, place and time."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    process = run_engine(engine, template, folder, {})

    assert process.returncode == 0, process.stdout + process.stderr
    first = bake() if engine == "cookiecutter" else copier_bake()
    assert tree(next(folder.iterdir())) == tree(first)


@pytest.mark.parametrize("engine", ["cookiecutter", "copier"])
def test_baking_uses_no_network_and_starts_nothing_but_the_hook(
    engine: str, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*arguments: object, **options: object) -> NoReturn:
        raise AssertionError("baking used the network")

    started: list[list[str]] = []

    class RecordedProcess(subprocess.Popen[Any]):
        def __init__(self, arguments: list[str], *others: Any, **options: Any) -> None:
            started.append(arguments)
            super().__init__(arguments, *others, **options)

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(subprocess, "Popen", RecordedProcess)

    if engine == "cookiecutter":
        bake_with_cookiecutter(template, tmp_path / "out", {})
        ((interpreter, _hook),) = started
        assert interpreter == sys.executable
    else:
        bake_with_copier(template, tmp_path / "out", {})
        assert [command for command in started if "git" not in command[0]] == []


def test_hook_only_removes_files_and_prints() -> None:
    hook = ast.parse((ROOT / "hooks" / "post_gen_project.py").read_text(encoding="utf-8"))
    modules = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(hook)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }

    assert modules == {"pathlib", "shutil"}


@pytest.mark.slow
def test_both_engines_say_the_same_next_steps(template: Path, tmp_path: Path) -> None:
    texts = []
    for engine in ("cookiecutter", "copier"):
        folder = tmp_path / engine
        folder.mkdir()
        process = run_engine(engine, template, folder, {"project_slug": "project", "ci": "none"})
        output = process.stdout + process.stderr
        texts.append(output[output.index("project is ready") :].strip())

    assert texts[0] == texts[1]
    assert "uv sync" in texts[0]


def test_answers_file_holds_the_answers(copier_bake: Bake) -> None:
    text = (copier_bake(**HOSTILE) / ".copier-answers.yml").read_text(encoding="utf-8")
    answers = yaml.safe_load(text)

    assert {name: answers[name] for name in HOSTILE} == HOSTILE
    assert answers["license"] == "MIT"
    assert "cookiecutter" not in answers
    assert not [name for name in answers if name.startswith("__")]


def git(folder: Path, *arguments: str) -> None:
    """Run git in a folder and expect success."""
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The template as a git repository with one version."""
    if not shutil.which("git"):
        pytest.skip("Copier updates need git")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Nobody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "nobody@example.com")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    template = copy_template(tmp_path / "template")
    git(template, "init", "--initial-branch", "main")
    git(template, "add", "--all")
    git(template, "commit", "--message", "First version")
    git(template, "tag", "v1.0.0")
    return template


@pytest.mark.slow
def test_copier_update_changes_the_scheduler_and_back(repository: Path, tmp_path: Path) -> None:
    project = bake_with_copier(repository, tmp_path / "project", {"scheduler": "code"})
    trees = {"code": tree(project)}
    folder = tmp_path / "anew"
    trees["database"] = tree(bake_with_copier(repository, folder, {"scheduler": "database"}))
    git(project, "init", "--initial-branch", "main")
    for scheduler in ("database", "code"):
        git(project, "add", "--all")
        git(project, "commit", "--message", "Before the change")
        # What docs/schedule.md of a project tells.
        options = ["--skip-answered", "--data", f"scheduler={scheduler}"]
        command = [sys.executable, "-m", "copier", "update", *options]
        subprocess.run(command, cwd=project, stdin=subprocess.DEVNULL, check=True)
        found = {name: file for name, file in tree(project).items() if not name.startswith(".git/")}
        found.pop(".git")
        assert found == trees[scheduler]
