"""The operations app."""

import logging

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.utils.module_loading import import_string

logger = logging.getLogger(__name__)


class OperationsConfig(AppConfig):
    """Health, checks, release, heartbeat and alerts: what keeps the service running."""

    name = "apps.operations"

    def ready(self) -> None:
        """Make the Celery application known to this process, and say what is loosened."""
        # First of all: a task that is looked at before would make Celery an application of its own.
        import_string(settings.TASK_APPLICATION)
        from apps.operations.system_checks import check_entries  # noqa: PLC0415

        checks.register(check_entries)
        # They register handlers of signals.
        from apps.operations import failures, overdue, request_ids  # noqa: F401, PLC0415
{%- if cookiecutter.use_prometheus %}
        from apps.operations.metrics import logins, tasks  # noqa: F401, PLC0415
{%- endif %}

        if settings.SENTRY_DSN:
            # Only then, because its import costs every process half a second.
            from apps.operations.sentry import start  # noqa: PLC0415

            start()
        if settings.REDIS_TLS["ssl_cert_reqs"] == "none":
            logger.warning("REDIS_TLS_VERIFY is off: rediss:// servers are not verified")
