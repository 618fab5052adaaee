"""Pages for who is not logged in."""

from datetime import timedelta

from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.views import PasswordResetView
from django.core.cache.backends.base import BaseCache
from django.http import HttpResponse

from apps.accounts.client_address import client_address
from apps.accounts.forms import wait_message
from apps.accounts.limits import Limit, counting

# Asking for e-mails, whether there is such an account or not.
RECIPIENT = Limit("reset-recipient", 5, timedelta(hours=1))
ADDRESS = Limit("reset-address", 20, timedelta(hours=1))


class LimitedPasswordResetView(PasswordResetView):
    """Sends the e-mail to reset a password, but nobody a flood of them."""

    def form_valid(self, form: PasswordResetForm) -> HttpResponse:
        """Send the e-mail, or say how long to wait.

        Args:
            form: The form, filled in rightly.
        """
        recipient = form.cleaned_data["email"].lower()
        address = client_address(self.request)

        def count(cache: BaseCache) -> int:
            return ADDRESS.count(cache, address) or RECIPIENT.count(cache, recipient)

        wait = counting(count)
        if wait:
            self.request.retry_after = wait  # type: ignore[attr-defined]
            form.add_error(None, wait_message(wait))
            return self.form_invalid(form)
        return super().form_valid(form)
