"""Tasks that keep the service in order. They run on the queue ``maintenance``."""

from datetime import timedelta
from typing import Any, NoReturn

from celery import Task, shared_task
from django.core.management import call_command
from django.utils import timezone

from apps.notifications.errors import TemporaryDeliveryError
from apps.notifications.tasks import MAX_RETRIES, backoff, try_again
from apps.operations import reports, retry
from apps.operations.alerts import defer
{%- if cookiecutter.scheduler in ("database", "code") %}
from apps.operations.models import (
    FailedMessage,
    FailedTask,
    Heartbeat,
    RunningBeat,
    ScheduledRun,
    SentAlert,
)
{%- else %}
from apps.operations.models import FailedMessage, FailedTask, Heartbeat, ScheduledRun, SentAlert
{%- endif %}

# What is longer without a heartbeat is a pause of the whole schedule.
LONGEST_GAP = timedelta(minutes={{ 20 if cookiecutter.scheduler == "platform" else 5 }})
# How long failed tasks are kept.
RETENTION = timedelta(days=30)
# How the names begin of what doctor has sent.
ROUND_TRIP = "doctor-"
{%- if cookiecutter.scheduler in ("database", "code") %}
# How long a beat that was killed is kept.
BEAT_RETENTION = timedelta(days=1)
{%- endif %}
# In seconds. A mail server may not hold a worker for longer.
SENDING_TIME = 60


@shared_task
def record_heartbeat(name: str) -> None:
    """Write down that the way from the caller through broker and worker to the database works.

    Args:
        name: Who asks: ``{{ cookiecutter.__sender }}`` for the schedule's own entry.
    """
    now = timezone.now()
    heartbeat, _ = Heartbeat.objects.get_or_create(name=name, defaults={"seen_at": now})
    if now - heartbeat.seen_at > LONGEST_GAP:
        # Nobody needs to hear now of what did not run meanwhile.
        ScheduledRun.objects.update(expected_since=now)
    heartbeat.seen_at = now
    heartbeat.save()


@shared_task
def clear_expired_sessions() -> None:
    """Delete sessions that are past their time; Django itself never does."""
    call_command("clearsessions")


@shared_task
def delete_old_failures() -> None:
    """Delete what is known of failures{% if cookiecutter.scheduler in ("database", "code") %}, alerts and beats{% else %} and alerts{% endif %} that were long ago."""
    now = timezone.now()
    FailedMessage.objects.filter(failure__failed_at__lt=now - retry.RETENTION).delete()
    FailedTask.objects.filter(failed_at__lt=now - RETENTION).delete()
    SentAlert.objects.filter(sent_at__lt=now - RETENTION).delete()
    # Of round trips whose task came after doctor had given up.
    Heartbeat.objects.filter(name__startswith=ROUND_TRIP, seen_at__lt=now - RETENTION).delete()
{%- if cookiecutter.scheduler in ("database", "code") %}
    RunningBeat.objects.filter(seen_at__lt=now - BEAT_RETENTION).delete()
{%- endif %}


@shared_task
def record_discarded_message(reason: str, task_id: str, detail: str) -> None:
    """Record a message that a worker has discarded, and see to it that people hear.

    Args:
        reason: Why.
        task_id: The id in the message.
        detail: What else may be told of it.
    """
    from apps.operations.failures import record_discarded  # noqa: PLC0415 (it sends these tasks)

    record_discarded(reason, task_id, detail)


@shared_task(bind=True, max_retries=MAX_RETRIES, soft_time_limit=SENDING_TIME)
def send_failure_alert(self: Task[..., Any], task: str, reason: str) -> None:
    """Tell of all failures of one kind in one mail; tried again like an e-mail.

    Args:
        task: The task that failed.
        reason: The class of the exception.
    """
    if reports.tell_of_failures(task, reason):
        return
    if self.request.retries == MAX_RETRIES:
        # The next failure of this kind begins anew.
        defer(reports.failures_subject(task, reason))
    _try_again(self)


@shared_task(bind=True, max_retries=MAX_RETRIES, soft_time_limit=SENDING_TIME)
def send_failure_digest(self: Task[..., Any]) -> None:
    """Tell of what failed since the last digest, if anything did; tried again like an e-mail."""
    if not reports.send_digest():
        _try_again(self)


def _try_again(task: Task[..., Any]) -> NoReturn:
    error = TemporaryDeliveryError("The alert could not be sent; the log says why.")
    try_again(task, error, backoff(task.request.retries))
