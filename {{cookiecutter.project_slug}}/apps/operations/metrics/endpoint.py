"""The address that Prometheus scrapes."""

from collections.abc import Callable, Iterable, Iterator

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import CONTENT_TYPE_LATEST, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from apps.operations.metrics.requests import request_metrics
from apps.operations.metrics.sources import Source, sources


class Scrape(Collector):
    """What one scrape gets."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Ask all sources at once; those that fail or hang are marked as such."""
        asked = [(source, source.ask()) for source in self._sources]
        version = {"service": settings.SERVICE_NAME, "version": settings.VERSION}
        info = GaugeMetricFamily("application_info", "What runs here.", labels=tuple(version))
        info.add_metric(tuple(version.values()), 1)
        yield info
        yield from request_metrics()
        up = GaugeMetricFamily(
            "application_source_up", "Whether a part of the metrics is there.", labels=("source",)
        )
        for source, question in asked:
            answered = source.answers(*question)
            up.add_metric((source.name,), answered)
            if answered:
                yield from source.metrics()
        yield up


class MetricsMiddleware:
    """Answers ``/metrics`` before any other part of Django sees the request.

    Who scrapes from inside the network does so with another Host header than visitors, and without
    TLS. The token is what is asked for instead, from outside too.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._sources = sources()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a scrape, or pass the request on."""
        if request.path != "/metrics":
            return self._get_response(request)
        given = request.headers.get("Authorization", "")
        if constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}"):
            text = generate_latest(Scrape(self._sources))
            response = HttpResponse(text, content_type=CONTENT_TYPE_LATEST)
        else:
            response = HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
        response["Cache-Control"] = "no-store"
        response["Content-Length"] = str(len(response.content))
        return response
