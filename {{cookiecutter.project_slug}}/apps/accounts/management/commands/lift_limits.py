"""Let somebody try again at once who has tried too often."""

from itertools import permutations
from typing import Any

from django.core.cache import cache
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts import backends, views
from apps.accounts.client_address import normalized


class Command(BaseCommand):
    """Forgets the failed logins, and the e-mails asked for, of accounts and of addresses."""

    help = "Let accounts and addresses log in and reset passwords again that have tried too often."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "whose",
            nargs="+",
            help="user name, e-mail address or IP address; a name with the IP address it comes "
            "from, if it has logged in from there",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Lift the limits that hold for any of the arguments, or for two of them together.

        Raises:
            CommandError: If nothing was counted for any of them.
        """
        names = [normalized(name) or name for name in options["whose"]]
        limits = (backends.ACCOUNT, backends.ADDRESS, views.ADDRESS)
        lifted = [limit.lift(cache, name) for limit in limits for name in names]
        lifted += [views.RECIPIENT.lift(cache, name.lower()) for name in names]
        lifted += [backends.ACCOUNT.lift(cache, *pair) for pair in permutations(names, 2)]
        if not any(lifted):
            raise CommandError(
                f"Nothing is counted for {', '.join(names)} now. Write a user name as the admin "
                "shows it, capitals included."
            )
        self.stdout.write(f"{sum(lifted)} lifted")
