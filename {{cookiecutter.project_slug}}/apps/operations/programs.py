"""Celery's {% if cookiecutter.scheduler == "platform" %}worker{% else %}programs, worker and beat,{% endif %} with this project's start and heartbeat.

Celery imports this before Django is set up, so nothing here may import models.
"""

import gc
import logging
import os
import sys
import time
from types import TracebackType
from typing import Any, NoReturn

import celery.apps.worker
from celery import current_app, signals
{%- if cookiecutter.scheduler != "platform" %}
from celery.apps.beat import Beat
{%- endif %}
from celery.apps.worker import Worker
from celery.bootsteps import StartStopStep
from celery.concurrency.prefork import TaskPool
from celery.worker import WorkController
from django.conf import settings
from django.db import Error, connection

from apps.operations import control, heartbeat  # noqa: F401 (workers answer by it)
from apps.operations.pings import ping_broker, ping_cache, ping_database, ping_results
from apps.operations.redis_tls import CertificateError
from apps.operations.watch import Watch

logger = logging.getLogger(__name__)

# In seconds: how long a database that is just starting may take.
DATABASE_PATIENCE = 30.0
# In seconds: how often a worker touches its heartbeat.
HEARTBEAT_INTERVAL = 10.0


class ProjectWorker(Worker):
    """A worker that proves its services before it takes tasks, and logs instead of printing."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # What is imported now stays; to look for garbage in it takes a tenth of the start.
        gc.disable()
        super().__init__(*args, **options)

    def on_before_init(self, quiet: bool = True, **options: Any) -> None:
        """Prepare, after Django was set up and before anything is started."""
        prepare("worker")
        self.app.steps["worker"].update({HeartbeatStep, WatchStep})
        super().on_before_init(quiet=True, **options)

    def prepare_args(self, **options: Any) -> dict[str, Any]:
        """Return the options, with signs of life as rare as the search for lost tasks."""
        interval = settings.CELERY_BROKER_TRANSPORT_OPTIONS.get("unacked_restore_interval")
        return {**super().prepare_args(**options), "heartbeat_interval": interval}

    def on_start(self) -> None:
        """Begin, before the child processes are started."""
        super().on_start()
        # Celery collects garbage before each fork, which would touch all that was imported, and so
        # make a copy of it that the child processes don't share.
        gc.freeze()
        gc.enable()
{%- if cookiecutter.process_manager == "prodserver" %}

    def start(self) -> None:
        """Run to the end, and end the process as the worker has ended.

        Celery's command does that itself; django-prodserver forgets how the worker has ended.

        Raises:
            SystemExit: If the worker has failed.
        """
        super().start()
        if self.exitcode:
            sys.exit(self.exitcode)
{%- endif %}

    def install_platform_tweaks(self, worker: Any) -> None:
        """Make SIGTERM end the worker in time, with unfinished tasks put back on their queues.

        Celery's own handler waits for running tasks without limit, until the platform kills the
        worker. This is the one of SIGQUIT: it waits for ``worker_soft_shutdown_timeout`` only.
        https://docs.celeryq.dev/en/stable/userguide/workers.html#worker-shutdown
        """
        super().install_platform_tweaks(worker)
        # The other pools can't end a running task, and do finish it.
        if issubclass(worker.pool_cls, TaskPool):
            celery.apps.worker.install_worker_term_hard_handler(  # type: ignore[attr-defined]
                worker, sig="SIGTERM"
            )

{%- if cookiecutter.scheduler != "platform" %}


class ProjectBeat(Beat):
    """A beat that proves its services before it ticks, and logs instead of printing."""

    def __init__(self, quiet: bool = True, **options: Any) -> None:
        super().__init__(quiet=True, **options)

    def init_loader(self) -> None:
        """Prepare as soon as Django is set up."""
        super().init_loader()
        prepare("beat")
        Watch("beat").start()
{%- endif %}


class HeartbeatStep(StartStopStep):
    """Touches the worker's heartbeat from its event loop, so that a loop that hangs is noticed."""

    requires = ("celery.worker.components:Timer",)

    def start(self, parent: WorkController) -> None:
        """Begin to touch the file."""
        timer: Any = parent.timer
        timer.call_repeatedly(HEARTBEAT_INTERVAL, heartbeat.touch, ("worker",))

    def stop(self, parent: WorkController) -> None:
        """Take the file away when the worker stops."""
        heartbeat.stop("worker")

    terminate = stop


class WatchStep(StartStopStep):
    """Looks at the schedule from a worker, after its child processes were started."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: WorkController, **options: Any) -> None:
        super().__init__(parent, **options)
        self._watch = Watch("worker")

    def start(self, parent: WorkController) -> None:
        """Begin to look."""
        self._watch.start()

    def stop(self, parent: WorkController) -> None:
        """Stop looking."""
        self._watch.stop()

    terminate = stop


@signals.worker_ready.connect
def show_first_sign_of_life(**_: Any) -> None:
    """Touch the heartbeat as soon as the worker takes tasks."""
    heartbeat.touch("worker")


@signals.setup_logging.connect
def keep_django_logging(**_: Any) -> None:
    """Leave level and handlers to ``LOGGING``; what a task prints becomes a log line too."""
    current_app.log.redirect_stdouts("WARNING")  # type: ignore[arg-type]  # it takes a name


def log_farewell(message: str, _: object = None) -> None:
    """Log what Celery tells the terminal when a worker is told to stop.

    Args:
        message: One or more lines for people.
    """
    logger.info(" ".join(message.split()))


# Celery writes it past every log handler, and offers no other way to change that.
celery.apps.worker.safe_say = log_farewell  # type: ignore[attr-defined]


def log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Log what ends the process, which Python would print in another form.

    Args:
        kind: The class of the exception.
        error: The exception.
        traceback: Where it was raised.
    """
    logger.critical("the process ends by an error", exc_info=(kind, error, traceback))


def wait_for_database(patience: float = DATABASE_PATIENCE) -> None:
    """Wait until the database answers.

    Args:
        patience: How long, in seconds.

    Raises:
        django.db.Error: The last error, if the database did not answer in time.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return ping_database()
        except Error as error:
            if time.monotonic() >= deadline:
                raise
            logger.warning("waiting for the database: %s", error)
            time.sleep(1)


def prepare(process: str) -> None:
    """Log what a process works with, and stop it now, with an alert, if it could not work.

    Without the broker it goes on, with an alert too, because Celery connects when that is back.

    Args:
        process: ``worker``{% if cookiecutter.scheduler != "platform" %} or ``beat``{% endif %}.

    Raises:
        SystemExit: If the database does not answer, or a Redis certificate is not verified.
    """
    sys.excepthook = log_uncaught
    database = connection.settings_dict
    logger.info(
        "%s is starting",
        process,
        extra={
            "service": settings.SERVICE_NAME,
            "version": settings.VERSION,
            "settings": os.environ["DJANGO_SETTINGS_MODULE"],
            "database_engine": database["ENGINE"],
            "database_name": str(database["NAME"]),
            "database_host": database["HOST"],
            "broker": current_app.connection_for_write().as_uri(),
        },
    )
    try:
        wait_for_database()
    except Error as error:
        give_up(process, "the database does not answer", error)
    finally:
        connection.close()
    for name, ping in (("broker", ping_broker), ("results", ping_results), ("cache", ping_cache)):
        try:
            ping()
        except CertificateError as error:
            give_up(process, f"the certificate of the {name} is not verified", error)
        except Exception as error:
            # It may come back; Celery goes on trying.
            logger.warning("%s: %s does not answer: %s", process, name, error)
            if name == "broker":
                alert_without_broker(process)


def alert_without_broker(process: str) -> None:
    """Alert that a process has started but can't work yet.

    Args:
        process: ``worker``{% if cookiecutter.scheduler != "platform" %} or ``beat``{% endif %}.
    """
    from apps.operations.alerts import send_alert  # noqa: PLC0415 (it has a model)

    send_alert(
        f"{process} started without the broker",
        f"A {process} process can't reach the broker, or was refused: its address, its password,\n"
        "or the server itself may be the cause. It does no work before the broker answers.\n"
        "Its log says more.\n\n"
        "If it is started again and again, this is told once an hour.\n",
    )
    # The alert may have asked the database; child processes must not inherit its connection.
    connection.close()


def give_up(process: str, reason: str, error: Exception) -> NoReturn:
    """Log and alert that a process can't start, and end it.

    Args:
        process: ``worker``{% if cookiecutter.scheduler != "platform" %} or ``beat``{% endif %}.
        reason: What it lacks, always in the same words for the same thing.
        error: How that was noticed.

    Raises:
        SystemExit: Always.
    """
    from apps.operations.alerts import send_alert  # noqa: PLC0415 (it has a model)

    logger.critical("%s can't start: %s: %s", process, reason, error)
    send_alert(
        f"{process} could not start: {reason}",
        f"A {process} process ended at its start, because {reason}. Its log says more.\n\n"
        "If it is started again and again, this is told once an hour.\n",
    )
    sys.exit(1)
