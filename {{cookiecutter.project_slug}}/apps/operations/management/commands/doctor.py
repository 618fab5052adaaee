"""``manage.py doctor``: run every check and name each problem."""

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from apps.operations.checks import Result, run_checks
from apps.operations.checks.configuration import settings_module

EPILOG = """\
exit codes:
  0  nothing is wrong
  1  there are problems, one line each; or the settings can't be loaded, which stderr tells
  2  the arguments are wrong

Once is enough to see what is wrong now, and takes 10 seconds at most. After a deployment use
--wait 60, because new processes need a moment. docs/doctor.md explains each line.
"""


class Command(BaseCommand):
    """Prints one line per problem and exits with 1 if there is any."""

    help = (
        "Look at everything that this project needs to work, from here: settings, database, "
        "cache, broker, workers, queues, {{ cookiecutter.__sender }}, schedule, disk and static files. Changes nothing."
    )
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        """Return the parser, with the exit codes below the options."""
        parser = super().create_parser(prog_name, subcommand, epilog=EPILOG, **options)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--wait",
            type=float,
            default=0,
            metavar="SECONDS",
            help="check again until all is well or this time has passed (default: check once)",
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help="print one JSON object: healthy, version, settings, and results with check, "
            "problems and skipped",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the checks."""
        deadline = time.monotonic() + options["wait"]
        while True:
            results = run_checks()
            healthy = not any(result.problems for result in results)
            if healthy or time.monotonic() >= deadline:
                break
            time.sleep(1)
        if options["json"]:
            report = {
                "healthy": healthy,
                "version": settings.VERSION,
                "settings": settings_module(),
                "results": [asdict(result) for result in results],
            }
            self.stdout.write(json.dumps(report))
        else:
            self.stdout.write(
                f"{settings.SERVICE_NAME} {settings.VERSION} with {settings_module()}"
            )
            for result in results:
                self._print(result)
        if not healthy:
            sys.exit(1)

    def _print(self, result: Result) -> None:
        if result.skipped:
            self.stdout.write(f"skipped  {result.check}: {result.skipped} must pass first")
        elif result.problems:
            for problem in result.problems:
                self.stdout.write(self.style.ERROR(f"PROBLEM  {result.check}: {problem}"))
        else:
            self.stdout.write(self.style.SUCCESS(f"ok       {result.check}"))
