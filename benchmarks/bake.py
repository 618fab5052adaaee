"""How long baking takes, against baking an empty template with the same engine.

Run it with `make bench`. Both are run in turn, so that a noisy machine slows both.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROUNDS = 9
PROJECT_FOLDER = "{{cookiecutter.project_slug}}"


def empty_template(folder: Path) -> Path:
    """Make a template with one question and one empty file, for both engines.

    Args:
        folder: Where; it must not exist.

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


def copy_of_tree(folder: Path) -> Path:
    """Copy the template without its history, because Copier would clone a git repository.

    Args:
        folder: Where; it must not exist.

    Returns:
        The same folder.
    """
    ignored = shutil.ignore_patterns(".git", ".venv", ".cache", "*_cache", "tests", "my_project")
    return Path(shutil.copytree(ROOT, folder, ignore=ignored))


def command(engine: str, template: Path, output: Path) -> list[str]:
    """Return the command that bakes a template with its default answers."""
    program = str(Path(sys.executable).with_name(engine))
    if engine == "cookiecutter":
        return [program, "--no-input", str(template), "--output-dir", str(output)]
    return [program, "copy", "--defaults", "--quiet", str(template), str(output / "project")]


def measure(engine: str, template: Path) -> float:
    """Return the seconds that one bake takes, with the start of the engine."""
    with tempfile.TemporaryDirectory() as output:
        started = time.perf_counter()
        subprocess.run(command(engine, template, Path(output)), check=True, capture_output=True)
        return time.perf_counter() - started


def main() -> None:
    """Measure and print one table."""
    with tempfile.TemporaryDirectory() as folder:
        templates = {
            "floor": empty_template(Path(folder) / "empty"),
            "template": copy_of_tree(Path(folder) / "template"),
        }
        print("engine        floor s   template s   ratio (medians of", ROUNDS, "in turn)")
        for engine in ("cookiecutter", "copier"):
            times: dict[str, list[float]] = {name: [] for name in templates}
            for _ in range(ROUNDS):
                for name, template in templates.items():
                    times[name].append(measure(engine, template))
            floor, whole = (statistics.median(times[name]) for name in ("floor", "template"))
            spread = f"{min(times['template']):.2f}-{max(times['template']):.2f}"
            print(f"{engine:12}  {floor:7.2f}   {whole:10.2f}   {whole / floor:.2f} ({spread} s)")


if __name__ == "__main__":
    main()
