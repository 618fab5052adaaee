"""``manage.py doctor``: run every check and name each problem."""

import json
import sys
import time
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.operations.checks import Result, run_checks


class Command(BaseCommand):
    """Prints one line per problem and exits with 1 if there is any."""

    help = "Check configuration, services, migrations, a task's round trip, {{ cookiecutter.__sender }} and the schedule."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--wait",
            type=float,
            default=0,
            metavar="SECONDS",
            help="check again until all is well or this time has passed (default: check once)",
        )
        parser.add_argument("--json", action="store_true", help="print the results as JSON")

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
            results_as_dicts = [asdict(result) for result in results]
            self.stdout.write(json.dumps({"healthy": healthy, "results": results_as_dicts}))
        else:
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
