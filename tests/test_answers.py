"""Both engines ask the same questions and refuse the same answers, before they create anything."""

import importlib.metadata
import json
import keyword
import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml
from cookiecutter.exceptions import FailedHookException  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from packaging.requirements import Requirement
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from tests.baking import (
    PROJECT_FOLDER,
    ROOT,
    Answers,
    bake_with_cookiecutter,
    bake_with_copier,
    run_engine,
    tree,
)
from tests.conftest import Bake
from tests.hostile import any_answers

COOKIECUTTER: dict[str, Any] = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
COPIER: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
QUESTIONS = [name for name in COOKIECUTTER if not name.startswith("_")]
TEXT_QUESTIONS = [name for name in QUESTIONS if isinstance(COOKIECUTTER[name], str)]
COMPUTED = [
    name
    for name in COOKIECUTTER
    if name.startswith("__")
    and name not in {"__prompts__", "__questions_begin", "__answers_accepted"}
]

NO_CRON = "scheduler 'platform' is for a hosting with a cron of its own, which Compose has not"

# Answers, and a part of the sentence that refuses them.
REFUSED: list[tuple[Answers, str]] = [
    ({"project_name": ""}, "project_name is blank"),
    ({"project_name": "   "}, "project_name is blank"),
    ({"project_name": "日本語"}, "project_slug is empty"),
    ({"project_name": "x" * 201, "project_slug": "shop"}, "project_name has 201 characters"),
    ({"project_name": "2 fast"}, "project_slug '2_fast' is no lower-case Python package name"),
    ({"project_slug": ""}, "project_slug is empty"),
    ({"project_slug": "."}, "is no lower-case Python package name"),
    ({"project_slug": ".."}, "is no lower-case Python package name"),
    ({"project_slug": "a/b"}, "is no lower-case Python package name"),
    ({"project_slug": "../shop"}, "is no lower-case Python package name"),
    ({"project_slug": "My_Shop"}, "is no lower-case Python package name"),
    ({"project_slug": "my-shop"}, "is no lower-case Python package name"),
    ({"project_slug": "_shop"}, "is no lower-case Python package name"),
    ({"project_slug": "shop_"}, "is no lower-case Python package name"),
    ({"project_slug": "my___shop"}, "holds three _ in a row"),
    ({"project_slug": "café"}, "is no lower-case Python package name"),
    ({"project_slug": "s" * 41}, "has 41 characters"),
    ({"project_slug": "class"}, "project_slug 'class' is taken"),
    ({"project_slug": "json"}, "project_slug 'json' is taken"),
    ({"project_slug": "django"}, "project_slug 'django' is taken"),
    ({"project_slug": "apps"}, "project_slug 'apps' is taken"),
    ({"project_slug": "test"}, "project_slug 'test' is taken"),
    ({"description": "x" * 201}, "description has 201 characters"),
    ({"author_name": " "}, "author_name is blank"),
    ({"author_email": "nobody"}, "is no e-mail address"),
    ({"author_email": "a b@example.com"}, "is no e-mail address"),
    ({"author_email": 'a"@example.com'}, "is no e-mail address"),
    ({"author_email": "you@localhost"}, "is no e-mail address"),
    ({"domain_name": ""}, "is no host name with a dot"),
    ({"domain_name": "localhost"}, "is no host name with a dot"),
    ({"domain_name": "https://example.com"}, "is no host name with a dot"),
    ({"domain_name": "example.com:8000"}, "is no host name with a dot"),
    ({"domain_name": "10.0.0.7"}, "is no host name with a dot"),
    ({"domain_name": "-a.example.com"}, "is no host name with a dot"),
    ({"domain_name": "münchen.example"}, "xn--"),
    *(({name: "a\tb"}, "unprintable character") for name in TEXT_QUESTIONS),
    *(({name: "a\n"}, "unprintable character") for name in TEXT_QUESTIONS),
    ({"project_name": "\x1b[31mred"}, "unprintable character"),
    *(({name: "{{"}, "starts a Jinja expression") for name in TEXT_QUESTIONS),
    ({"description": "{{ 7 * 7 }}"}, "starts a Jinja expression"),
    ({"description": "{{ cookiecutter.project_name }}"}, "starts a Jinja expression"),
    ({"description": "{% raw %}"}, "starts a Jinja expression"),
    ({"author_name": "{# nobody #}"}, "starts a Jinja expression"),
    ({"scheduler": "platform"}, NO_CRON),
    ({"hosting": "compose", "scheduler": "platform"}, NO_CRON),
]


@pytest.fixture(scope="session")
def questions_only(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template with a project that only tells the answers, which bakes fast."""
    copy = tmp_path_factory.mktemp("questions") / "template"
    shutil.copytree(template, copy, ignore=shutil.ignore_patterns(PROJECT_FOLDER))
    (copy / PROJECT_FOLDER).mkdir()
    lines = [f"{name}={{{{ cookiecutter.{name} }}}}\n" for name in QUESTIONS + COMPUTED]
    (copy / PROJECT_FOLDER / "answers.txt").write_text("".join(lines), encoding="utf-8")
    return copy


def outcome(engine: str, template: Path, answers: Answers) -> tuple[str, str]:
    """Bake in an empty folder, and check that a refusal leaves the folder empty.

    Returns:
        The project's answers.txt and no sentence, or nothing and the sentences of the refusal.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "deep", "work")
        folder.mkdir(parents=True)
        try:
            if engine == "cookiecutter":
                project = bake_with_cookiecutter(template, folder, answers)
            else:
                project = bake_with_copier(template, folder / "project", answers)
        except (FailedHookException, ValueError) as error:
            shutil.rmtree(Path(name, "deep", "work-config"), ignore_errors=True)
            assert list(tree(Path(name))) == ["deep", "deep/work"]
            return "", str(error)
        return (project / "answers.txt").read_text(encoding="utf-8"), ""


def test_both_engines_ask_the_same_questions_in_the_same_order() -> None:
    assert [name for name in COPIER if not name.startswith("_")] == [*QUESTIONS, "cookiecutter"]


@pytest.mark.parametrize("name", QUESTIONS)
def test_both_engines_use_the_same_words_and_choices(name: str) -> None:
    words, question, values = COOKIECUTTER["__prompts__"][name], COPIER[name], COOKIECUTTER[name]

    if isinstance(values, list):
        labels = {value: words[value] for value in values}
        choices = {
            choice["value"] if isinstance(choice, dict) else choice: label
            for label, choice in question["choices"].items()
        }
        assert choices == labels
        assert list(choices) == values
        assert (question["help"], question["default"]) == (words["__prompt__"], values[0])
    else:
        assert question["help"] == words
        if isinstance(values, bool):
            assert (question["type"], question["default"]) == ("bool", values)
        else:
            assert question["default"] == values.replace("cookiecutter.", "")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Project", "my_project"),
        ("  Zoë's  Shop -- 2nd!  ", "zo_s_shop_2nd"),
        ("ALL CAPS", "all_caps"),
        ("__dunder__", "dunder"),
        ("a.b/c\\d", "a_b_c_d"),
    ],
)
@pytest.mark.parametrize("engine", ["cookiecutter", "copier"])
def test_slug_comes_from_the_name(engine: str, questions_only: Path, name: str, slug: str) -> None:
    answers, _ = outcome(engine, questions_only, {"project_name": name})

    assert f"project_slug={slug}\n" in answers


@pytest.mark.parametrize(("answers", "sentence"), REFUSED)
@pytest.mark.parametrize("engine", ["cookiecutter", "copier"])
def test_what_cannot_work_is_refused_in_a_sentence(
    engine: str, questions_only: Path, answers: Answers, sentence: str
) -> None:
    project, refusal = outcome(engine, questions_only, answers)

    assert not project
    assert sentence in refusal


def test_cookiecutter_names_every_problem_at_once(questions_only: Path) -> None:
    answers = {"project_slug": "django", "author_email": "x", "domain_name": "x"}

    _, refusal = outcome("cookiecutter", questions_only, answers)

    assert [line.split()[0] for line in refusal.splitlines()] == list(answers)


@pytest.mark.parametrize("engine", ["cookiecutter", "copier"])
def test_unknown_choice_is_refused(engine: str, questions_only: Path) -> None:
    _, refusal = outcome(engine, questions_only, {"ci": "jenkins"})

    assert "jenkins" in refusal
    assert "github" in refusal


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({"project_slug": "a/b"}, "start with a letter a-z"),
        ({"project_name": "{{"}, "write the text without them"),
        ({"domain_name": "a\x07b"}, "use printable characters on one line"),
        ({"scheduler": "platform"}, "choose database, code or redbeat, or another hosting"),
    ],
    ids=["slug", "jinja", "control", "scheduler"],
)
@pytest.mark.parametrize("engine", ["cookiecutter", "copier"])
def test_command_line_ends_with_the_sentence_and_leaves_nothing(
    engine: str, template: Path, tmp_path: Path, answers: Answers, sentence: str
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()

    process = run_engine(engine, template, folder, answers)

    assert process.returncode != 0
    assert not list(folder.iterdir())
    output = process.stdout + process.stderr
    assert sentence in output.splitlines()[-1]
    if engine == "cookiecutter":  # Copier shows a traceback whenever a validator refuses --data
        assert "Traceback" not in output


@pytest.mark.parametrize(
    ("hosting", "last"), [("compose", "redbeat"), ("dokku", "platform"), ("azure", "platform")]
)
def test_copier_lets_nobody_pick_what_the_hosting_has_not(
    questions_only: Path, tmp_path: Path, hosting: str, last: str
) -> None:
    asked = {name: plain_answer(name) for name in QUESTIONS if name != "scheduler"}
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("\x1b[A\r")  # up from the first, which is the last, and enter
        copier.run_copy(
            str(questions_only),
            tmp_path / "project",
            data={**asked, "hosting": hosting},
            quiet=True,
        )
    answers = (tmp_path / "project" / "answers.txt").read_text(encoding="utf-8")
    assert f"scheduler={last}\n" in answers


def plain_answer(name: str) -> str:
    """Return an answer to a question that needs no other."""
    default = COOKIECUTTER[name]
    return (
        "shop" if name == "project_slug" else default[0] if isinstance(default, list) else default
    )


@pytest.mark.slow
@settings(max_examples=50)  # test_hostile.py tries thousands each night
@given(answers=any_answers())
@example(answers={"project_slug": "shop", "description": "\\\" \U0001f600 '''"})
@example(answers={"project_name": "}}", "project_slug": "shop"})
def test_both_engines_agree_on_any_text(questions_only: Path, answers: Answers) -> None:
    by_cookiecutter, refusal = outcome("cookiecutter", questions_only, answers)
    by_copier, _ = outcome("copier", questions_only, answers)

    assert by_cookiecutter == by_copier
    if not refusal:
        for name, answer in answers.items():
            told = answer.capitalize() if isinstance(COOKIECUTTER[name], bool) else answer
            assert f"{name}={told}\n" in by_cookiecutter


def reserved_slugs() -> set[str]:
    return set((ROOT / "reserved_slugs.txt").read_text(encoding="utf-8").split())


def possible_slugs(names: set[str]) -> set[str]:
    return {name for name in names if re.fullmatch("[a-z]([a-z0-9_]{0,38}[a-z0-9])?", name)}


def test_no_slug_hides_a_part_of_python() -> None:
    names = set(keyword.kwlist) | set(sys.stdlib_module_names) | {"test"}

    assert possible_slugs(names) <= reserved_slugs()


def test_no_slug_hides_a_part_of_the_project(bake: Bake) -> None:
    project = bake()
    importable = [path for path in project.iterdir() if path.is_dir() or path.suffix == ".py"]
    names = {path.stem for path in [*importable, *project.glob("apps/*")]}

    assert possible_slugs(names - {"my_project"}) <= reserved_slugs()


def test_no_slug_hides_an_installed_package(bake: Bake) -> None:
    """Follow the project's dependencies as far as this environment has them installed."""
    pyproject = tomllib.loads((bake() / "pyproject.toml").read_text(encoding="utf-8"))
    direct = [*pyproject["project"]["dependencies"], *pyproject["dependency-groups"]["dev"]]
    waiting = [Requirement(text) for text in direct]
    modules: dict[str, set[str]] = {}
    for module, distributions in importlib.metadata.packages_distributions().items():
        for distribution in distributions:
            modules.setdefault(normalised(distribution), set()).add(module)
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = normalised(requirement.name)
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = importlib.metadata.requires(requirement.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [
            need
            for need in map(Requirement, needs)
            if need.marker is None
            or any(need.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras))
        ]

    names = seen | {module for name in seen for module in modules.get(name, set())}
    assert "django" in names
    assert possible_slugs(names) <= reserved_slugs()


def normalised(distribution: str) -> str:
    """Return a distribution's name as it would be spelled in a slug."""
    return re.sub("[-_.]+", "_", distribution).lower()
