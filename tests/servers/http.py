"""A real HTTP server that records what it gets, whose answers a test can write in advance."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.servers.own import ClosingServer
from tests.servers.tls import Authority


@dataclass(frozen=True)
class Received:
    """A request as it came; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body parsed as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        status: status code.
        headers: headers besides Content-Length and Connection.
        body: the body.
        delay: seconds before the answer begins.
        hang: never answer.
        trickle: seconds between the bytes of the body, which otherwise comes in one piece.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    hang: bool = False
    trickle: float = 0.0

    @classmethod
    def redirect(cls, location: str, status: int = 307) -> Self:
        """Return an answer that sends the client elsewhere."""
        return cls(status=status, headers={"Location": location})


class HTTPServer(ClosingServer):
    """An HTTP server on 127.0.0.1, with TLS if it is given an authority."""

    def __init__(self, authority: Authority | None = None, *names: str) -> None:
        """Listen at once.

        Args:
            authority: who signs the certificate; None for plain HTTP.
            names: host names and addresses of the certificate, those of this machine if none;
                the first is the host in `url`.
        """
        self._requests: list[Received] = []
        self._replies: deque[Reply] = deque()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        context = None if authority is None else authority.server_context(*names)
        self._server = _Server(self, context)
        self._scheme, self._host = (
            ("http", "127.0.0.1") if authority is None else ("https", [*names, "localhost"][0])
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="HTTP server", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    @property
    def failures(self) -> list[str]:
        """Connections that ended before a request was answered: why, one text each."""
        return list(self._server.failures)

    @property
    def requests(self) -> list[Received]:
        """Everything that came, oldest first."""
        with self._changed:
            return list(self._requests)

    def url(self, path: str = "/") -> str:
        """Return the address of a path."""
        return f"{self._scheme}://{self._host}:{self.port}{path}"

    def reply(self, *replies: Reply) -> None:
        """Write the next answers in advance; then every request gets the usual one again."""
        with self._changed:
            self._replies.extend(replies)

    def wait_for(self, count: int, timeout: float) -> list[Received]:
        """Wait until requests have come.

        Args:
            count: how many at least.
            timeout: seconds.

        Returns:
            All of them.

        Raises:
            AssertionError: the time is over.
        """
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self._requests) >= count, timeout)
            assert arrived, f"{len(self._requests)} of {count} requests after {timeout:g} s"
            return list(self._requests)

    def close(self) -> None:
        """Close the port and let answers that hang end without a word."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)

    def usual_reply(self, request: Received) -> Reply:
        """Return the answer to a request for which none was written in advance: an empty 200."""
        return Reply()

    def answer(self, request: Received) -> Reply | None:
        """Record a request and return its answer when it is due; None to give none."""
        with self._changed:
            reply = self._replies.popleft() if self._replies else self.usual_reply(request)
            self._requests.append(request)
            self._changed.notify_all()
        return reply if self.pause(None if reply.hang else reply.delay) else None

    def pause(self, seconds: float | None) -> bool:
        """Wait, for ever if no seconds are given; return False as soon as the server is closed."""
        return not self._closing.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, receiver: HTTPServer, context: ssl.SSLContext | None) -> None:
        self.receiver = receiver
        self.context = context
        self.failures: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.context is not None:
            # The handshake waits for the first read, which is in the connection's own thread.
            connection = self.context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        self.failures.append(str(sys.exception()))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Received(self.command, self.path, headers, body)
        self.close_connection = True
        reply = self.server.receiver.answer(request)
        if reply is None:
            return
        self.send_response(reply.status)
        own = {"Content-Length": str(len(reply.body)), "Connection": "close"}
        for name, value in {**own, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if not reply.trickle:
            self.wfile.write(reply.body)
            return
        for byte in reply.body:
            self.wfile.write(bytes([byte]))
            if not self.server.receiver.pause(reply.trickle):
                return

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Keep the log of the tests clean."""
