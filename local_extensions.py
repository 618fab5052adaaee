"""Jinja extension that lets Cookiecutter refuse bad answers before it creates anything.

A hook is too late and too loud for that: by then Cookiecutter has rendered the answers as templates
(`{{` ends in a traceback) and made the folders (a slug `a/b` leaves `a` behind), and it prints
a traceback of its own when a hook fails.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from cookiecutter.exceptions import FailedHookException  # type: ignore[import-untyped]
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.environment import TemplateModule
from jinja2.ext import Extension

TEMPLATE_ROOT = Path(__file__).parent
TEXT_QUESTIONS = (
    "project_name",
    "project_slug",
    "description",
    "author_name",
    "author_email",
    "domain_name",
)


@cache
def answer_rules() -> TemplateModule:
    """Return the macros of `answer_rules.jinja`, which are Copier's validators as well."""
    # The texts are for a terminal, so nothing is escaped.
    environment = Environment(  # nosec B701
        loader=FileSystemLoader(TEMPLATE_ROOT), undefined=StrictUndefined
    )
    environment.filters["regex_search"] = lambda text, pattern: re.search(pattern, text)
    return environment.get_template("answer_rules.jinja").module


def own_templates() -> frozenset[str]:
    """Return every template that `cookiecutter.json` itself gives to a question or variable."""
    questions = json.loads((TEMPLATE_ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    return frozenset(value for value in questions.values() if isinstance(value, str))


class AnswerRules(Extension):
    """Functions for the private variables in `cookiecutter.json` that guard the questions."""

    def __init__(self, environment: Environment) -> None:
        """Register the functions.

        Args:
            environment: Cookiecutter's; it makes one for the questions, one for the files and one
                for each hook.
        """
        super().__init__(environment)
        self._trusted: frozenset[str] | None = None
        environment.globals["questions_begin"] = self._questions_begin
        environment.globals["refuse_bad_answers"] = self._refuse_bad_answers

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Refuse an answer that Cookiecutter is about to render as a template.

        It renders those of the command line and of the user's configuration.

        Raises:
            FailedHookException: The answer starts a Jinja expression or is not printable.
        """
        if self._trusted is not None and source not in self._trusted:
            refuse([answer_rules().characters(f"The answer {source!r}", source)])  # type: ignore[attr-defined]
        return source

    def _questions_begin(self) -> str:
        self._trusted = own_templates()
        return ""

    def _refuse_bad_answers(self, answers: Mapping[str, str]) -> str:
        rules = answer_rules()
        refuse(
            [
                *(getattr(rules, name)(answers[name]) for name in TEXT_QUESTIONS),
                rules.scheduler(answers["scheduler"], answers["hosting"]),  # type: ignore[attr-defined]
            ]
        )
        return ""


def refuse(sentences: list[str]) -> None:
    """Stop Cookiecutter with exit code 1 and the sentences that are not empty, if there are any.

    Raises:
        FailedHookException: There are; its text is what Cookiecutter prints.
    """
    if problems := [sentence for sentence in sentences if sentence]:
        raise FailedHookException("\n".join(problems))
