"""gunicorn's hooks, by which the processes of the site count together.

Each process counts in files of its own, and a scrape adds all files up. The files belong to a
process's place, not to its id: who replaces a process goes on with its files, so that nothing is
lost and the files do not become more and more.
https://prometheus.github.io/client_python/multiprocess/
"""

import itertools
import os
import shutil
import tempfile
from typing import Any

from prometheus_client import multiprocess, values
{%- if cookiecutter.process_manager == "prodserver" %}
from prometheus_client.metrics import MetricWrapperBase
{%- endif %}

# Where prometheus_client keeps the files, and by which it knows that there are several processes.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def on_starting(server: Any) -> None:
    """Make an empty folder for the files, before there is any process of the site."""
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="metrics-")


def pre_fork(server: Any, worker: Any) -> None:
    """Give a process that is about to start the first place that no other has."""
    taken = {other.place for other in server.WORKERS.values()}
    worker.place = next(place for place in itertools.count() if place not in taken)


def post_fork(server: Any, worker: Any) -> None:
    """Let a process count in the files of its place{{ ", before it loads the site" if cookiecutter.process_manager == "direct" }}."""
{%- if cookiecutter.process_manager == "prodserver" %}
    from apps.operations.metrics.requests import REGISTRY  # noqa: PLC0415 (which imports this)
{% endif %}
    values.ValueClass = values.MultiProcessValue(lambda: worker.place)  # type: ignore[no-untyped-call]
{%- if cookiecutter.process_manager == "prodserver" %}
    # Django was set up before the fork. The metrics without labels have their value since then, in
    # the memory of a process; those with labels get theirs later.
    for metric in list(REGISTRY._collector_to_names):
        if isinstance(metric, MetricWrapperBase) and not metric._labelnames:
            metric._metric_init()  # type: ignore[no-untyped-call]
{%- endif %}


def child_exit(server: Any, worker: Any) -> None:
    """Forget the requests that were in progress in a process that has ended."""
    multiprocess.mark_process_dead(worker.place)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Remove the folder."""
    shutil.rmtree(os.environ[FOLDER], ignore_errors=True)
