"""The Celery application that ``celery -A {{ cookiecutter.project_slug }}`` starts."""

import importlib
import os

import billiard.common

from . import environment

environment.start("production")

# SIGTERM alone makes a worker wait for its tasks without limit, until the platform kills it. Mapped
# to SIGQUIT it waits for worker_soft_shutdown_timeout and then puts unfinished tasks back on the
# queue. The celery command has read the variable before this module runs, hence the reload.
# https://docs.celeryq.dev/en/stable/userguide/workers.html#worker-shutdown
os.environ["REMAP_SIGTERM"] = "SIGQUIT"
importlib.reload(billiard.common)

from celery.backends.redis import RedisBackend
from kombu.transport.redis import Channel

from apps.operations.programs import Application, HeartbeatStep
from apps.operations.redis_tls import SSLConnection

# Where both look the class up for rediss:// URLs.
Channel.connection_class_ssl = SSLConnection
RedisBackend.connection_class_ssl = SSLConnection

app = Application("{{ cookiecutter.project_slug }}")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"].add(HeartbeatStep)
