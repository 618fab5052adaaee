"""The kind of Celery application that this project has."""

from typing import Any

from celery import Celery
from celery.contrib.django.task import DjangoTask


class ProjectTask(DjangoTask[..., Any]):
    """A task whose messages say in a worker's log which request they belong to."""

    Request = "apps.operations.messages:Request"


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
