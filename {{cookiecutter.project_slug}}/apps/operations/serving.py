"""Gunicorn's worker with threads, which answers probes even while all threads are busy."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from apps.operations.middleware import PROBES

# How many requests may wait for a thread, in each process, before probes wait too. A thread that
# waits costs 30 KB.
READERS = 200


class ProbedWorker(ThreadWorker):  # type: ignore[misc]  # it has no types
    """Reads requests in threads of their own, and runs at most ``threads`` of them at a time.

    Gunicorn's own reads a request only when a thread is free to run it. While the database hangs,
    requests keep their threads, and a probe that waits behind them gets the container killed,
    which helps nobody.
    """

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """Return the threads that read; they are started as they are needed."""
        # Apart from them, because each that runs requests may hold a database connection.
        self._runners = ThreadPoolExecutor(self.cfg.threads, "request")
        return ThreadPoolExecutor(self.cfg.threads + READERS, "reader")

    def handle_request(self, req: Any, conn: Any) -> bool:
        """Answer a request, a probe at once and any other as soon as a thread is free.

        Args:
            req: The request, of which gunicorn has read the headers.
            conn: Its connection.

        Returns:
            Whether the connection may be used for another request.
        """
        if req.path in PROBES:
            return bool(super().handle_request(req, conn))
        return bool(self._runners.submit(super().handle_request, req, conn).result())
