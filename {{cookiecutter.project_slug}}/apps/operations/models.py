"""Signs of life, failures, alerts, and what is known of the schedule."""

from datetime import datetime

from django.db import models


class Heartbeat(models.Model):
    """When something was last seen alive; written by a task, so the whole way to it works."""

    name = models.CharField(max_length=100, unique=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class FailedTask(models.Model):
    """A task that failed for good, told without the values of its arguments."""

    task = models.CharField(max_length=255)
    task_id = models.CharField(max_length=255)
    # The class of the exception. Its text may hold private values and is not kept, unless it is
    # known not to: then it is the detail.
    reason = models.CharField(max_length=255)
    detail = models.TextField(blank=True)
    attempts = models.PositiveIntegerField(null=True)
    argument_names = models.JSONField(default=list)
    traceback = models.TextField(blank=True)
    failed_at = models.DateTimeField(db_index=True)
    # When an alert or a digest told of it.
    reported_at = models.DateTimeField(null=True)
    # Why its message is not kept for a retry, if it is not.
    not_kept = models.CharField(max_length=255, blank=True)
    # When it was sent again.
    retried_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (
            models.Index(fields=["task", "reason", "reported_at"], name="failed_task_group"),
        )

    def __str__(self) -> str:
        return f"{self.task}[{self.task_id}]"


class FailedMessage(models.Model):
    """What it takes to send a failed task again; private, so only the retry reads it."""

    failure = models.OneToOneField(FailedTask, on_delete=models.CASCADE, primary_key=True)
    # Text, because PostgreSQL's JSON takes no null characters and no infinity.
    content = models.TextField()

    def __str__(self) -> str:
        return f"message of failure {self.pk}"


class SentAlert(models.Model):
    """When an alert was sent last, for the time in which the cache can't tell."""

    key = models.CharField(max_length=64, unique=True)
    sent_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.key


class ScheduledRun(models.Model):
    """When an entry of the schedule ran last.

    It is expected to run since it was first seen, since its schedule changed, or since the whole
    schedule came back after a pause.
    """

    name = models.CharField(max_length=200, unique=True)
    schedule = models.TextField()
    expected_since = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name

    @property
    def waiting_since(self) -> datetime:
        """Since when the next run is waited for."""
        return max(self.expected_since, self.started_at or self.expected_since)
{%- if cookiecutter.scheduler in ("database", "code") %}


class RunningBeat(models.Model):
    """A beat that runs, by its host, its process, and a number to tell it from others."""

    name = models.CharField(max_length=200, unique=True)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        host, process, _ = self.name.rsplit(":", 2)
        return f"process {process} on {host}"
{%- endif %}
{%- if cookiecutter.scheduler == "database" %}


class ScheduleEntry(models.Model):
    """What a release last wrote into the schedule, to tell an administrator's edit from its own."""

    name = models.CharField(max_length=200, unique=True)
    definition = models.JSONField()
    retired = models.BooleanField(default=False)
    was_enabled = models.BooleanField(default=True)

    class Meta:
        verbose_name_plural = "schedule entries"

    def __str__(self) -> str:
        return self.name
{%- endif %}
