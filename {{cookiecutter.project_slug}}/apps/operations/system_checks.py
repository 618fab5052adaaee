"""What ``manage.py check`` says of the schedule; the release and ``doctor`` run it too."""

import json
from collections import Counter
from collections.abc import Iterator
{%- if cookiecutter.scheduler != "platform" %}
from datetime import timedelta
{%- endif %}
from difflib import get_close_matches
from typing import Any

from celery import current_app
from celery.exceptions import QueueNotFound
from celery.schedules import BaseSchedule
from django.conf import settings
from django.core.checks import CheckMessage, Error

from apps.operations.schedule import PeriodicTask


def check_entries(**_: Any) -> list[CheckMessage]:
    """Look for what would keep an entry of ``SCHEDULE`` from being sent, or its task from running.

    Returns:
        An error for each mistake, which names the entry and says what would be right.
    """
    names = Counter(entry.name for entry in settings.PERIODIC_TASKS)
    mistakes = [
        f"{count} entries have the name {name}: each needs one of its own."
        for name, count in names.items()
        if count > 1
    ]
    current_app.loader.import_default_modules()
    for entry in settings.PERIODIC_TASKS:
        mistakes += [f"{entry.name} {mistake}" for mistake in _mistakes(entry)]
    return [Error(f"SCHEDULE: {mistake}", id="operations.E001") for mistake in mistakes]


def _mistakes(entry: PeriodicTask) -> Iterator[str]:
{%- if cookiecutter.scheduler == "platform" %}
    if not isinstance(entry.schedule, BaseSchedule):
        yield f"has the schedule {entry.schedule!r}: write crontab(...), with texts."
{%- else %}
    if not isinstance(entry.schedule, BaseSchedule | timedelta):
        yield f"has the schedule {entry.schedule!r}: write crontab(...) or timedelta(...)."
{%- endif %}
    try:
        current_app.amqp.router.route({"queue": entry.queue} if entry.queue else {}, entry.task)
    except QueueNotFound:
        queue = entry.queue or "that CELERY_TASK_ROUTES names"
        yield f"is for the queue {queue}; declared are {', '.join(current_app.amqp.queues)}."
    try:
        json.dumps([entry.args, dict(entry.kwargs)])
    except (TypeError, ValueError) as error:
        yield f"has arguments that are no JSON ({error}): pass ids, numbers and texts."
    task: Any = current_app.tasks.get(entry.task)
    if task is None:
        similar = get_close_matches(entry.task, current_app.tasks, n=1)
        yield f"runs {entry.task}, which is no task{f': is it {similar[0]}?' if similar else '.'}"
        return
    try:
        task.__header__(*entry.args, **entry.kwargs)
    except TypeError as error:
        yield f"calls {entry.task} with other arguments than it takes: {error}."
