"""What is masked in log lines and events."""

from typing import Any

import pytest

from apps.operations.redaction import MASK, Redaction


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:no password", "redis://:no password"),
        ("to redis://:private@host:6379/0", f"to redis://:{MASK}@host:6379/0"),
        ("postgres://user:private@host/name", f"postgres://user:{MASK}@host/name"),
        ("http://host:8000/path@home", "http://host:8000/path@home"),
        ("Authorization: Bearer private", f"Authorization: {MASK}"),
        ("{'Cookie': 'sessionid=private; a=b', 'x': 1}", "{'Cookie': (not shown), 'x': 1}"),
        ("Set-Cookie: sessionid=private\nHost: x", f"Set-Cookie: {MASK}\nHost: x"),
        ("cookies are good", "cookies are good"),
        ("/accounts/reset/MQ/private/", "/accounts/reset/MQ/(not-shown)/"),
        ("the key is 0123456789+/= here", f"the key is {MASK} here"),
        ("abcdef and abcdefghi", f"{MASK} and {MASK}"),
    ],
)
def test_secrets_in_texts_are_masked(text: str, masked: str) -> None:
    assert Redaction(["0123456789+/=", "abcdef", "abcdefghi"])(text) == masked


class Credentials:
    """Something that shows a secret."""

    def __repr__(self) -> str:
        return "Credentials('private')"


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        (None, None),
        (1.5, 1.5),
        (True, True),
        ({"password": "x", "count": 1}, {"password": MASK, "count": 1}),
        ({"api_key": None, "X-Api-Key": ""}, {"api_key": None, "X-Api-Key": ""}),
        ([("a private b",), {"SECRET": [1]}], [[f"a {MASK} b"], {"SECRET": MASK}]),
        (Credentials(), f"Credentials('{MASK}')"),
    ],
)
def test_what_holds_texts_is_looked_through(value: Any, masked: Any) -> None:
    assert Redaction(["private"])(value) == masked


def test_addresses_are_masked_where_they_are_not_wanted() -> None:
    text = "Key (email)=(ann@mail.example.org) of service@0.1.0 exists"
    assert Redaction(addresses=True)(text) == f"Key (email)=({MASK}) of service@0.1.0 exists"
    assert Redaction()(text) == text


def test_without_secrets_nothing_is_masked_that_is_none() -> None:
    assert Redaction()("a plain text") == "a plain text"
