"""A server that accepts connections and never answers."""

from __future__ import annotations

import socket
import threading

from tests.servers.own import ClosingServer


class Blackhole(ClosingServer):
    """Accepts TCP connections on 127.0.0.1, reads nothing and says nothing.

    Attributes:
        port: where it listens.
    """

    def __init__(self) -> None:
        """Listen at once."""
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="blackhole", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return len(self._connections)

    def close(self) -> None:
        """Close the port and all connections."""
        # Closing alone would not wake the thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=10)
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
