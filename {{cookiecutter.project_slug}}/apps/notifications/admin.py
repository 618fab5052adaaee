"""Suppressed addresses in the admin, to find and to lift."""

from django.contrib import admin
from django.http import HttpRequest

from apps.notifications.models import SuppressedAddress


@admin.register(SuppressedAddress)
class SuppressedAddressAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Written by {{ cookiecutter.__email_name }}'s reports only; deleting one lets it get e-mail again."""

    list_display = ("address", "reason", "created_at")
    list_filter = ("reason",)
    search_fields = ("address",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds one by hand."""
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: SuppressedAddress | None = None
    ) -> bool:
        """Nobody changes one by hand."""
        return False
