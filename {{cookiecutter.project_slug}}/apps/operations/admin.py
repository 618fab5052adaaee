"""Signs of life, failures and runs of the schedule in the admin, to look at."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from apps.operations.models import FailedTask, Heartbeat, ScheduledRun


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that only the service itself writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds one by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody changes one by hand."""
        return False


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    """Written by tasks."""

    list_display = ("name", "seen_at")


@admin.register(FailedTask)
class FailedTaskAdmin(ReadOnlyAdmin):
    """Written when a task fails for good."""

    date_hierarchy = "failed_at"
    list_display = ("failed_at", "task", "reason", "detail", "attempts")
    list_filter = ("task", "reason")
    ordering = ("-failed_at",)
    search_fields = ("task", "task_id", "detail")


@admin.register(ScheduledRun)
class ScheduledRunAdmin(ReadOnlyAdmin):
    """Written when an entry of the schedule runs."""

    list_display = ("name", "schedule", "expected_since", "started_at", "finished_at")
    ordering = ("name",)
