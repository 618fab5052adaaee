"""How Flower is configured, and what it keeps to itself."""

import logging
import os
import runpy
from collections.abc import Callable
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import django
import flower.urls
import flower.views
import pytest
from celery import current_app
from django.conf import settings
from flower.api.tasks import BaseTaskHandler
from flower.inspector import Inspector
from flower.options import options
from flower.views.monitor import Metrics
from pytest_django import Settings
from tornado.web import HTTPError

LOGIN = "ann:0123456789abcdef"

Configure = Callable[..., dict[str, Any]]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Run flower.conf.py with nothing but the variables given; what it changes is put back."""
    for owner, name in (
        (BaseTaskHandler, "update_response_result"),
        (Inspector, "inspect_methods"),
        (Metrics, "get"),
        (flower.views, "bugreport"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(flower.urls, "settings", dict(flower.urls.settings))
    monkeypatch.setattr(django, "setup", lambda: None)

    def configure(**variables: str) -> dict[str, Any]:
        monkeypatch.setattr(os, "environ", variables)
        return runpy.run_path(str(settings.BASE_DIR / "flower.conf.py"))

    return configure


@pytest.fixture
def login(settings: Settings) -> None:
    """Flower has a login."""
    settings.FLOWER_BASIC_AUTH = LOGIN


def test_flower_does_not_start_without_a_login(configure: Configure, settings: Settings) -> None:
    settings.FLOWER_BASIC_AUTH = ""
    with pytest.raises(SystemExit, match="set FLOWER_BASIC_AUTH"):
        configure()


@pytest.mark.usefixtures("login")
def test_the_login_may_look_only(configure: Configure) -> None:
    config = configure()
    assert config["basic_auth"] == [LOGIN]
    assert config["read_only"] is True


@pytest.mark.usefixtures("login")
def test_more_is_allowed_by_a_variable_and_logged(
    configure: Configure, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.FLOWER_CONTROL = True
    assert configure()["read_only"] is False
    assert "FLOWER_CONTROL is on" in caplog.text


@pytest.mark.usefixtures("login")
def test_flower_listens_where_the_platform_expects_it(configure: Configure) -> None:
    assert configure()["port"] == 5555
    assert configure(PORT="8080")["port"] == 8080
    with pytest.raises(SystemExit, match="PORT is 'http'"):
        configure(PORT="http")


@pytest.mark.usefixtures("login")
def test_flower_knows_every_option(configure: Configure) -> None:
    known = (
        "address",
        "basic_auth",
        "max_tasks",
        "max_workers",
        "port",
        "read_only",
        "url_prefix",
    )
    config = configure()
    assert {name for name in config if name in options} == set(known)


def test_the_image_holds_the_configuration() -> None:
    lines = (settings.BASE_DIR / ".dockerignore").read_text("utf-8").splitlines()
    assert "!flower.conf.py" in lines


@pytest.mark.usefixtures("login")
def test_metrics_are_not_for_everybody(configure: Configure) -> None:
    configure()
    stranger = SimpleNamespace(
        current_user=None, get_login_url=lambda: "", request=SimpleNamespace(method="POST")
    )
    with pytest.raises(HTTPError) as caught:
        Metrics.get(stranger)
    assert caught.value.status_code == HTTPStatus.FORBIDDEN


@pytest.mark.usefixtures("login")
def test_neither_results_nor_the_settings_of_workers_are_shown(configure: Configure) -> None:
    configure()
    response = {"state": "SUCCESS"}
    BaseTaskHandler.update_response_result(None, response, SimpleNamespace(result="private"))
    assert response == {"state": "SUCCESS"}
    assert "stats" in Inspector.inspect_methods
    assert "conf" not in Inspector.inspect_methods


@pytest.mark.usefixtures("login")
def test_an_error_does_not_exchange_the_application(configure: Configure) -> None:
    configure()
    before = current_app.main
    flower.views.bugreport()
    assert current_app.main == before


@pytest.mark.usefixtures("login")
def test_refused_requests_are_logged_without_their_query(
    configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    configure()
    log = flower.urls.settings["log_function"]
    for status in (200, 401):
        request = SimpleNamespace(method="GET", path=f"/flower/{status}", query="private")
        log(SimpleNamespace(get_status=lambda status=status: status, request=request))
    assert caplog.messages == ["GET /flower/401: 401"]
