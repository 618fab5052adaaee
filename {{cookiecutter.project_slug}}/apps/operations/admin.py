"""Signs of life in the admin, to look at."""

from django.contrib import admin
from django.http import HttpRequest

from apps.operations.models import Heartbeat


@admin.register(Heartbeat)
class HeartbeatAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Written by tasks only."""

    list_display = ("name", "seen_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds one by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Heartbeat | None = None) -> bool:
        """Nobody changes one by hand."""
        return False
