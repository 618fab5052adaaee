"""The periodic tasks, in one list.
{% if cookiecutter.scheduler == "platform" %}
{%- set files = {"digitalocean": ".do/app.yaml", "dokku": "app.json", "azure": "infra/schedule.bicep"} %}
Each entry stands in ``{{ files[cookiecutter.hosting] }}`` as well, from which the hosting's cron starts it;
a test compares the two. A crontab is read in ``TIME_ZONE``.
{%- else %}
A crontab is due at times of the clock in ``TIME_ZONE``, an interval counts from the last run.
{%- endif %}
"""

from datetime import timedelta

from celery.schedules import crontab

from apps.operations.schedule import PeriodicTask

SCHEDULE = (
    PeriodicTask(
        name="heartbeat",
        task="apps.operations.tasks.record_heartbeat",
{%- if cookiecutter.scheduler == "platform" %}
        # Each run starts a container for a moment.
        schedule=crontab(minute="*/5"),
{%- else %}
        schedule=timedelta(minutes=1),
{%- endif %}
        args=("{{ cookiecutter.__sender }}",),
        expires=timedelta(minutes={{ 5 if cookiecutter.scheduler == "platform" else 1 }}),
    ),
    PeriodicTask(
        name="clear-expired-sessions",
        task="apps.operations.tasks.clear_expired_sessions",
        schedule=crontab(hour="3", minute="30"),
        expires=timedelta(hours=12),
    ),
    PeriodicTask(
        name="delete-old-failures",
        task="apps.operations.tasks.delete_old_failures",
        schedule=crontab(hour="3", minute="40"),
        expires=timedelta(hours=12),
    ),
    PeriodicTask(
        name="failure-digest",
        task="apps.operations.tasks.send_failure_digest",
        schedule=crontab(hour="6", minute="0"),
        expires=timedelta(hours=12),
    ),
)
