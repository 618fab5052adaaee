"""The Content-Security-Policy of each answer."""

from collections.abc import Callable
from typing import Any

import pytest
from csp.constants import NONCE, SELF
from csp.decorators import csp_exempt, csp_update
from csp.exceptions import CSPNonceError
from csp.middleware import CSPMiddleware
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings

from apps.operations.middleware import PolicyMiddleware

View = Callable[[Any], HttpResponse]
WITH_NONCE = {"DIRECTIVES": {"script-src": [SELF, NONCE]}}


def plain(_: HttpRequest) -> HttpResponse:
    """Be a page that says nothing of a policy."""
    return HttpResponse()


def with_nonce(request: Any) -> HttpResponse:
    """Be a page with a script of its own."""
    return HttpResponse(str(request.csp_nonce))


def policies(middleware: type[CSPMiddleware], view: View) -> dict[str, list[str]]:
    """Return the directives of both headers, in order."""
    request: Any = RequestFactory().get("/private/")
    if view is with_nonce:
        # Else each time another one would be made.
        request._csp_nonce = "given"
    response: Any = middleware(view)(request)
    headers = response.headers
    return {name: sorted(headers[name].split("; ")) for name in headers if "Security" in name}


@pytest.mark.parametrize(
    "view",
    [
        plain,
        with_nonce,
        csp_exempt()(plain),
        csp_update({"img-src": ["https://example.org"]})(plain),
        lambda _: HttpResponse(headers={"Content-Security-Policy": "default-src *"}),
    ],
)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"CONTENT_SECURITY_POLICY": WITH_NONCE},
        {"CONTENT_SECURITY_POLICY": {**WITH_NONCE, "EXCLUDE_URL_PREFIXES": ["/private/"]}},
        {"CONTENT_SECURITY_POLICY_REPORT_ONLY": WITH_NONCE},
    ],
)
def test_a_page_has_the_policy_that_django_csp_gives_it(view: View, more: dict[str, Any]) -> None:
    with override_settings(**more):
        assert policies(PolicyMiddleware, view) == policies(CSPMiddleware, view)


def test_every_page_has_a_policy() -> None:
    [directives] = policies(PolicyMiddleware, plain).values()
    assert len(directives) == len(settings.CONTENT_SECURITY_POLICY["DIRECTIVES"])


def test_a_nonce_that_comes_too_late_is_an_error() -> None:
    request: Any = RequestFactory().get("/")
    PolicyMiddleware(plain)(request)
    with pytest.raises(CSPNonceError):
        str(request.csp_nonce)
