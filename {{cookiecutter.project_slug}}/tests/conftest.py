"""What many tests need."""

import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import ModuleType
from typing import Any

import environ
import pytest
from celery import current_app
from celery.exceptions import Retry
from celery.signals import task_retry
from django.core.cache import cache
from structlog.contextvars import clear_contextvars

LoadSettings = Callable[..., ModuleType]

SECRET_KEY = "0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# What production needs, and no more.
PRODUCTION = {
    "SECRET_KEY": SECRET_KEY,
    "ALLOWED_HOSTS": "example.com",
    "DATABASE_URL": "postgres://user:database-password@db.internal:5432/name",
    "REDIS_URL": "redis://:broker-password@broker.internal:6379/0",
{%- if cookiecutter.use_flower %}
    "FLOWER_BASIC_AUTH": "ann:flower-password-0123",
{%- endif %}
{%- if cookiecutter.use_prometheus %}
    "METRICS_TOKEN": "0123456789-metrics-token-0123456789",
{%- endif %}
{%- for name in cookiecutter.__email_required.split() %}
    "{{ name }}": "{{ {"EMAIL_HOST": "smtp.internal", "AWS_DEFAULT_REGION": "eu-central-1", "MAILGUN_SENDER_DOMAIN": "mail.example.com"}.get(name, "provider-secret") }}",
{%- endfor %}
}


def at_once(function: Any) -> Future[Any]:
    """Call a function in this thread, which sees the test's transaction."""
    future: Future[Any] = Future()
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)
    return future


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    cache.clear()


@pytest.fixture(autouse=True)
def _unmarked_lines() -> None:
    clear_contextvars()


@pytest.fixture(autouse=True)
def _own_excepthook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.fixture
def eager_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an eager task try again at once; a propagating one raises Retry instead."""
    monkeypatch.setitem(current_app.conf, "task_eager_propagates", False)


@pytest.fixture
def delays() -> Iterator[list[float]]:
    """The seconds of each retry; eager tasks do not wait for them."""
    seconds: list[float] = []

    def note(reason: Retry, **kwargs: Any) -> None:
        seconds.append(reason.when)  # type: ignore[arg-type]

    task_retry.connect(note)
    yield seconds
    task_retry.disconnect(note)


@pytest.fixture
def load_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadSettings]:
    """Load a settings module anew, with nothing but the variables given."""

    def load(name: str, /, **variables: str) -> ModuleType:
        package = "{{ cookiecutter.project_slug }}.settings"
        variables["DJANGO_SETTINGS_MODULE"] = f"{package}.{name}"
        monkeypatch.setattr(os, "environ", variables)
        monkeypatch.setattr(environ.Env, "read_env", lambda path: None)
        for module in [module for module in sys.modules if module.startswith(package)]:
            monkeypatch.delitem(sys.modules, module)
        return importlib.import_module(f"{package}.{name}")

    yield load
    logging.captureWarnings(capture=False)
