"""``manage.py release``: what happens once per deployment, before the new processes start."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
{%- if cookiecutter.scheduler == "database" %}
from django.core.exceptions import ImproperlyConfigured
{%- endif %}
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connection

from apps.operations.overdue import expect_runs
from apps.operations.programs import wait_for_database
{%- if cookiecutter.scheduler == "database" %}
from apps.operations.schedule_sync import sync_schedule
{%- endif %}

# Any number will do, as long as nothing else in this database locks the same one.
LOCK_ID = 7_306_935_190_471


class Command(BaseCommand):
    """Safe to run twice at once: the second waits for the first and finds nothing to do."""

    help = "Check the configuration and bring the database up to date, once per deployment."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--wait",
            type=float,
            default=600,
            metavar="SECONDS",
            help="how long to wait for another release to end (default: 600)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Release."""
        call_command("check", deploy=not settings.DEBUG, fail_level="WARNING")
        try:
            wait_for_database()
        except Error as error:
            raise CommandError(f"The database does not answer: {error}") from error
        with self._lock(options["wait"]):
            call_command("migrate", interactive=False)
{%- if cookiecutter.scheduler == "database" %}
            try:
                lines = sync_schedule(settings.PERIODIC_TASKS)
            except ImproperlyConfigured as error:
                raise CommandError(str(error)) from error
            for line in lines:
                self.stdout.write(line)
{%- endif %}
            expect_runs()
        self.stdout.write(self.style.SUCCESS(f"Released {settings.VERSION}."))

    @contextmanager
    def _lock(self, patience: float) -> Iterator[None]:
        if connection.vendor != "postgresql":
            yield
            return
        deadline = time.monotonic() + patience
        self.stdout.write("Taking the lock; another release may have to end first.")
        with connection.cursor() as cursor:
            while True:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_ID])
                if cursor.fetchone() == (True,):
                    break
                if time.monotonic() >= deadline:
                    raise CommandError(
                        f"Another release held the lock for {patience:.0f} seconds; see whether "
                        "its migrations hang, and release again."
                    )
                time.sleep(1)
            try:
                yield
            finally:
                # A connection that was lost has lost the lock too; its error is not the first.
                with suppress(Error):
                    cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK_ID])
