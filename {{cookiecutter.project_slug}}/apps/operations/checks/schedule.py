"""Looks at the schedule and at {{ cookiecutter.__sender }}, which sends its tasks."""

from datetime import timedelta

from celery import current_app
from django.db.models import Min
from django.utils import timezone

from apps.operations.models import Heartbeat, ScheduledRun
from apps.operations.overdue import overdue_entries
{%- if cookiecutter.scheduler in ("database", "code") %}
from apps.operations.presence import doubled_beats
{%- endif %}

# The schedule's heartbeat comes {{ "every five minutes" if cookiecutter.scheduler == "platform" else "once a minute" }}.
OLDEST_HEARTBEAT = timedelta(minutes={{ 15 if cookiecutter.scheduler == "platform" else 3 }})


def check_{{ cookiecutter.__sender }}() -> list[str]:
    """Look {% if cookiecutter.scheduler in ("database", "code") %}for a second beat, and {% endif %}at the age of the last heartbeat that {{ cookiecutter.__sender }} sent{% if cookiecutter.scheduler not in ("database", "code") %} and a worker wrote down{% endif %}."""
    if current_app.conf.task_always_eager:
        return []  # no {{ cookiecutter.__sender }}, no worker
{%- if cookiecutter.scheduler in ("database", "code") %}
    if beats := doubled_beats():
        names = " and ".join(map(str, beats))
        return [f"{len(beats)} of them run ({names}) and each sends every task: stop all but one."]
{%- endif %}
    heartbeat = Heartbeat.objects.filter(name="{{ cookiecutter.__sender }}").first()
    if heartbeat:
        since, what = heartbeat.seen_at, "sent its last heartbeat"
    else:
        # A new deployment gets the same time.
        since = ScheduledRun.objects.aggregate(first=Min("expected_since"))["first"]
        what = "has sent no heartbeat since the release"
    if since is None:
        return ["the schedule is unknown: run python manage.py release."]
    age = timezone.now() - since
    if age <= OLDEST_HEARTBEAT:
        return []
    return [f"{what} {age.total_seconds():.0f} seconds ago: do {{ cookiecutter.__sender }} and a worker run?"]


def check_schedule() -> list[str]:
    """Compare when each entry of the schedule ran with when it should have."""
    if current_app.conf.task_always_eager:
        return []
    return [f"{entry}." for entry in overdue_entries()]
