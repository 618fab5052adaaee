"""A TCP proxy that treats connections as a bad network does."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress

from tests.servers.own import ClosingServer
from tests.servers.tls import first_of

CHUNK = 65_536  # bytes
# Closing sends a reset instead of the rest and an end.
RESET = struct.pack("ii", 1, 0)


class Passage:
    """One connection to the proxy and the one behind it."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        """Name both ends.

        Args:
            near: to the client.
            far: to the server.
        """
        self.ends = (near, far)
        self.forgotten = False

    def reset(self) -> None:
        """End both connections at once, as a broken router or a firewall does."""
        for end in self.ends:
            reset(end)


def reset(end: asyncio.StreamWriter) -> None:
    """End a connection at once, without what is still to be sent."""
    peer: socket.socket = end.get_extra_info("socket")
    with suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    end.transport.abort()


class TCPProxy(ClosingServer):
    """Passes connections to a port of 127.0.0.1 on to another, as well or badly as it is told.

    Attributes:
        port: where it listens.
        target: port of 127.0.0.1 to which new connections go.
        delay: seconds that every piece takes in each direction.
        refusing: whether new connections are reset.
    """

    def __init__(self, target: int) -> None:
        """Listen and serve at once.

        Args:
            target: port of 127.0.0.1 to pass connections on to.
        """
        self.target = target
        self.delay = 0.0
        self.refusing = False
        self._passages: set[Passage] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="TCP proxy", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many connections pass now."""
        return len(self._passages)

    def reset(self) -> None:
        """End all connections at once; both sides are told."""
        self._loop.call_soon_threadsafe(self._reset)

    def forget(self) -> None:
        """Pass nothing more on the connections there are; nobody is told.

        So does a firewall that was restarted, or a machine that is gone.
        """
        for passage in tuple(self._passages):
            passage.forgotten = True

    def close(self) -> None:
        """Close the port and all connections."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=10)

    def _reset(self) -> None:
        for passage in tuple(self._passages):
            passage.reset()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        handling: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._pass_on(reader, writer))
            handling.add(task)
            task.add_done_callback(handling.discard)

        server = await asyncio.start_server(accept, sock=self._listener)
        await self._stopping.wait()
        server.close()
        self._reset()
        for task in handling:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            reset(writer)
            return
        try:
            upstream, downstream = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        passage = Passage(writer, downstream)
        self._passages.add(passage)
        try:
            await first_of(
                self._pump(passage, reader, downstream), self._pump(passage, upstream, writer)
            )
        finally:
            self._passages.discard(passage)
            for end in passage.ends:
                end.close()

    async def _pump(
        self, passage: Passage, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        while data := await source.read(CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            if not passage.forgotten:
                sink.write(data)
                await sink.drain()
