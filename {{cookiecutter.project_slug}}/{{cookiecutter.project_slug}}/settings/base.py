"""Settings that all environments share. The others import them and change what differs.

https://docs.djangoproject.com/en/5.2/ref/settings/
https://docs.celeryq.dev/en/stable/userguide/configuration.html
"""

import gc
import os
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

from kombu import Queue

from ..environment import POSTGRESQL_SCHEMES, Environment
from ..logs import FORMATS, LEVELS, logging_config
from ..schedule import SCHEDULE

BASE_DIR = Path(__file__).resolve().parent.parent.parent

env = Environment(os.environ)

# The service
SERVICE_NAME = "{{ cookiecutter.project_slug }}"
VERSION: str = tomllib.loads((BASE_DIR / "pyproject.toml").read_text("utf-8"))["project"]["version"]

# Core
DEBUG = False
SECRET_KEY = env.text("SECRET_KEY")
SECRET_KEY_FALLBACKS = env.items("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = env.hosts()
# What visitors write; doctor looks whether ALLOWED_HOSTS answers it.
SITE_DOMAINS = env.items(
    "SITE_DOMAIN",
    default=["{{ cookiecutter.domain_name }}"],
)
ROOT_URLCONF = "{{ cookiecutter.project_slug }}.urls"
WSGI_APPLICATION = "{{ cookiecutter.project_slug }}.wsgi.application"
ASGI_APPLICATION = "{{ cookiecutter.project_slug }}.asgi.application"
TASK_APPLICATION = "{{ cookiecutter.project_slug }}.celery.app"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
{%- if cookiecutter.scheduler == "database" %}
    "django_celery_beat",
{%- endif %}
{%- if cookiecutter.email_provider != "smtp" %}
    "anymail",
{%- endif %}
    "apps.accounts",
    "apps.notifications",
    "apps.operations",
{%- if cookiecutter.process_manager == "prodserver" %}
    # After operations, whose commands of the same names stand before its own.
    "django_prodserver",
{%- endif %}
]

MIDDLEWARE = [
    # Around everything, so that each line of the log has the request's id.
    "apps.operations.request_ids.RequestIDMiddleware",
    "apps.operations.middleware.HeadMiddleware",
    # Before the rest, so that a probe is answered whatever its Host header and without TLS.
    "apps.operations.middleware.HealthMiddleware",
    # Before anything that reads a body.
    "apps.operations.middleware.BodySizeMiddleware",
{%- if cookiecutter.use_prometheus %}
    "apps.operations.metrics.endpoint.MetricsMiddleware",
    "apps.operations.metrics.requests.RequestMetricsMiddleware",
{%- endif %}
    "django.middleware.security.SecurityMiddleware",
    "apps.operations.middleware.PolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "apps.accounts.middleware.RetryAfterMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Accounts
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["apps.accounts.backends.LimitedBackend"]
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# Another path keeps scanners out of the log, and nobody else out of the admin (docs/security.md).
ADMIN_PATH = env.path("ADMIN_PATH", default="admin/")
# What tells a visitor's address: the connection, as long as there is no proxy.
CLIENT_ADDRESS_HEADER = "REMOTE_ADDR"
TRUSTED_PROXIES = 1

# Database: empty until a variable names one, which each environment decides about.
DATABASES = {"default": env.database(POSTGRESQL_SCHEMES)}
if DATABASES["default"]:
    DATABASES["default"] |= {
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "connect_timeout": 5,
            # Notice within half a minute that the server's machine is gone.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
            "application_name": SERVICE_NAME,
            **DATABASES["default"].get("OPTIONS", {}),
        },
    }

# Redis-compatible server: broker, results and cache
REDIS_URL = env.redis_url("REDIS_URL")
REDIS_TLS = env.redis_tls()

CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # Where a process counts logins while the other one does not answer.
    "process": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "process",
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    },
}
if REDIS_URL:
    CACHES["default"] = {
        "BACKEND": "apps.operations.cache.Cache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": SERVICE_NAME,
        "OPTIONS": {
            "pool_class": "apps.operations.redis_tls.ConnectionPool",
            "socket_connect_timeout": 2,
            "socket_timeout": 2,
            **(REDIS_TLS if REDIS_URL.startswith("rediss://") else {}),
        },
    }

# Celery: the broker
CELERY_BROKER_URL = env.redis_url("CELERY_BROKER_URL", default=REDIS_URL)
CELERY_BROKER_USE_SSL = REDIS_TLS if CELERY_BROKER_URL.startswith("rediss://") else None
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
polling_interval = env.integer("CELERY_POLLING_INTERVAL", default=1, minimum=1)
# A task whose worker was killed comes back after this time, in seconds. It must be longer than
# the hard time limit and than the longest countdown of a task.
visibility_timeout = env.integer("CELERY_VISIBILITY_TIMEOUT", default=3600, minimum=1)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": visibility_timeout,
    # How long a worker waits at the broker before it asks again, and how often it looks for such
    # tasks, in seconds. Longer where commands to the broker are paid for (docs/scaling.md).
    "polling_interval": polling_interval,
    "unacked_restore_interval": 6 * polling_interval,
    "unacked_restore_throttle": 1,
    # A request that enqueues must not hang on a broker that accepts and never answers.
    "socket_connect_timeout": 4,
    "socket_timeout": 4,
    "socket_keepalive": True,
    # A connection that died without a word is noticed within twice this time, in seconds.
    "health_check_interval": max(5, 2 * polling_interval),
}

# Celery: results, kept only for tasks that ask for it with ignore_result=False (docs/results.md)
CELERY_RESULT_BACKEND = env.result_backend("CELERY_RESULT_BACKEND", REDIS_URL, INSTALLED_APPS)
CELERY_REDIS_BACKEND_USE_SSL = (
    REDIS_TLS if CELERY_RESULT_BACKEND and CELERY_RESULT_BACKEND.startswith("rediss://") else None
)
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {
    "visibility_timeout": visibility_timeout,
    # A request that wants a result asks this server before it enqueues; 20 tries would hang it.
    "retry_policy": {"max_retries": 0},
}
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 2
CELERY_REDIS_SOCKET_TIMEOUT = 2
CELERY_RESULT_EXPIRES = timedelta(hours=1)
CELERY_TASK_IGNORE_RESULT = True

# Celery: messages
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = TIME_ZONE

# Celery: queues. A queue that is not declared raises instead of filling a list that nobody reads.
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_QUEUES = [Queue("default"), Queue("notifications"), Queue("maintenance")]
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_ROUTES = {
    "apps.notifications.tasks.*": {"queue": "notifications"},
    "apps.operations.tasks.*": {"queue": "maintenance"},
}

# Celery: delivery. A message is acknowledged when its task has ended, so a task may run twice and
# must bear it.
CELERY_TASK_ACKS_LATE = True
# A task whose child process died is retried, max_retries times at most, not at once and for ever.
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_TASK_RETRY_ON_WORKER_LOST = True
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_SOFT_TIME_LIMIT = 25 * 60
CELERY_TASK_TIME_LIMIT = 30 * 60

# Tasks of which no message is kept when they fail, so that nobody can send them again from the
# status page: names, or patterns such as "apps.shop.tasks.*" (docs/status.md).
TASKS_NOT_KEPT: list[str] = []

# Celery: workers
CELERY_WORKER_CONSUMER = "apps.operations.consumer:MessageConsumer"
CELERY_WORKER_CONCURRENCY = env.integer("CELERY_WORKER_CONCURRENCY", default=2, minimum=1)
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000
# How long a worker told to stop waits for its tasks before it puts them back, in seconds. The
# platform's grace period must be about five seconds longer.
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = env.integer("CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", default=5)
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_TRACK_STARTED = True
{%- if cookiecutter.use_flower %}
# Flower lives by these events; every task costs its worker about a third more.
CELERY_WORKER_SEND_TASK_EVENTS = True
{%- endif %}

# Celery: the schedule
{% include ["templates/scheduler/" ~ cookiecutter.scheduler ~ "/settings.py", "scheduler/" ~ cookiecutter.scheduler ~ "/settings.py"] %}
{% if cookiecutter.process_manager == "prodserver" -%}
# The processes that `manage.py server` and `manage.py worker` start
PRODUCTION_PROCESSES: dict[str, dict[str, Any]] = {
    "web": {
        "BACKEND": "django_prodserver.backends.servers.gunicorn.GunicornServer",
        "ARGS": {"config": "gunicorn.conf.py"},
    },
    "worker": {
        "BACKEND": "django_prodserver.backends.workers.celery.CeleryWorker",
        "APP": TASK_APPLICATION,
        "ARGS": {"without-gossip": None, "without-mingle": None},
    },
{%- if cookiecutter.scheduler != "platform" %}
    "beat": {
        "BACKEND": "django_prodserver.backends.workers.celery.CeleryBeat",
        "APP": TASK_APPLICATION,
    },
{%- endif %}
{%- if cookiecutter.use_flower %}
    "flower": {
        "BACKEND": "django_prodserver.backends.servers.flower.CeleryFlower",
        "APP": TASK_APPLICATION,
        "ARGS": {"conf": "flower.conf.py", "logging": "none"},
    },
{%- endif %}
}
{%- if cookiecutter.hosting == "compose" %}
# A worker for one queue: `manage.py worker worker-default`
PRODUCTION_PROCESSES |= {
    f"worker-{queue.name}": {
        **PRODUCTION_PROCESSES["worker"],
        "ARGS": {**PRODUCTION_PROCESSES["worker"]["ARGS"], "queues": queue.name},
    }
    for queue in CELERY_TASK_QUEUES
}
{%- endif %}

{% endif -%}
{% if cookiecutter.use_flower -%}
# Flower: the login that opens it, user:password, and whether who has it may change anything
# (docs/flower.md)
FLOWER_BASIC_AUTH = env.basic_auth("FLOWER_BASIC_AUTH")
FLOWER_CONTROL = env.flag("FLOWER_CONTROL", default=False)

{% endif -%}
# Static files
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# E-mail
DEFAULT_FROM_EMAIL = env.address(
    "DEFAULT_FROM_EMAIL",
    "noreply@{{ cookiecutter.domain_name }}",
)
SERVER_EMAIL = DEFAULT_FROM_EMAIL
EMAIL_SUBJECT_PREFIX = f"[{SERVICE_NAME}] "
# What Django sends goes through the queue, so that no request waits for {{ cookiecutter.__email_name }}.
EMAIL_BACKEND = "apps.notifications.backends.QueueEmailBackend"
# What tasks and alerts send with.
{% include ["templates/email/" ~ cookiecutter.email_provider ~ "/settings.py", "email/" ~ cookiecutter.email_provider ~ "/settings.py"] -%}
# Whoever is to hear of what failed, is overdue or could not start (docs/alerts.md).
ALERT_RECIPIENTS = env.addresses("ALERT_RECIPIENTS")

# Webhooks: host=secret pairs; networks that may be called although they are private.
WEBHOOK_SECRETS = env.webhook_secrets("WEBHOOK_SECRETS")
WEBHOOK_ALLOWED_NETWORKS = env.networks("WEBHOOK_ALLOWED_NETWORKS")

{% if cookiecutter.use_prometheus -%}
# Who may scrape /metrics (docs/metrics.md)
METRICS_TOKEN = env.token("METRICS_TOKEN")

{% endif -%}
# Security: what a request may bring, in bytes
# Any request, with its files (docs/security.md).
MAX_BODY_SIZE = 25_000_000
# All fields of a form together, and a webhook's body: they are held in memory.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_500_000
# A larger file is written to the folder for temporary files, and not held in memory.
FILE_UPLOAD_MAX_MEMORY_SIZE = 2_500_000
# The admin sends one for each row that is picked; parsing many takes long.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000
# Each is a file that is open at the same time.
DATA_UPLOAD_MAX_NUMBER_FILES = 20

# Security: what a browser may do with a page
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "object-src": ["'none'"],
    },
}

# Logs
LOG_LEVEL = env.choice("LOG_LEVEL", LEVELS, default="INFO")
LOG_FORMAT = env.choice("LOG_FORMAT", FORMATS, default="json")
SECRET_VALUES = env.secrets()
# Where doctor asks which variables may be misspelt.
VARIABLES = env
LOGGING = logging_config(LOG_LEVEL, LOG_FORMAT, SECRET_VALUES)

# Errors and check-ins of periodic tasks go to Sentry if it is named (docs/sentry.md).
SENTRY_DSN = env.sentry_dsn("SENTRY_DSN")
SENTRY_TRACES_SAMPLE_RATE = env.share("SENTRY_TRACES_SAMPLE_RATE", default=0.0)

# Garbage is looked for again (__init__.py), but not in what was imported until now.
gc.freeze()
gc.enable()
