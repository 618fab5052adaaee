"""``manage.py enqueue``: what the hosting's cron runs to send a periodic task to its queue."""

import logging
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from structlog.contextvars import bind_contextvars

from apps.operations.alerts import send_alert
from apps.operations.overdue import alert_overdue
from apps.operations.request_ids import new_request_id

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    """Ends when the broker has the task; a worker runs it."""

    help = "Send an entry of the schedule to its queue, and look whether others are overdue."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the argument."""
        parser.add_argument(
            "name",
            choices=[entry.name for entry in settings.PERIODIC_TASKS],
            help="the name of an entry in {{ cookiecutter.project_slug }}/schedule.py",
        )

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        """Send the entry."""
        bind_contextvars(request_id=new_request_id())
        [entry] = [entry for entry in settings.PERIODIC_TASKS if entry.name == name]
        try:
            entry.enqueue()
        except Exception as error:
            send_alert(
                f"{name} could not be sent",
                f"The periodic task {name} could not be sent to the broker: its address, its\n"
                "password, or the server itself may be the cause. The log says more.\n",
            )
            raise CommandError(f"{name} could not be sent to the broker: {error}") from error
        logger.info("sent %s", name)
        try:
            # Workers look too, but can't tell that they themselves do not run.
            alert_overdue("cron")
        except Exception as error:
            logger.warning("can't look for overdue tasks: %s", type(error).__name__)
