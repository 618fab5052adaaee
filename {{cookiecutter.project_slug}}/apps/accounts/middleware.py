"""The status of an answer that tells somebody to wait."""

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse


class RetryAfterMiddleware:
    """Gives the page that says to wait its status, 429, and the header ``Retry-After``."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass a request on and mark its answer."""
        response = self._get_response(request)
        wait = getattr(request, "retry_after", 0)
        if wait:
            response.status_code = HTTPStatus.TOO_MANY_REQUESTS
            response["Retry-After"] = str(wait)
        return response
