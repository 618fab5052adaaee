"""Signs of life, and what the last release knew of the schedule."""

from django.db import models


class Heartbeat(models.Model):
    """When something was last seen alive; written by a task, so the whole way to it works."""

    name = models.CharField(max_length=100, unique=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
{%- if cookiecutter.scheduler == "database" %}


class ScheduleEntry(models.Model):
    """What a release last wrote into the schedule, to tell an administrator's edit from its own."""

    name = models.CharField(max_length=200, unique=True)
    definition = models.JSONField()
    retired = models.BooleanField(default=False)

    class Meta:
        verbose_name_plural = "schedule entries"

    def __str__(self) -> str:
        return self.name
{%- endif %}
