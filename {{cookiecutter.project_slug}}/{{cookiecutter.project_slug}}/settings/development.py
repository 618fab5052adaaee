"""Development: needs no server; PostgreSQL and Redis are used as soon as variables name them."""

from pathlib import Path

import environ

# The only environment that reads .env, and before base reads the variables.
environ.Env.read_env(Path(__file__).resolve().parent.parent.parent / ".env")

from ..logs import FORMATS, logging_config
from .base import *
from .base import (
    ALLOWED_HOSTS,
    BASE_DIR,
    DATABASES,
    LOG_LEVEL,
{%- if cookiecutter.use_prometheus %}
    METRICS_TOKEN,
{%- endif %}
    REDIS_URL,
    SECRET_KEY,
    SECRET_VALUES,
    env,
)

DEBUG = True
SECRET_KEY = SECRET_KEY or "development-only-and-no-secret"
{%- if cookiecutter.use_prometheus %}
METRICS_TOKEN = METRICS_TOKEN or "development-only-and-no-secret"
{%- endif %}
ALLOWED_HOSTS = ALLOWED_HOSTS or ["localhost", "127.0.0.1", "[::1]"]

if not DATABASES["default"]:
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "db.sqlite3",
    }

if not REDIS_URL:
    CELERY_BROKER_URL = "memory://localhost"
    CELERY_TASK_ALWAYS_EAGER = True
    CELERY_TASK_EAGER_PROPAGATES = True

if not env.text("{{ cookiecutter.__email_required.split()|first }}"):
    EMAIL_DELIVERY_BACKEND = "django.core.mail.backends.console.EmailBackend"

LOG_FORMAT = env.choice("LOG_FORMAT", FORMATS, default="console")
LOGGING = logging_config(LOG_LEVEL, LOG_FORMAT, SECRET_VALUES)

env.complete()
