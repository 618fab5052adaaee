"""Make projects from the files in the working tree, with both engines."""

import itertools
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import copier
import jinja2
from allpairspy import AllPairs  # type: ignore[import-untyped]
from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]

ROOT = Path(__file__).parent.parent
PROJECT_FOLDER = "{{cookiecutter.project_slug}}"
TEMPLATE_PARTS = (
    "answer_rules.jinja",
    "cookiecutter.json",
    "copier.yml",
    "hooks",
    "local_extensions.py",
    "reserved_slugs.txt",
    "templates",
    PROJECT_FOLDER,
)

Answers = Mapping[str, str]

_compile = jinja2.Environment.compile
_compiled: dict[tuple[object, ...], object] = {}


def _compile_once(  # type: ignore[no-untyped-def]
    self, source, name=None, filename=None, raw=False, defer_init=False
):
    """Compile a template, unless this process has: that is most of what baking costs.

    Texts without a name may be answers, of which the template's extension refuses some each time.
    """
    refusing = name is None and "local_extensions.AnswerRules" in self.extensions
    if raw or (refusing and ("{" in source or not source.isprintable())):
        return _compile(self, source, name, filename, raw, defer_init)
    key = (type(self), *self.extensions, source, name, defer_init)
    if key not in _compiled:
        _compiled[key] = _compile(self, source, name, filename, raw, defer_init)
    return _compiled[key]


jinja2.Environment.compile = _compile_once  # type: ignore[method-assign]


def copy_template(destination: Path) -> Path:
    """Copy the template as git would carry it, but as it stands in the working tree.

    Both engines would take caches and empty folders along, and from a git repository Copier would
    take the last commit instead of the files.

    Args:
        destination: A folder that does not exist yet.

    Returns:
        The destination.
    """
    leftovers = shutil.ignore_patterns("__pycache__", ".*_cache", "*.pyc", ".DS_Store")
    destination.mkdir(parents=True)
    for part in TEMPLATE_PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, destination / part, ignore=leftovers)
        else:
            shutil.copy2(source, destination / part)
    for folder, _, _ in os.walk(destination / PROJECT_FOLDER, topdown=False):
        if not os.listdir(folder):
            os.rmdir(folder)
    return destination


def cookiecutter_config(folder: Path) -> Path:
    """Write a Cookiecutter configuration that keeps its files out of the user's home.

    Args:
        folder: Where the configuration, replays and clones go; made when missing.

    Returns:
        The configuration file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "cookiecutter.yaml"
    config.write_text(
        f"cookiecutters_dir: '{(folder / 'clones').as_posix()}'\n"
        f"replay_dir: '{(folder / 'replays').as_posix()}'\n",
        encoding="utf-8",
    )
    return config


def bake_with_cookiecutter(template: Path, folder: Path, answers: Answers) -> Path:
    """Make a project with Cookiecutter, in this process apart from the hooks.

    Args:
        template: The template's folder.
        folder: Where the project folder goes; made when missing.
        answers: The answers that differ from the defaults.

    Returns:
        The project's folder.

    Raises:
        FailedHookException: The answers were refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    project = cookiecutter(
        str(template),
        no_input=True,
        extra_context=dict(answers),
        output_dir=str(folder),
        config_file=str(cookiecutter_config(folder.with_name(folder.name + "-config"))),
    )
    return Path(project)


def bake_with_copier(template: Path, folder: Path, answers: Answers) -> Path:
    """Make a project with Copier, in this process and without trusting the template.

    Args:
        template: The template's folder, or its git repository.
        folder: The project's folder; made when missing.
        answers: The answers that differ from the defaults.

    Returns:
        The project's folder.

    Raises:
        ValueError: The answers were refused.
    """
    copier.run_copy(
        str(template),
        folder,
        data=dict(answers),
        defaults=True,
        quiet=True,
        unsafe=False,
        vcs_ref="HEAD",
    )
    return folder


def run_engine(
    engine: str, template: Path, folder: Path, answers: Answers
) -> subprocess.CompletedProcess[str]:
    """Make a project through the engine's command line, as a user would.

    Args:
        engine: `cookiecutter` or `copier`.
        template: The template's folder.
        folder: The working directory; the project becomes a folder in it.
        answers: The answers that differ from the defaults.

    Returns:
        The finished process with its output as text.
    """
    pairs = [f"{name}={value}" for name, value in answers.items()]
    if engine == "cookiecutter":
        config = cookiecutter_config(folder.with_name(folder.name + "-config"))
        arguments = ["--no-input", "--config-file", str(config), str(template), *pairs]
    else:
        data = [argument for pair in pairs for argument in ("--data", pair)]
        arguments = ["copy", "--defaults", *data, str(template), "project"]
    return subprocess.run(
        [sys.executable, "-m", engine, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file and folder below a folder, to compare trees.

    Returns:
        Relative POSIX path -> permission bits and content, which is empty for a folder.
    """
    return {
        path.relative_to(folder).as_posix(): (
            stat.S_IMODE(path.stat().st_mode),
            b"" if path.is_dir() else path.read_bytes(),
        )
        for path in folder.rglob("*")
    }


def choices() -> dict[str, list[str]]:
    """Return the questions with a fixed choice of answers, the default first."""
    questions = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    return {
        name: value if isinstance(value, list) else ["false", "true"]
        for name, value in questions.items()
        if isinstance(value, list | bool) and not name.startswith("_")
    }


def allowed(answers: Answers) -> bool:
    """Return whether the answers, of which some may be missing, can be picked together."""
    return (answers.get("hosting"), answers.get("scheduler")) != ("compose", "platform")


def pairs() -> list[dict[str, str]]:
    """Return combinations of choices, among which every two answers of two questions meet."""
    names = list(choices())
    return [
        dict(zip(names, row, strict=True))
        for row in AllPairs(
            list(choices().values()),
            filter_func=lambda row: allowed(dict(zip(names, row, strict=False))),
        )
    ]


def combinations() -> list[dict[str, str]]:
    """Return pairs, and after them what makes the processes, combined in full.

    All combinations would be thousands. What the processes are hangs on the hosting, the scheduler
    and the process manager together.
    """
    together = ("hosting", "scheduler", "process_manager")
    products = (
        product
        for product in itertools.product(*(choices()[name] for name in together))
        if allowed(dict(zip(together, product, strict=True)))
    )
    found = pairs()
    found += [
        {**pair, **dict(zip(together, product, strict=True))}
        for pair, product in zip(itertools.cycle(found), products, strict=False)
    ]
    return list({tuple(answers.values()): answers for answers in found}.values())
