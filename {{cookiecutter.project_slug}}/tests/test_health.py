"""The probes of load balancers and platforms."""

import threading
import time
from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings

from apps.operations import middleware
from apps.operations.middleware import HeadMiddleware, HealthApplication, Probe
from apps.operations.request_ids import current_request_id


def fail() -> None:
    """Be a service that is not there."""
    raise ConnectionError("refused")


def answer_with(
    monkeypatch: pytest.MonkeyPatch, *, database: Callable[[], None], cache: Callable[[], None]
) -> Client:
    """Return a client of a site whose services behave as told."""
    monkeypatch.setattr(middleware, "ping_database", database)
    monkeypatch.setattr(middleware, "ping_cache", cache)
    return Client(headers={"host": "10.0.0.7"})


def test_health_answers_any_host_and_touches_nothing(client: Client) -> None:
    # Without the mark django_db a query would raise.
    response = client.get("/health/", headers={"host": "10.0.0.7"})
    assert response.status_code == 200
    assert response.json() == {
        "status": "healthy",
        "service": settings.SERVICE_NAME,
        "version": settings.VERSION,
    }


@pytest.mark.parametrize(("method", "body"), [("GET", b"text"), ("HEAD", b"")])
def test_a_request_for_headers_is_answered_without_a_body(method: str, body: bytes) -> None:
    middleware = HeadMiddleware(lambda _: HttpResponse(b"text", headers={"Content-Length": "4"}))
    response = middleware(RequestFactory().generic(method, "/"))
    assert response.content == body
    assert response["Content-Length"] == "4"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_web_process_answers_health_before_django(client: Client, method: str) -> None:
    answered: list[Any] = []

    def start_response(*given: Any) -> Any:
        answered.extend(given)

    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ |= {"PATH_INFO": "/health/", "REQUEST_METHOD": method, "HTTP_HOST": "10.0.0.7"}
    environ["HTTP_X_REQUEST_ID"] = "from-the-proxy.1"
    [body] = HealthApplication(lambda *_: [b"not asked"])(environ, start_response)
    response = client.generic(method, "/health/", headers={"x-request-id": "from-the-proxy.1"})
    assert (answered[0], body) == ("200 OK", response.content)
    assert dict(answered[1]) == dict(response.headers)
    assert current_request_id() == "from-the-proxy.1"


def test_the_web_process_leaves_the_rest_to_django() -> None:
    environ: dict[str, Any] = {"PATH_INFO": "/"}
    application = HealthApplication(lambda given, _: [str(given is environ).encode()])
    assert list(application(environ, lambda *_: lambda _: None)) == [b"True"]


@override_settings(SECURE_SSL_REDIRECT=True)
def test_probes_are_answered_over_plain_http(client: Client) -> None:
    assert client.get("/").status_code == 301
    assert client.get("/health/").status_code == 200


def test_any_other_path_refuses_a_foreign_host(client: Client) -> None:
    assert client.get("/", headers={"host": "10.0.0.7"}).status_code == 400


def test_ready_when_all_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    response = answer_with(monkeypatch, database=lambda: None, cache=lambda: None).get("/ready/")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "checks": {"database": True, "cache": True}}
    assert response["Cache-Control"] == "no-store"


def test_not_ready_without_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    response = answer_with(monkeypatch, database=fail, cache=lambda: None).get("/ready/")
    assert response.status_code == 503
    assert response.json() == {"status": "unready", "checks": {"database": False, "cache": True}}


def test_ready_without_the_cache_but_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    response = answer_with(monkeypatch, database=lambda: None, cache=fail).get("/ready/")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "checks": {"database": True, "cache": False}}


def test_a_service_that_hangs_is_not_waited_for_and_not_asked_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(middleware, "TIMEOUT", 0.05)
    resume = threading.Event()
    asked: list[float] = []

    def hang() -> None:
        asked.append(time.monotonic())
        resume.wait(10)

    probe = Probe("database", hang)
    assert not probe.answers(*probe.ask())
    assert not probe.answers(*probe.ask())
    assert len(asked) == 1
    resume.set()
    probe.ask()[0].result(10)
    assert probe.answers(*probe.ask())
