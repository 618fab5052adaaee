"""The notifications application."""

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """Sends e-mails and webhooks from Celery tasks."""

    name = "apps.notifications"
{%- if cookiecutter.email_provider != "smtp" %}

    def ready(self) -> None:
        """Listen to the provider's reports."""
        from apps.notifications import suppression  # noqa: F401, PLC0415 (it registers its handler)
{%- endif %}
