"""What Hypothesis answers to the questions: what is allowed, and what anybody may type."""

import re
from typing import Any

from hypothesis import strategies as st

from tests.baking import allowed, choices

PIECES = [
    "'",
    '"',
    '"""',
    "\\",
    "\\n",
    "{",
    "}",
    "}}",
    "%}",
    "#",
    " # ",
    ": ",
    "$",
    "${X}",
    "%s",
    "&",
    "<b>",
]
# What str.isprintable accepts.
PRINTABLE = st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters=" ")
# One line of any printable text that starts no Jinja expression.
LINE = (
    st.lists(st.sampled_from(PIECES) | st.text(PRINTABLE, max_size=5), max_size=8)
    .map("".join)
    .filter(lambda text: not re.search("{[{%#]", text))
)
# Refused for the most part. UTF-8 has no surrogates, and no terminal or file can give them.
ANY_TEXT = st.lists(
    st.sampled_from([*PIECES, "{{", "{%", "{#", "\n", "\0"])
    | st.text(st.characters(codec="utf-8"), max_size=5),
    max_size=8,
).map("".join)

LABEL = "[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?"
ALLOWED_TEXTS = {
    "project_name": LINE.filter(str.strip),
    "project_slug": st.from_regex(r"shop(_{0,2}[a-z0-9]){0,11}", fullmatch=True),
    "description": LINE,
    "author_name": LINE.filter(str.strip),
    "author_email": st.from_regex(
        rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,20}}@({LABEL}\.){{1,3}}[a-z]{{2,6}}", fullmatch=True
    ).filter(lambda text: not re.search("{[{%#]", text)),
    "domain_name": st.from_regex(rf"({LABEL}\.){{1,3}}[a-z]{{2,6}}", fullmatch=True),
}


def picked(**fixed: str) -> dict[str, st.SearchStrategy[str]]:
    """Return a strategy for each question with choices, apart from those with a fixed answer."""
    drawn = {name: st.sampled_from(values) for name, values in choices().items()}
    return drawn | {name: st.just(answer) for name, answer in fixed.items()}


def allowed_answers(**fixed: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return answers to all questions that are accepted.

    Args:
        fixed: Choices that are not left to chance.
    """
    return st.fixed_dictionaries(ALLOWED_TEXTS | picked(**fixed)).filter(allowed)


def any_answers(**fixed: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return answers to all questions; in half of the sets one text is whatever anybody may type.

    Args:
        fixed: Choices that are not left to chance.
    """
    accepted = [ALLOWED_TEXTS] * len(ALLOWED_TEXTS)
    hostile = [ALLOWED_TEXTS | {name: ANY_TEXT} for name in ALLOWED_TEXTS]
    return st.one_of(
        *(st.fixed_dictionaries(texts | picked(**fixed)) for texts in [*accepted, *hostile])
    )
