"""Keeping secrets out of what a process writes: log lines, and what it sends elsewhere.

Imports neither Django nor settings, because the settings themselves need it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "(not shown)"

# What a value is called that is not shown, whatever it is.
SECRET_NAME = re.compile(
    r"passw|secret|token|api_?key|authorization|cookie|private_?key", re.IGNORECASE
)
PATTERNS = (
    # The password of a URL.
    (re.compile(r"(://[^/\s:@'\"]*:)[^/\s@'\"]+@"), rf"\1{MASK}@"),
    # Headers by which somebody is known, up to the end of the line or of the quoted value.
    (
        re.compile(
            r"\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)(['\"]?\s*[:=]\s*)"
            r"(?:'[^'\r\n]*'|\"[^\"\r\n]*\"|[^'\"\r\n]+)",
            re.IGNORECASE,
        ),
        rf"\1\2{MASK}",
    ),
    # The last part of the link that resets a password: whoever has it can set one.
    (re.compile(r"(/accounts/reset/[^/\s]+/)[^/\s]+"), r"\1(not-shown)"),
)
ADDRESS = re.compile(r"[^\s@:;,=\"'<>()]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}")


class Redaction:
    """Masks secrets in texts and in what holds texts.

    It knows passwords in URLs, the headers ``Authorization`` and ``Cookie``, links that reset a
    password, values under a name like ``password``, and the secrets it is told of. It can't know
    others: what your own code logs is up to your code.

    Args:
        secrets: Values that are masked wherever they stand.
        addresses: Whether e-mail addresses are masked too.
    """

    def __init__(self, secrets: Iterable[str] = (), *, addresses: bool = False) -> None:
        # The longest first, because one may be part of another.
        literals = sorted({re.escape(secret) for secret in secrets}, key=len, reverse=True)
        known = [(re.compile("|".join(literals)), MASK)] if literals else []
        self._patterns = [*known, *PATTERNS, *([(ADDRESS, MASK)] if addresses else [])]

    def __call__(self, value: Any) -> Any:
        """Return a value with its secrets masked.

        Args:
            value: A text; a mapping, list or tuple, which is looked through; a number or nothing.
                Of anything else the text is taken.
        """
        if value is None or isinstance(value, int | float):
            return value
        if isinstance(value, Mapping):
            return {
                str(name): MASK if item and SECRET_NAME.search(str(name)) else self(item)
                for name, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self(item) for item in value]
        text = value if isinstance(value, str) else repr(value)
        for pattern, replacement in self._patterns:
            text = pattern.sub(replacement, text)
        return text
