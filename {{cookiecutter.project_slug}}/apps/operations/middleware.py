"""The probes of platforms, requests for headers alone, too long ones, and the policy of pages."""

import json
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from csp.constants import HEADER as CSP_HEADER
from csp.middleware import CheckableLazyObject, CSPMiddleware
from csp.utils import build_policy
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

from apps.operations.pings import ping_cache, ping_database
from apps.operations.request_ids import HEADER, META_HEADER, begin_request

logger = logging.getLogger(__name__)

PROBES = ("/health/", "/ready/")
# In seconds. Platforms wait 1 to 5 seconds for an answer.
TIMEOUT = 2.0


def health() -> dict[str, str]:
    """Return what ``/health/`` says: that this process answers."""
    return {"status": "healthy", "service": settings.SERVICE_NAME, "version": settings.VERSION}


class Probe:
    """Answers whether a service is there, within ``TIMEOUT``, even while the service hangs.

    A probe has a thread of its own, and with it a database connection of its own. While a call
    hangs there, further probes fail instead of piling up behind it.
    """

    def __init__(self, name: str, ping: Callable[[], None]) -> None:
        self.name = name
        self._ping = ping
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"probe-{name}")
        self._asked: tuple[Future[None], float] | None = None

    def ask(self) -> tuple[Future[None], float]:
        """Ask the service, unless an earlier question is still unanswered.

        Returns:
            What will be the answer (nothing, or the client's error), and until when it counts.
        """
        if self._asked is None or self._asked[0].done():
            self._asked = self._executor.submit(self._ping), time.monotonic() + TIMEOUT
        return self._asked

    def answers(self, answer: Future[None], deadline: float) -> bool:
        """Wait for an answer.

        Args:
            answer: What :meth:`ask` returned.
            deadline: Until when, on the monotonic clock.

        Returns:
            Whether the service answered in time and without an error.
        """
        try:
            answer.result(max(0.0, deadline - time.monotonic()))
        except Exception as error:
            reason = str(error) or "no answer in time"
            logger.warning("%s is not ready: %s", self.name, reason)
            return False
        return True


class HeadMiddleware:
    """Answers ``HEAD`` without a body; Django leaves that to gunicorn, which warns each time."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Take the body away; its length stays in the headers."""
        response = self._get_response(request)
        if request.method == "HEAD" and not response.streaming:
            response.content = b""
        return response


class BodySizeMiddleware:
    """Refuses what is too long to be read, before anything of it is read or written to a disk.

    Django has limits for forms and for how many files there are, but none for the size of files.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass a request on, unless its body is too long or does not tell how long it is."""
        try:
            length = int(request.META.get("CONTENT_LENGTH") or 0)
        except ValueError:
            # As Django takes it, which reads nothing then.
            length = 0
        if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
            # Django would take the body for empty.
            status, text = HTTPStatus.LENGTH_REQUIRED, "The request must tell its Content-Length."
        elif length > settings.MAX_BODY_SIZE:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            text = f"The request is longer than {settings.MAX_BODY_SIZE} bytes."
        else:
            return self._get_response(request)
        response = HttpResponse(f"{text}\n", status=status, content_type="text/plain")
        response["Content-Length"] = str(len(response.content))
        return response


class HealthApplication:
    """A WSGI application that answers ``/health/`` itself and leaves everything else to Django.

    What Django does around a request would be most of the work of this one.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._body = json.dumps(health()).encode()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a probe, or pass the request on."""
        if environ["PATH_INFO"] != "/health/":
            return self._application(environ, start_response)
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(self._body))),
            ("Cache-Control", "no-store"),
            (HEADER, begin_request(environ.get(META_HEADER, ""))),
        ]
        start_response("200 OK", headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else self._body]


class HealthMiddleware:
    """Answers ``/health/`` and ``/ready/`` before any other part of Django sees the request.

    Platforms ask with an address as Host header and without TLS, which the parts behind this one
    rightly refuse. Under gunicorn, :class:`HealthApplication` is asked for ``/health/`` before.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._database = Probe("database", ping_database)
        self._cache = Probe("cache", ping_cache)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a probe, or pass the request on."""
        if request.path == "/health/":
            response = JsonResponse(health())
        elif request.path == "/ready/":
            response = self._ready()
        else:
            return self._get_response(request)
        response["Cache-Control"] = "no-store"
        response["Content-Length"] = str(len(response.content))
        return response

    def _ready(self) -> JsonResponse:
        asked = [(probe, probe.ask()) for probe in (self._database, self._cache)]
        checks = {probe.name: probe.answers(*question) for probe, question in asked}
        # Without its cache the site is slow or limited; without its database it is not there.
        ready = checks["database"]
        return JsonResponse(
            {"status": "ready" if ready else "unready", "checks": checks},
            status=200 if ready else 503,
        )


class PolicyMiddleware(CSPMiddleware):
    """django-csp's, which builds a policy only for a page that wants its own.

    The other pages have the one of the settings, which was built once.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        super().__init__(get_response)
        # With more in the settings than directives, each page may differ.
        alone = set(settings.CONTENT_SECURITY_POLICY) == {"DIRECTIVES"}
        reports = getattr(settings, "CONTENT_SECURITY_POLICY_REPORT_ONLY", None)
        self._usual = build_policy() if alone and not reports else ""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Add the header."""
        # The decorators of django-csp mark a response, and a nonce that was used the request.
        own = hasattr(request, "_csp_nonce") or any(
            name.startswith("_csp") for name in vars(response)
        )
        if own or not self._usual:
            return super().process_response(request, response)
        response.headers.setdefault(CSP_HEADER, self._usual)
        # A nonce that is asked for now would come too late.
        setattr(request, "csp_nonce", CheckableLazyObject(self._csp_nonce_post_response))  # noqa: B010
        return response
