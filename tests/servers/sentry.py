"""A Sentry that takes envelopes and keeps what is in them.

https://develop.sentry.dev/sdk/data-model/envelopes/
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.processes import wait_until
from tests.servers.http import HTTPServer, Received, Reply

PROJECT = 7
KEY = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Item:
    """A part of an envelope: `event`, `check_in`, `transaction`, `client_report`, ..."""

    kind: str
    content: dict[str, Any]


def parse_envelope(body: bytes) -> list[Item]:
    """Return the items of an envelope.

    Args:
        body: one line of JSON about the envelope, then for each item one line of JSON about it
            and its content, as long as that line says, or to the end of the line.

    Raises:
        ValueError: it is no envelope.
    """
    header, _, rest = body.partition(b"\n")
    if not isinstance(json.loads(header), dict):
        raise ValueError("the header of the envelope is no object")
    items = []
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        about = json.loads(line)
        length = about.get("length", rest.find(b"\n") if b"\n" in rest else len(rest))
        content, rest = rest[:length], rest[length:].removeprefix(b"\n")
        if len(content) != length:
            raise ValueError(f"an item of {len(content)} bytes says that it has {length}")
        items.append(Item(about["type"], json.loads(content)))
    return items


class SentryServer(HTTPServer):
    """A Sentry on 127.0.0.1, with TLS if it is given an authority."""

    @property
    def dsn(self) -> str:
        """What SENTRY_DSN is to be."""
        scheme, _, rest = self.url(f"/{PROJECT}").partition("://")
        return f"{scheme}://{KEY}@{rest}"

    @property
    def items(self) -> list[Item]:
        """The items of all envelopes so far, oldest first."""
        return [item for request in self.requests for item in parse_envelope(content(request))]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the contents of all items of a kind, oldest first."""
        return [item.content for item in self.items if item.kind == kind]

    def wait_for_item(
        self, kind: str, wanted: Callable[[dict[str, Any]], object], timeout: float
    ) -> dict[str, Any]:
        """Wait for an item.

        Args:
            kind: of which kind it is.
            wanted: tells whether a content is the one.
            timeout: seconds.

        Returns:
            The content of the first one.

        Raises:
            AssertionError: the time is over.
        """
        found = wait_until(
            lambda: [each for each in self.of(kind) if wanted(each)], timeout, f"a Sentry {kind}"
        )
        return found[0]

    def usual_reply(self, request: Received) -> Reply:
        """Refuse what is no envelope of this project, as Sentry does."""
        if request.path != f"/api/{PROJECT}/envelope/":
            return Reply(status=404)
        if f"sentry_key={KEY}" not in request.headers.get("x-sentry-auth", ""):
            return Reply(status=403)
        try:
            parse_envelope(content(request))
        except ValueError:
            return Reply(status=400)
        return Reply(headers={"Content-Type": "application/json"}, body=b"{}")


def content(request: Received) -> bytes:
    """Return the body of a request, unpacked."""
    if request.headers.get("content-encoding") == "gzip":
        return gzip.decompress(request.body)
    return request.body
