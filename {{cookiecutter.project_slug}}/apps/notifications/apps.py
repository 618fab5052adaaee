"""The notifications application."""

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """Sends e-mails and webhooks from Celery tasks."""

    name = "apps.notifications"
