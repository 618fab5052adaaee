"""What Sentry gets to know, if it is told anything."""

import subprocess
import sys
from typing import Any

import pytest
import sentry_sdk
{%- if cookiecutter.scheduler == "platform" %}
from celery import signals
{%- endif %}
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings
from structlog.contextvars import bind_contextvars

from apps.operations import sentry
from apps.operations.apps import OperationsConfig

from .conftest import PRODUCTION, LoadSettings

DSN = "https://key@sentry.internal/2"


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> dict[str, Any]:
    """What Sentry's client is told when the app starts."""
    told: dict[str, Any] = {}

    def init(**options: Any) -> None:
        told.update(options)

    monkeypatch.setattr(sentry_sdk, "init", init)
    settings.SENTRY_DSN = DSN
    settings.SECRET_VALUES = ["very-private"]
    OperationsConfig.create("apps.operations").ready()
{%- if cookiecutter.scheduler == "platform" %}
    signals.before_task_publish.disconnect(sentry.check_in)
{%- endif %}
    return told


def test_an_event_names_the_service_and_where_it_runs(options: dict[str, Any]) -> None:
    assert options["dsn"] == DSN
    assert options["release"] == f"{settings.SERVICE_NAME}@{settings.VERSION}"
    assert options["environment"] == "testing"


def test_an_event_holds_what_names_the_fault_and_no_value(options: dict[str, Any]) -> None:
    bind_contextvars(request_id="of-the-request")
    event = {
        "breadcrumbs": {"values": ["private"]},
        "exception": {"values": [{"type": "E", "value": "a very-private text of a@b.example"}]},
        "extra": {"argument": "private"},
        "logentry": {"message": "%s", "formatted": "a text", "params": ["private"]},
        "request": {"method": "POST", "url": "http://x/", "data": "private", "cookies": "private"},
        "user": {"email": "private"},
    }
    assert options["before_send"](event, {}) == {
        "exception": {"values": [{"type": "E", "value": "a (not shown) text of (not shown)"}]},
        "logentry": {"message": "%s", "formatted": "a text"},
        "request": {"method": "POST", "url": "http://x/"},
        "tags": {"request_id": "of-the-request"},
    }


def test_an_event_outside_of_a_request_has_no_id() -> None:
    assert sentry.leave_values_out({}) == {}


def test_nothing_is_printed_at_the_end_of_a_process(
    options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    [end] = [each for each in options["integrations"] if each.identifier == "atexit"]
    end.callback(1, 2)
    assert capsys.readouterr() == ("", "")


def test_durations_of_probes_are_not_sent(settings: Settings) -> None:
    settings.SENTRY_TRACES_SAMPLE_RATE = 0.5
    assert sentry.sample_rate({"wsgi_environ": {"PATH_INFO": "/health/"}}) == 0
    assert sentry.sample_rate({"wsgi_environ": {"PATH_INFO": "/"}}) == 0.5
    assert sentry.sample_rate({"celery_job": {}}) == 0.5


def test_without_a_dsn_sentry_is_not_even_imported() -> None:
    code = "import django, sys; django.setup(); sys.exit('sentry_sdk' in sys.modules)"
    environment = {"DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE}
    result = subprocess.run(  # noqa: S603 (this file's own code)
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, env=environment, check=False
    )
    assert result.returncode == 0


@pytest.mark.parametrize(
    "dsn",
    [
        "sentry.internal",
        "https://sentry.internal/2",
        "https://key@sentry.internal/",
        "https://key@sentry.internal:port/2",
        "ftp://key@sentry.internal/2",
    ],
)
def test_what_is_no_dsn_is_refused(load_settings: LoadSettings, dsn: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="SENTRY_DSN is no DSN; it looks like https://"):
        load_settings("production", **PRODUCTION, SENTRY_DSN=dsn)


def test_a_dsn_and_a_share_of_durations_are_read(load_settings: LoadSettings) -> None:
    production = load_settings(
        "production", **PRODUCTION, SENTRY_DSN=DSN, SENTRY_TRACES_SAMPLE_RATE="0.05"
    )
    assert production.SENTRY_DSN == DSN
    assert production.SENTRY_TRACES_SAMPLE_RATE == 0.05


def test_a_share_is_a_number_from_0_to_1(load_settings: LoadSettings) -> None:
    with pytest.raises(ImproperlyConfigured, match="it must be a number from 0 to 1"):
        load_settings("production", **PRODUCTION, SENTRY_TRACES_SAMPLE_RATE="5")
{%- if cookiecutter.scheduler == "platform" %}


def test_a_periodic_task_is_checked_in_when_it_is_sent() -> None:
    headers: dict[str, Any] = {"periodic_task_name": "heartbeat", "retries": 0, "headers": {}}
    sentry.check_in(headers=headers)
    assert headers["headers"]["sentry-monitor-slug"] == "heartbeat"
    assert headers["headers"]["sentry-monitor-config"]["schedule"]["type"] == "crontab"
    assert "sentry-monitor-check-in-id" in headers["headers"]


@pytest.mark.parametrize(
    "headers", [{"retries": 0}, {"periodic_task_name": "heartbeat", "retries": 1}]
)
def test_no_other_task_is_checked_in(headers: dict[str, Any]) -> None:
    before = dict(headers)
    sentry.check_in(headers=headers)
    assert headers == before
{%- endif %}
