"""TLS in front of a PostgreSQL server that has none."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.servers.postgres import PostgresServer


@contextmanager
def tls_postgres(postgres: PostgresServer, context: ssl.SSLContext) -> Iterator[int]:
    """Yield a port of 127.0.0.1 on which a PostgreSQL server can be reached by TLS.

    Args:
        postgres: the server behind it.
        context: the server side's TLS settings.
    """
    address = urlsplit(postgres.admin_url)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def serve(client: socket.socket) -> None:
        # A client begins with SSLRequest, eight bytes, and waits for the answer S.
        with client, suppress(OSError):
            assert len(client.recv(8, socket.MSG_WAITALL)) == 8
            client.sendall(b"S")
            with (
                context.wrap_socket(client, server_side=True) as encrypted,
                socket.create_connection((address.hostname, address.port)) as server,
            ):
                thread = threading.Thread(target=pump, args=(server, encrypted), daemon=True)
                thread.start()
                pump(encrypted, server)
                thread.join(timeout=10)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
