"""Tasks that keep the service in order. They run on the queue ``maintenance``."""

from celery import shared_task
from django.core.management import call_command
from django.utils import timezone

from apps.operations.models import Heartbeat


@shared_task
def record_heartbeat(name: str) -> None:
    """Write down that the way from the caller through broker and worker to the database works.

    Args:
        name: Who asks: ``beat`` for the schedule's own entry.
    """
    Heartbeat.objects.update_or_create(name=name, defaults={"seen_at": timezone.now()})


@shared_task
def clear_expired_sessions() -> None:
    """Delete sessions that are past their time; Django itself never does."""
    call_command("clearsessions")
