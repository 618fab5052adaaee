"""Baking, against an empty template with the same engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.harness import Figure, Measured, Reading, in_turn, values
from benchmarks.projects import Lab
from tests.baking import PROJECT_FOLDER, cookiecutter_config

TITLE = "Baking"
EMPTY = "an empty template"
HOLLOW = "the same files, all of them empty"

COOKIECUTTER = Figure("baking.cookiecutter", "Cookiecutter, default answers", "s", EMPTY)
COPIER = Figure("baking.copier", "Copier, default answers", "s", EMPTY)
COOKIECUTTER_HOLLOW = Figure(
    "baking.cookiecutter-hollow", "Cookiecutter, default answers", "s", HOLLOW
)
COPIER_HOLLOW = Figure("baking.copier-hollow", "Copier, default answers", "s", HOLLOW)
COOKIECUTTER_LARGEST = Figure(
    "baking.cookiecutter-largest", "Cookiecutter, largest project", "s", EMPTY
)
COPIER_LARGEST = Figure("baking.copier-largest", "Copier, largest project", "s", EMPTY)
HOOKS = Figure("baking.hooks", "Cookiecutter with its hooks", "s", "the template without hooks")
FILES = Figure("baking.files", "Files of the largest project", "files", "the default answers")
FIGURES = (
    COOKIECUTTER,
    COPIER,
    COOKIECUTTER_HOLLOW,
    COPIER_HOLLOW,
    COOKIECUTTER_LARGEST,
    COPIER_LARGEST,
    HOOKS,
    FILES,
)

# The answers that leave the most files.
LARGEST = {
    "hosting": "azure",
    "email_provider": "ses",
    "scheduler": "database",
    "process_manager": "prodserver",
    "use_flower": "true",
    "use_prometheus": "true",
}


def empty_template(folder: Path) -> Path:
    """Make a template with one question and one empty file, for both engines.

    Args:
        folder: where; it must not exist.

    Returns:
        The same folder.
    """
    (folder / PROJECT_FOLDER).mkdir(parents=True)
    (folder / PROJECT_FOLDER / "file").touch()
    (folder / "cookiecutter.json").write_text(json.dumps({"project_slug": "my_project"}))
    (folder / "copier.yml").write_text(
        f'_subdirectory: "{{% raw %}}{PROJECT_FOLDER}{{% endraw %}}"\n'
        "project_slug:\n  type: str\n  default: my_project\n"
    )
    return folder


def hollow_template(template: Path, folder: Path) -> Path:
    """Make a template that asks the same questions and gives the same files, without their text.

    Args:
        template: the template.
        folder: where; it must not exist.

    Returns:
        The new folder.
    """
    shutil.copytree(template, folder)
    for path in (folder / PROJECT_FOLDER).rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    return folder


def bake(engine: str, template: Path, answers: Mapping[str, str]) -> Reading:
    """Return the seconds that one bake takes, with the start of the engine, and its files."""
    program = str(Path(sys.executable).with_name(engine))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        pairs = [f"{name}={value}" for name, value in answers.items()]
        if engine == "cookiecutter":
            output.mkdir()
            config = str(cookiecutter_config(Path(folder) / "config"))
            command = [program, "--no-input", "--config-file", config, str(template), *pairs]
            command += ["--output-dir", str(output)]
        else:
            data = [part for pair in pairs for part in ("--data", pair)]
            command = [program, "copy", "--defaults", "--quiet", *data, str(template), str(output)]
        started = time.perf_counter()
        subprocess.run(
            command, check=True, capture_output=True, env={**os.environ, "NO_COLOR": "1"}
        )
        seconds = time.perf_counter() - started
        files = sum(1 for path in output.rglob("*") if path.is_file())
        return {"seconds": seconds, "files": float(files)}


def measure(lab: Lab) -> list[Measured]:
    """Measure everything of this section."""
    empty = empty_template(lab.folder / "empty")
    hollow = hollow_template(lab.template, lab.folder / "hollow")
    hookless = Path(shutil.copytree(lab.template, lab.folder / "hookless"))
    shutil.rmtree(hookless / "hooks")
    results = []
    for engine, default, without_text, largest in (
        ("cookiecutter", COOKIECUTTER, COOKIECUTTER_HOLLOW, COOKIECUTTER_LARGEST),
        ("copier", COPIER, COPIER_HOLLOW, COPIER_LARGEST),
    ):
        sides = {
            "empty": partial(bake, engine, empty, {}),
            "hollow": partial(bake, engine, hollow, {}),
            "default": partial(bake, engine, lab.template, {}),
            "largest": partial(bake, engine, lab.template, LARGEST),
        }
        if engine == "cookiecutter":
            sides["hookless"] = partial(bake, engine, hookless, {})
        found = in_turn(sides, lab.effort.many, engine)
        floor = values(found["empty"], "seconds")
        seconds = values(found["default"], "seconds")
        results.append(Measured(default, seconds, floor))
        results.append(Measured(without_text, seconds, values(found["hollow"], "seconds")))
        results.append(Measured(largest, values(found["largest"], "seconds"), floor))
        if engine == "cookiecutter":
            pair = (values(found[name], "seconds") for name in ("default", "hookless"))
            results.append(Measured(HOOKS, *pair))
            pair = (values(found[name], "files") for name in ("largest", "default"))
            results.append(Measured(FILES, *pair))
    return results
