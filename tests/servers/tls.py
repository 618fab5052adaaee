"""A certificate authority of our own, and TLS in front of servers that have none."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme

from tests.servers.own import ClosingServer

SERVER_NAMES = ("localhost", "127.0.0.1", "::1")
CHUNK = 65_536  # bytes


class Authority:
    """A private certificate authority; no system trusts it by itself."""

    def __init__(self, folder: Path) -> None:
        """Create the authority's key and certificate.

        Args:
            folder: existing folder for `ca.pem`.
        """
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def server_context(self, *names: str) -> ssl.SSLContext:
        """Return a server's TLS settings with a new certificate.

        Args:
            names: host names and addresses of the certificate; those of this machine if none.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.certify(context, *names)
        return context

    def certify(self, context: ssl.SSLContext, *names: str, days: float | None = None) -> None:
        """Give a server a new certificate, which the next connection gets to see.

        Args:
            context: the server's TLS settings.
            names: as in `server_context`.
            days: for how long it is valid; many years if not given.
        """
        end = None if days is None else datetime.now(UTC) + timedelta(days=days)
        self._ca.issue_cert(*(names or SERVER_NAMES), not_after=end).configure_cert(context)

    def client_context(self) -> ssl.SSLContext:
        """Return the settings of a client that trusts this authority alone, strictly."""
        context = ssl.create_default_context(cafile=self.file)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context


class TLSProxy(ClosingServer):
    """Terminates TLS on a port of its own and passes the plain bytes on to another.

    The counters show what a client let happen: with TLS 1.3 and 1.2 alike, a handshake is only
    complete after the client has accepted the certificate.

    Attributes:
        handshakes: how many connections were accepted by both sides.
        refusals: why the others were not, one text each.
        bytes_passed: plain bytes from clients to the server.
    """

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        """Listen and serve at once.

        Args:
            port: TCP port of 127.0.0.1 to pass connections on to.
            context: the server side's TLS settings.
        """
        self.handshakes = 0
        self.refusals: list[str] = []
        self.bytes_passed = 0
        self._target = port
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._serving = self._loop.create_task(self._serve())
        self._thread = threading.Thread(target=self._run, name="TLS proxy", daemon=True)
        self._thread.start()

    def redis_url(self, database: int = 0) -> str:
        """Return the address of a Redis server behind the proxy."""
        return f"rediss://localhost:{self.port}/{database}"

    def close(self) -> None:
        """Close the port and all connections."""
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(asyncio.wait([self._serving]))
        finally:
            self._listener.close()
            self._loop.close()

    async def _serve(self) -> None:
        connections: set[asyncio.Task[None]] = set()
        try:
            while True:
                accepted, _ = await self._loop.sock_accept(self._listener)
                connection = self._loop.create_task(self._handle(accepted))
                connections.add(connection)
                connection.add_done_callback(connections.discard)
        finally:
            for connection in connections:
                connection.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    async def _handle(self, accepted: socket.socket) -> None:
        try:
            await self._pass_on(accepted)
        finally:
            # asyncio closes the socket in a later turn, which the loop must live to see.
            while accepted.fileno() != -1:
                await asyncio.sleep(0)

    async def _pass_on(self, accepted: socket.socket) -> None:
        # asyncio.start_server() would keep failed handshakes to itself.
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, accepted, ssl=self._context, ssl_handshake_timeout=10
            )
        except OSError as error:  # includes ssl.SSLError and a reset connection
            self.refusals.append(str(error) or type(error).__name__)
            return
        self.handshakes += 1
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        async with _cut_at_end(writer):
            try:
                upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target)
            except OSError:
                return
            async with _cut_at_end(downstream):
                await first_of(
                    _pump(reader, downstream, self._count), _pump(upstream, writer, None)
                )

    def _count(self, amount: int) -> None:
        self.bytes_passed += amount


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, count: Callable[[int], None] | None
) -> None:
    while data := await source.read(CHUNK):
        if count is not None:
            count(len(data))
        sink.write(data)
        await sink.drain()


async def first_of(*directions: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, then cancel the others."""
    tasks = [asyncio.ensure_future(direction) for direction in directions]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _cut_at_end(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
