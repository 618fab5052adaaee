"""``manage.py worker``: run a process of ``PRODUCTION_PROCESSES``."""

from django_prodserver.management.commands import worker

from apps.operations.management.processes import QuietCommand


class Command(QuietCommand, worker.Command):
    """See ``manage.py worker --list``."""
