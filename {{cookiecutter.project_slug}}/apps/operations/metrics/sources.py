"""What is looked at when Prometheus asks: database, broker, workers and certificates."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from celery import current_app
from django.conf import settings
from django.db import connection
from django.db.models import Min
from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from apps.operations.metrics.certificates import Certificates, names
from apps.operations.metrics.tasks import BUCKETS, OUTCOMES, REASONS, counts
from apps.operations.middleware import Probe
from apps.operations.models import Heartbeat, ScheduledRun
from apps.operations.overdue import overdue_entries
from apps.operations.queues import waiting_tasks
from apps.operations.workers import running_workers

# In seconds: how much longer a scrape waits than a probe; Prometheus itself gives up after 10.
EXTRA_TIME = 2.0


class Source(Probe):
    """Something that is asked for metrics, and not waited for while it hangs."""

    def __init__(self, name: str, collect: Callable[[], Iterable[Metric]]) -> None:
        super().__init__(name, self._keep)
        self._collect = collect
        self._metrics: list[Metric] = []

    def ask(self) -> tuple[Future[None], float]:
        """Ask, unless an earlier question is still unanswered; see :class:`Probe`."""
        answer, deadline = super().ask()
        return answer, deadline + EXTRA_TIME

    def metrics(self) -> list[Metric]:
        """Return what the last answer brought."""
        return self._metrics

    def _keep(self) -> None:
        self._metrics = list(self._collect())


def gauge(name: str, description: str, value: float) -> Metric:
    """Return a gauge without labels.

    Args:
        name: Its name.
        description: What it is, in one sentence.
        value: Its value, in the base unit of its name.
    """
    return GaugeMetricFamily(name, description, value=value)


def database_metrics() -> Iterable[Metric]:
    """Return what the database knows of the schedule.

    Raises:
        django.db.Error: If it does not answer.
    """
    try:
        heartbeat = Heartbeat.objects.filter(name="{{ cookiecutter.__sender }}").first()
        # A new deployment gets the same time.
        seen_at = (
            heartbeat.seen_at
            if heartbeat
            else ScheduledRun.objects.aggregate(first=Min("expected_since"))["first"]
        )
        overdue = len(overdue_entries())
    finally:
        # A scrape needs it for a moment only.
        connection.close()
    if seen_at:
        yield gauge(
            "celery_schedule_heartbeat_timestamp_seconds",
            "When a worker last ran the heartbeat that {{ cookiecutter.__sender }} sends.",
            seen_at.timestamp(),
        )
    yield gauge("celery_schedule_overdue_entries", "Periodic tasks that should have run.", overdue)


def broker_metrics() -> Iterable[Metric]:
    """Return what waits in the broker, what it is filled with, and how tasks have ended.

    Raises:
        kombu.exceptions.OperationalError: If it can't be reached.
        redis.RedisError: If it refuses.
    """
    queues = GaugeMetricFamily("celery_queue_length", "Tasks that wait.", labels=("queue",))
    for name, length in waiting_tasks().items():
        queues.add_metric((name,), length)
    yield queues
    if current_app.conf.task_always_eager:
        return  # no server, no worker
    memory = counts.server().info("memory")
    yield gauge("broker_memory_used_bytes", "Memory that is used.", memory["used_memory"])
    if memory.get("maxmemory"):
        yield gauge("broker_memory_max_bytes", "Memory that may be used.", memory["maxmemory"])
    yield from task_metrics(counts.read())


def task_metrics(numbers: dict[str, float]) -> Iterable[Metric]:
    """Return how tasks have ended.

    Args:
        numbers: What workers have counted.
    """
    # So that all tasks are known, and the first failure of one is a rise from zero.
    current_app.loader.import_default_modules()
    tasks = {name for name in current_app.tasks if not name.startswith("celery.")}
    by_task: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for count, number in numbers.items():
        kind, _, task = count.partition(" ")
        by_task[task][kind] = number
    discarded = CounterMetricFamily(
        "celery_messages_discarded", "Messages that no worker runs.", labels=("reason",)
    )
    for reason in REASONS:
        discarded.add_metric((reason,), by_task[""].get(reason, 0))
    runs = CounterMetricFamily(
        "celery_tasks", "Runs of tasks by how they ended.", labels=("task", "outcome")
    )
    durations = HistogramMetricFamily(
        "celery_task_duration_seconds", "How long runs of tasks took.", labels=("task",)
    )
    for task in sorted((tasks | by_task.keys()) - {""}):
        found = by_task[task]
        for outcome in OUTCOMES.values():
            runs.add_metric((task, outcome), found.get(outcome, 0))
        if "seconds" not in found:
            continue  # it has not run yet
        total = 0.0
        buckets = []
        for bucket in BUCKETS:
            total += found.get(bucket, 0)
            buckets.append((bucket, total))
        durations.add_metric((task,), buckets, found["seconds"])
    return discarded, runs, durations


def worker_metrics() -> Iterable[Metric]:
    """Return how many workers answer, which takes a second.

    Raises:
        kombu.exceptions.OperationalError: If the broker can't be reached.
        redis.RedisError: If it refuses.
    """
    yield gauge("celery_workers", "Workers that answer.", len(running_workers()))


def certificate_metrics(certificates: Certificates) -> Iterable[Metric]:
    """Return until when certificates are valid.

    Args:
        certificates: Those of the site.
    """
    verified = GaugeMetricFamily(
        "site_certificate_verified",
        "Whether a visitor can verify the certificate of a host.",
        labels=("host",),
    )
    expiry = GaugeMetricFamily(
        "site_certificate_expiry_timestamp_seconds",
        "Until when the certificate of a host is valid.",
        labels=("host",),
    )
    for certificate in certificates.current():
        verified.add_metric((certificate.host,), certificate.expires_at is not None)
        if certificate.expires_at is not None:
            expiry.add_metric((certificate.host,), certificate.expires_at)
    return verified, expiry


def sources() -> list[Source]:
    """Return all sources of this process."""
    certificates = Certificates(names(settings.ALLOWED_HOSTS))
    return [
        Source("database", database_metrics),
        Source("broker", broker_metrics),
        Source("workers", worker_metrics),
        Source("certificates", lambda: certificate_metrics(certificates)),
    ]
