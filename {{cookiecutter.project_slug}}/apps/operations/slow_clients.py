"""gunicorn's hooks that take a thread back from a client that sends its body too slowly.

gunicorn reads a body in the thread that answers, without a limit in time. Each thread that waits
for a byte is one less for everybody else.
"""

import socket
import time
from typing import Any

# In seconds: how long a client may take before anything of the body has come.
PATIENCE = 10.0
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
        if left <= 0:
            raise TimeoutError("the body came too slowly")
        self.client.settimeout(left)
        try:
            data = self.client.recv(size)
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
