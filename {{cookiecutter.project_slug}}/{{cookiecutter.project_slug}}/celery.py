"""The Celery application."""

from celery.backends.redis import RedisBackend
{%- if cookiecutter.scheduler == "redbeat" %}
from django.conf import settings
{%- endif %}
from kombu.transport import TRANSPORT_ALIASES

from apps.operations.application import Application
from apps.operations.redis_tls import ConnectionPool

from . import environment

environment.start("production")

# The project's own ways to redis:// and rediss:// servers, for the broker and for the results.
TRANSPORT_ALIASES |= dict.fromkeys(("redis", "rediss"), "apps.operations.broker:Transport")
RedisBackend.ConnectionPool = ConnectionPool  # type: ignore[assignment, method-assign]

app = Application("{{ cookiecutter.project_slug }}")
app.config_from_object("django.conf:settings", namespace="CELERY")
{%- if cookiecutter.scheduler == "redbeat" %}
# RedBeat looks for its settings without a namespace.
app.conf.update(settings.REDBEAT)
{%- endif %}
app.autodiscover_tasks()
