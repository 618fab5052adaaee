"""django-prodserver's commands without the line that they print first, which is no JSON."""

import io
from typing import Any

from django.core.management.base import OutputWrapper
from django_prodserver.management.base import BaseProcessCommand


class QuietCommand(BaseProcessCommand):
    """Leaves it to the process to log that it starts."""

    def start_process(self, process_name: str, *args: Any, **options: Any) -> None:
        """Start a process and stay with it to its end.

        Args:
            process_name: A key of ``PRODUCTION_PROCESSES``.
        """
        self.stdout = OutputWrapper(io.StringIO())
        super().start_process(process_name, *args, **options)
