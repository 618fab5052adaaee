"""The kind of Celery application that this project has."""

from typing import Any

from celery import Celery
from celery.contrib.django.task import DjangoTask
from celery.exceptions import Reject
from celery.utils.time import get_exponential_backoff_interval
from django.db import InterfaceError, OperationalError

# How often a task is tried again while the database is away: with the delays, for some minutes.
DATABASE_RETRIES = 20
# In seconds.
LONGEST_DATABASE_DELAY = 30


class ProjectTask(DjangoTask[..., Any]):
    """A task that is not lost while the database or the broker is away.

    Its messages say in a worker's log which request they belong to.
    """

    Request = "apps.operations.messages:Request"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run the task, and again later if it could not reach the database."""
        if self.request.called_directly:
            return super().__call__(*args, **options)
        try:
            return self.run(*args, **options)
        except (InterfaceError, OperationalError) as error:
            # By chance, so that tasks that failed together don't come back together.
            countdown = get_exponential_backoff_interval(
                1, self.request.retries, maximum=LONGEST_DATABASE_DELAY, full_jitter=True
            )
            try:
                self.retry(exc=error, countdown=countdown, max_retries=DATABASE_RETRIES)
            finally:
                # Celery would take it for the limit of the task's own retries.
                vars(self).pop("override_max_retries", None)

    def retry(self, *args: Any, **options: Any) -> Any:
        """Send the task once more, or put its message back if the broker does not take another."""
        try:
            return super().retry(*args, **options)
        except Reject as rejection:
            raise Reject(rejection.args[0], requeue=True) from rejection


class Application(Celery):
{%- if cookiecutter.scheduler == "platform" %}
    """A Celery application whose ``worker`` command runs the project's own program.

    It is named and not imported, because every process has the application, and only workers run
    a program of Celery's.
    """
{%- else %}
    """A Celery application whose ``worker`` and ``beat`` commands run the project's own programs.

    They are named and not imported, because every process has the application, and only two run
    a program of Celery's.
    """
{%- endif %}

    task_cls = "apps.operations.application:ProjectTask"
    amqp_cls = "apps.operations.publishing:Publisher"

    def _task_from_fun(  # type: ignore[override]
        self, fun: Any, name: str | None = None, base: Any = None, **options: Any
    ) -> Any:
        # Apps write base=DjangoTask for mypy alone.
        base = None if base is DjangoTask else base
        return super()._task_from_fun(fun, name, base, **options)

    @property
    def Worker(self) -> Any:  # noqa: N802 (Celery's name)
        """The class that ``celery worker`` runs."""
        program: Any = "apps.operations.programs:ProjectWorker"
        return self.subclass_with_self(program)
{%- if cookiecutter.scheduler != "platform" %}

    @property
    def Beat(self) -> Any:  # noqa: N802 (Celery's name)
        """The class that ``celery beat`` runs."""
        program: Any = "apps.operations.programs:ProjectBeat"
        return self.subclass_with_self(program)
{%- endif %}
