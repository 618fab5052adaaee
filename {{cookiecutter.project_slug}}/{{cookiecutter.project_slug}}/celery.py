"""The Celery application that ``celery -A {{ cookiecutter.project_slug }}`` starts."""

from celery.backends.redis import RedisBackend
{%- if cookiecutter.scheduler == "redbeat" %}
from django.conf import settings
{%- endif %}
from kombu.transport.redis import Channel

from apps.operations.application import Application
from apps.operations.redis_tls import ConnectionPool, SSLConnection

from . import environment

environment.start("production")

# Where both look for the class that connects to rediss:// URLs.
Channel.connection_class_ssl = SSLConnection
RedisBackend.ConnectionPool = ConnectionPool  # type: ignore[assignment, method-assign]

app = Application("{{ cookiecutter.project_slug }}")
app.config_from_object("django.conf:settings", namespace="CELERY")
{%- if cookiecutter.scheduler == "redbeat" %}
# RedBeat looks for its settings without a namespace.
app.conf.update(settings.REDBEAT)
{%- endif %}
app.autodiscover_tasks()
