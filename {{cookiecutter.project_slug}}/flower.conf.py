"""How Flower runs. https://flower.readthedocs.io/en/latest/config.html

Flower takes from here what is named like one of its options.
"""

import os
import sys
from logging import getLogger

import django
from django.conf import settings
from flower import views
from flower.api.tasks import BaseTaskHandler
from flower.inspector import Inspector
from flower.urls import settings as application
from flower.views.monitor import Metrics
from tornado.web import RequestHandler, authenticated

from apps.operations.programs import log_uncaught

from {{ cookiecutter.project_slug }}.environment import Environment, message_alone, start

start("production")
# The log has its form from the first line on.
django.setup()
sys.excepthook = log_uncaught

logger = getLogger("flower.conf")
env = Environment(os.environ)

port = env.port("PORT", default=5555)
# It is reached from outside of its container.
address = "0.0.0.0"  # noqa: S104
url_prefix = "flower"

if not settings.FLOWER_BASIC_AUTH:
    sys.exit("Flower does not start without a login: set FLOWER_BASIC_AUTH (see .env.example).")
basic_auth = [settings.FLOWER_BASIC_AUTH]

read_only = not settings.FLOWER_CONTROL
if settings.FLOWER_CONTROL:
    logger.warning("FLOWER_CONTROL is on: Flower's login may stop workers and call tasks")

# All is kept in memory, so this bounds it: some 6 KB for each of the last tasks.
max_tasks = 10_000
max_workers = 100

# Flower shows these to everybody: what runs, where, and how often.
Metrics.get = authenticated(Metrics.get)
# What a task returned may be private. So may be the settings that workers tell of: Celery masks
# only the passwords that it knows of.
BaseTaskHandler.update_response_result = lambda *_: None
Inspector.inspect_methods = tuple(
    method for method in Inspector.inspect_methods if method != "conf"
)
# For the page of an error, Flower would make a Celery application that then takes this one's place.
views.bugreport = lambda: ""


def log_refusal(handler: RequestHandler) -> None:
    """Log a request that was refused or failed; Flower logs none.

    Args:
        handler: What has answered it.
    """
    status, request = handler.get_status(), handler.request
    if status >= 400:
        logger.warning("%s %s: %s", request.method, request.path, status)


application["log_function"] = log_refusal

with message_alone():
    env.complete()
