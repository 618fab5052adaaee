"""Testing: SQLite in memory unless ``DATABASE_URL`` is set, tasks run at once, nothing leaves."""

from .base import *
from .base import {% if cookiecutter.email_provider != "smtp" %}ANYMAIL, {% endif %}CACHES, DATABASES, env

SECRET_KEY = "testing-only-and-no-secret"
{%- if cookiecutter.use_prometheus %}
METRICS_TOKEN = "testing-only-and-no-secret"
{%- endif %}
ALLOWED_HOSTS = ["testserver"]

if not DATABASES["default"]:
    DATABASES["default"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}

CACHES = {
    **CACHES,
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_DELIVERY_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
{%- if cookiecutter.email_provider != "smtp" %}
ANYMAIL = {**ANYMAIL, "{{ {"sendgrid": "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY", "mailgun": "MAILGUN_WEBHOOK_SIGNING_KEY", "resend": "RESEND_SIGNING_SECRET"}.get(cookiecutter.email_provider, "WEBHOOK_SECRET") }}": "testing:only"}
{%- endif %}

ALERT_RECIPIENTS = []
SENTRY_DSN = ""
WEBHOOK_SECRETS = {}
WEBHOOK_ALLOWED_NETWORKS = []

CELERY_BROKER_URL = "memory://localhost"
CELERY_BROKER_USE_SSL = None
CELERY_RESULT_BACKEND = None
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_EAGER_PROPAGATES = True

env.complete()
