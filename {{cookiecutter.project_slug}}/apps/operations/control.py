"""What a worker answers when others ask it; only workers import this."""

import os
import time
from typing import Any

from celery.worker import state as worker_state
from celery.worker.control import inspect_command
from django.conf import settings


@inspect_command()
def describe(state: Any) -> dict[str, Any]:
    """Tell what this worker is and runs, without the values of arguments.

    It is answered by the worker's main process, also while all its children are busy.

    Args:
        state: What Celery knows of the worker.
    """
    return {
        "version": settings.VERSION,
        "settings": os.environ["DJANGO_SETTINGS_MODULE"],
        "queues": sorted(queue.name for queue in state.consumer.task_consumer.queues),
        "concurrency": state.consumer.controller.concurrency,
        "now": time.time(),
        "tasks": [
            {"name": request.name, "id": request.id, "started": request.time_start}
            for request in list(worker_state.active_requests)
        ],
    }
