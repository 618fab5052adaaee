"""How many requests there are, how they are answered, and how long that takes."""

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from apps.operations.metrics.processes import FOLDER

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# In seconds, up to a minute; the alert about a slow site looks at the one of a second.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

REGISTRY = CollectorRegistry()
REQUESTS = Counter(
    "http_requests",
    "Requests that were answered, by the name of the view and the class of the status.",
    ("method", "view", "status"),
    registry=REGISTRY,
)
DURATION = Histogram(
    "http_request_duration_seconds",
    "How long it took to answer.",
    ("method", "view"),
    buckets=BUCKETS,
    registry=REGISTRY,
)
IN_PROGRESS = Gauge(
    "http_requests_in_progress",
    "Requests that are not answered yet.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)


def request_metrics() -> Iterable[Metric]:
    """Return what all processes of this site have counted.

    Without gunicorn, in development and tests, there is but one process.
    """
    if FOLDER not in os.environ:
        return REGISTRY.collect()
    collector: Any = MultiProcessCollector(None)  # type: ignore[no-untyped-call]
    metrics: Iterable[Metric] = collector.collect()
    return metrics


class RequestMetricsMiddleware:
    """Counts requests.

    A view goes by the name in the URLconf: paths are without number, and may hold private values.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass a request on and count it."""
        started = time.perf_counter()
        with IN_PROGRESS.track_inprogress():
            response = self._get_response(request)
        method = request.method if request.method in METHODS else "other"
        # What no view has answered: a path that there is not, or a static file.
        view = request.resolver_match.view_name if request.resolver_match else "none"
        DURATION.labels(method, view).observe(time.perf_counter() - started)
        REQUESTS.labels(method, view, f"{response.status_code // 100}xx").inc()
        return response
