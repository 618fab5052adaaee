"""gunicorn's hooks that take a thread back from a client that sends its body too slowly.

gunicorn reads a body in the thread that answers, without a limit in time. Each thread that waits
for a byte is one less for everybody else.
"""

import socket
import time
from typing import Any

# In seconds: how long a client may take before anything of the body has come.
PATIENCE = 10.0
# In seconds: a time-out of 0 would mean something else.
SHORTEST_WAIT = 0.001
# In bytes per second: what a client must send on average, besides.
LEAST_PACE = 16 * 1024


class PacedSocket:
    """A client's socket, from which a body can be read as long as it comes fast enough.

    Args:
        client: The socket itself.
    """

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self._deadline = time.monotonic() + PATIENCE

    def recv(self, size: int) -> bytes:
        """Return what has come, as soon as anything has.

        Args:
            size: How many bytes at most.

        Raises:
            TimeoutError: If the client is too slow.
        """
        left = self._deadline - time.monotonic()
        self.client.settimeout(max(left, SHORTEST_WAIT))
        try:
            data = self.client.recv(size)
        except TimeoutError:
            # Or gunicorn would wait for the rest once more, so that the answer gets through.
            self.client.shutdown(socket.SHUT_RDWR)
            raise
        finally:
            # The answer is sent on the same socket.
            self.client.settimeout(None)
        self._deadline += len(data) / LEAST_PACE
        return data


def pre_request(worker: Any, request: Any) -> None:
    """Begin to count the time, once the headers are there."""
    request.unreader.sock = PacedSocket(request.unreader.sock)


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    """Give gunicorn its socket back, for the next request of the same client."""
    request.unreader.sock = request.unreader.sock.client
