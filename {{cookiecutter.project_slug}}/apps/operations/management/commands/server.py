"""``manage.py server``: run a process of ``PRODUCTION_PROCESSES``."""

from django_prodserver.management.commands import server

from apps.operations.management.processes import QuietCommand


class Command(QuietCommand, server.Command):
    """See ``manage.py server --list``."""
