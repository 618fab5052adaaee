"""The forms to log in, which say when somebody has to wait."""

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError

SECONDS_PER_MINUTE = 60


def wait_message(seconds: int) -> str:
    """Return what somebody is told who has tried too often.

    Args:
        seconds: How long to wait.
    """
    minutes = -(-seconds // SECONDS_PER_MINUTE)
    return f"Too many attempts. Try again in {minutes} minute{'' if minutes == 1 else 's'}."


class LimitedForm(AuthenticationForm):
    """Says so where ``LimitedBackend`` has refused to try."""

    def get_invalid_login_error(self) -> ValidationError:
        """Return the error of a login that failed or was not tried."""
        wait = getattr(self.request, "retry_after", 0)
        return ValidationError(wait_message(wait)) if wait else super().get_invalid_login_error()


class AdminLimitedForm(LimitedForm, AdminAuthenticationForm):
    """The same for the admin, which lets the staff in alone."""
