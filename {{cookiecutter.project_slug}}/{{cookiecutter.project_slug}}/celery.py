"""The Celery application."""

import os

from celery.app.backends import BACKEND_ALIASES
{%- if cookiecutter.scheduler == "redbeat" %}
from django.conf import settings
{%- endif %}
from kombu.transport import TRANSPORT_ALIASES

from apps.operations.application import Application

from . import environment

environment.start("production")

# A release has run Django's checks. For them, each worker would import every view and form.
os.environ.setdefault("CELERY_SKIP_CHECKS", "true")

# The project's own ways to redis:// and rediss:// servers, for the broker and for the results.
# They are named and not imported, because the client of Redis takes long to import.
TRANSPORT_ALIASES |= dict.fromkeys(("redis", "rediss"), "apps.operations.broker:Transport")
BACKEND_ALIASES |= dict.fromkeys(("redis", "rediss"), "apps.operations.results:Backend")

app = Application("{{ cookiecutter.project_slug }}")
app.config_from_object("django.conf:settings", namespace="CELERY")
{%- if cookiecutter.scheduler == "redbeat" %}
# RedBeat looks for its settings without a namespace.
app.conf.update(settings.REDBEAT)
{%- endif %}
app.autodiscover_tasks()
