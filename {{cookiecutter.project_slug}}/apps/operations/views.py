"""The page that shows the staff how the service does. It works while parts of it do not."""

import logging
import time
from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apps.operations import status_pass
from apps.operations.background import answer, begin
from apps.operations.pings import ping_database
from apps.operations.retry import NotRetriedError, send_again
from apps.operations.status import LatestHealth, read_records
from apps.operations.tasks import RETENTION

logger = logging.getLogger(__name__)

# In seconds: how long the database may take to say who somebody is.
LOOKUP_TIME = 0.7
# In seconds: how long it may take to tell of schedule and failures.
READING_TIME = 1.6
# In seconds.
REFRESH = 30

_health = LatestHealth()


@dataclass(frozen=True)
class Visitor:
    """Who asks.

    Attributes:
        is_staff: Whether the page is for them.
        may_see_failures: Whether they may see the tasks that failed, as they may in the admin.
        may_retry: Whether they may send failed tasks again.
    """

    is_staff: bool
    may_see_failures: bool
    may_retry: bool

    @classmethod
    def of(cls, request: HttpRequest) -> "Visitor":
        """Look somebody up; the request knows them from then on.

        Raises:
            django.db.Error: If the database does not answer, though a stranger is known without it.
        """
        ping_database()
        user = request.user
        may_change = user.has_perm("operations.change_failedtask")
        may_view = user.has_perm("operations.view_failedtask")
        return cls(user.is_staff, may_view or may_change, may_change)


def _look_up(request: HttpRequest) -> Visitor | None:
    """Return who asks, or nothing if the database does not tell.

    It is asked in another thread: this one's connection may hang for ever.
    """
    deadline = time.monotonic() + LOOKUP_TIME
    return answer(begin(lambda: Visitor.of(request)), deadline, "who asks for the status")


@never_cache
@require_safe
def status(request: HttpRequest) -> HttpResponse:
    """Show how the service does.

    While the database does not answer, those who have a pass see its health alone.
    """
    visitor = _look_up(request)
    if visitor is None and not status_pass.fits(request):
        return _unavailable()
    if visitor is not None and not visitor.is_staff:
        response: HttpResponse = redirect_to_login(request.get_full_path())
        response.delete_cookie(status_pass.NAME, path=reverse("status"))
        return response
    deadline = time.monotonic() + READING_TIME
    records = begin(read_records) if visitor else None
    refreshes = request.GET.get("refresh") != "off"
    context = {
        "visitor": visitor,
        "health": _health.get(),
        "records": records and answer(records, deadline, "schedule and failures"),
        "refresh": REFRESH if refreshes else None,
        "days": RETENTION.days,
    }
    response = render(request, "status.html", context)
    if refreshes:
        response["Refresh"] = str(REFRESH)
    if visitor:
        status_pass.give(request, response, reverse("status"))
    return response


@never_cache
@require_POST
def retry(request: HttpRequest, failure_id: int) -> HttpResponse:
    """Send a failed task again and say on the page whether that went well."""
    visitor = _look_up(request)
    if visitor is None:
        return _unavailable()
    page = reverse("status")
    if not visitor.is_staff:
        return redirect_to_login(page)
    if not visitor.may_retry:
        raise PermissionDenied
    try:
        task = send_again(failure_id)
    except NotRetriedError as refusal:
        messages.error(request, str(refusal))
    else:
        logger.info("failure %s was retried by user %s", failure_id, request.user.pk)
        messages.success(request, f"{task} was sent again.")
    return redirect(f"{page}?refresh=off" if "refresh" in request.POST else page)


def _unavailable() -> HttpResponse:
    return HttpResponse(
        "The database does not answer, so nobody can be let in.\n",
        status=503,
        content_type="text/plain",
    )
