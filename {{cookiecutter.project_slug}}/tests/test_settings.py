"""What each environment's settings decide."""

import gc
import os
import re
import runpy
import sys

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from {{ cookiecutter.project_slug }}.environment import ENVIRONMENTS, Environment

from .conftest import PRODUCTION, SECRET_KEY, LoadSettings


def test_production_without_variables_names_all_of_them_at_once(
    load_settings: LoadSettings,
) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        load_settings("production")
    for name in PRODUCTION:
        assert name in str(caught.value)
    assert "settings.production" in str(caught.value)


@pytest.mark.parametrize("name", PRODUCTION)
def test_production_refuses_a_blank_variable(load_settings: LoadSettings, name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"Missing or blank: {name}\."):
        load_settings("production", **(PRODUCTION | {name: " "}))


@pytest.mark.parametrize("name", ["production", "staging"])
def test_production_never_falls_back(load_settings: LoadSettings, name: str) -> None:
    production = load_settings(name, **PRODUCTION)
    assert production.DEBUG is False
    assert production.SECRET_KEY == SECRET_KEY
    assert production.DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql"
    assert production.DATABASES["default"]["HOST"] == "db.internal"
    assert "broker.internal" in production.CELERY_BROKER_URL
    assert "broker.internal" in production.CACHES["default"]["LOCATION"]
    assert not hasattr(production, "CELERY_TASK_ALWAYS_EAGER")


def test_pytest_in_a_production_process_changes_nothing(load_settings: LoadSettings) -> None:
    assert "pytest" in sys.modules
    production = load_settings("production", **PRODUCTION)
    assert production.DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql"


def test_origins_are_derived_from_hosts(load_settings: LoadSettings) -> None:
    hosts = {"ALLOWED_HOSTS": "example.com,.example.org"}
    production = load_settings("production", **(PRODUCTION | hosts))
    assert production.CSRF_TRUSTED_ORIGINS == ["https://example.com", "https://*.example.org"]


@pytest.mark.parametrize("name", ["production", "development"])
def test_the_admin_can_be_moved(load_settings: LoadSettings, name: str) -> None:
    assert load_settings(name, **PRODUCTION).ADMIN_PATH == "admin/"
    assert load_settings(name, ADMIN_PATH="office/", **PRODUCTION).ADMIN_PATH == "office/"


def test_staging_marks_its_mail(load_settings: LoadSettings) -> None:
    assert "staging" in load_settings("staging", **PRODUCTION).EMAIL_SUBJECT_PREFIX


@pytest.mark.parametrize("name", ["DEFAULT_FROM_EMAIL", "ALERT_RECIPIENTS"])
def test_sender_and_recipients_must_be_addresses(load_settings: LoadSettings, name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"{name}.* is no e-mail address"):
        load_settings("production", **(PRODUCTION | {name: "nobody"}))
{%- if cookiecutter.email_provider == "smtp" %}


@pytest.mark.parametrize(
    "contradiction",
    [
        {"EMAIL_USE_SSL": "true", "EMAIL_USE_TLS": "true"},
        {"EMAIL_HOST_USER": "mailer"},
        {"EMAIL_HOST_PASSWORD": "mail-password"},
    ],
)
def test_a_mail_server_is_not_told_two_things(
    load_settings: LoadSettings, contradiction: dict[str, str]
) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        load_settings("production", **(PRODUCTION | contradiction))
    for name in contradiction:
        assert name in str(caught.value)
    assert "mail-password" not in str(caught.value)


def test_a_mail_server_may_want_a_login(load_settings: LoadSettings) -> None:
    login = {"EMAIL_HOST_USER": "mailer", "EMAIL_HOST_PASSWORD": "mail-password"}
    production = load_settings("production", EMAIL_USE_SSL="true", **(PRODUCTION | login))
    assert production.EMAIL_HOST_USER == "mailer"
    assert production.EMAIL_USE_TLS is False
{%- endif %}


def test_a_tls_broker_is_verified_by_every_client(load_settings: LoadSettings) -> None:
    url = {"REDIS_URL": "rediss://:pw@broker.internal:6379/0"}
    production = load_settings("production", **(PRODUCTION | url))
    assert production.CELERY_BROKER_USE_SSL["ssl_cert_reqs"] == "required"
    assert production.CELERY_REDIS_BACKEND_USE_SSL["ssl_cert_reqs"] == "required"
    assert production.CACHES["default"]["OPTIONS"]["ssl_cert_reqs"] == "required"


def test_garbage_is_looked_for_when_the_settings_are_loaded(load_settings: LoadSettings) -> None:
    gc.disable()
    load_settings("production", **PRODUCTION)
    assert gc.isenabled()


def test_development_needs_no_variable(load_settings: LoadSettings) -> None:
    development = load_settings("development")
    assert development.DEBUG is True
    assert development.DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3"
    assert development.CELERY_TASK_ALWAYS_EAGER is True
    assert "console" in development.EMAIL_DELIVERY_BACKEND


def test_development_uses_the_servers_that_variables_name(load_settings: LoadSettings) -> None:
    development = load_settings("development", **PRODUCTION)
    assert development.DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql"
    assert not hasattr(development, "CELERY_TASK_ALWAYS_EAGER")
    assert "console" not in development.EMAIL_DELIVERY_BACKEND


def test_testing_stays_on_this_machine(load_settings: LoadSettings) -> None:
    without_database = {name: value for name, value in PRODUCTION.items() if name != "DATABASE_URL"}
    testing = load_settings("testing", **without_database)
    assert testing.DATABASES["default"]["NAME"] == ":memory:"
    assert testing.CELERY_BROKER_URL == "memory://localhost"
    assert testing.CELERY_TASK_ALWAYS_EAGER is True
    assert testing.CACHES["default"]["BACKEND"].endswith("LocMemCache")


def test_testing_may_use_a_real_database(load_settings: LoadSettings) -> None:
    testing = load_settings("testing", DATABASE_URL=PRODUCTION["DATABASE_URL"])
    assert testing.DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql"


def test_gunicorn_is_configured_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"PORT": "5000", "WEB_CONCURRENCY": "3"})
    config = runpy.run_path(str(settings.BASE_DIR / "gunicorn.conf.py"))
    assert config["bind"] == "0.0.0.0:5000"
    assert config["workers"] == 3
    assert config["graceful_timeout"] == 30


def test_env_example_names_every_variable_that_is_read_and_no_other(
    load_settings: LoadSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = {"DJANGO_ENVIRONMENT", "DJANGO_SETTINGS_MODULE"}
    original = Environment.text

    def record(self: Environment, name: str, default: str = "") -> str:
        read.add(name)
        return original(self, name, default)

    monkeypatch.setattr(Environment, "text", record)
    for name in ENVIRONMENTS:
        load_settings(name, **PRODUCTION)
    runpy.run_path(str(settings.BASE_DIR / "gunicorn.conf.py"))
    example = (settings.BASE_DIR / ".env.example").read_text("utf-8")
    assert set(re.findall(r"^([A-Z0-9_]+)=", example, re.MULTILINE)) == read
