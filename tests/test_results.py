"""Results in the database, as docs/results.md tells how to have them."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.processes import Stack, python_environment, wait_until
from tests.production import call, prepare, production, production_environment, query
from tests.servers.postgres import PostgresServer
from tests.servers.redis import Redis
from tests.users import replace_once

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("results")]

ROWS = "SELECT status, result FROM django_celery_results_taskresult"


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that knows nothing of the app yet."""
    folder = tmp_path_factory.mktemp("results") / "my_project"
    return prepare(Path(shutil.copytree(bake(), folder)))


def follow_page(project: Path) -> None:
    """Add the package and the app, in the words of the page."""
    page = (project / "docs" / "results.md").read_text("utf-8")
    [requirement] = re.findall(r'uv add ("django-celery-results.*")', page)
    [app] = re.findall(r'^ *("django_celery_results",)$', page, re.MULTILINE)
    pyproject = project / "pyproject.toml"
    replace_once(pyproject, "dependencies = [\n", f"dependencies = [\n    {requirement},\n")
    settings = project / "my_project" / "settings" / "base.py"
    replace_once(settings, "INSTALLED_APPS = [\n", f"INSTALLED_APPS = [\n    {app}\n")


@pytest.fixture(scope="module")
def stack(project: Path, postgres: PostgresServer) -> Iterator[Stack]:
    """The project after the three steps, released."""
    changed = Path(shutil.copytree(project, project.parent / "changed" / project.name))
    follow_page(changed)
    with Redis() as broker:
        environment = production_environment(
            postgres.create_database(), broker.url(), CELERY_RESULT_BACKEND="django-db"
        )
        with production(changed, environment) as stack:
            stack.worker()
            yield stack


def test_without_the_app_one_sentence_tells_of_the_page(project: Path) -> None:
    environment = production_environment(
        "postgres://u:p@127.0.0.1:1/n", "redis://127.0.0.1:1/0", CELERY_RESULT_BACKEND="django-db"
    )
    with Stack(project, environment, python_environment(project)) as stack:
        result = stack.run(["celery", "-A", "my_project", "worker"])
    assert result.returncode != 0
    assert result.stderr.count("needs the app django_celery_results; docs/results.md tells") == 1
    assert "Traceback" not in result.stderr


def test_a_result_is_a_row_and_a_task_that_wants_none_leaves_none(stack: Stack) -> None:
    code = "from apps.trial.tasks import add; print('sum', add.delay(2, 3).get(timeout=20))"
    result = stack.manage("shell", "--command", code)
    assert "sum 5" in result.stdout, result.stderr
    call(stack, "record", "name", "detail")
    database = stack.environment["DATABASE_URL"]
    wait_until(lambda: query(database, "SELECT 1 FROM trial_effect"), 20, "the other task")
    assert query(database, ROWS) == [("SUCCESS", "5")]


def test_what_has_expired_is_deleted_by_the_task_that_beat_sends(stack: Stack) -> None:
    database = stack.environment["DATABASE_URL"]
    code = "from apps.trial.tasks import add; print(add.delay({}, 1).get(timeout=20))"
    for number in (1, 2):
        assert stack.manage("shell", "--command", code.format(number)).returncode == 0
    older = "UPDATE django_celery_results_taskresult SET date_done = now() - interval '2 hours'"
    assert query(database, f"{older} WHERE result = '2' RETURNING 1") == [(1,)]
    stack.beat()
    entry = "SELECT task FROM django_celery_beat_periodictask WHERE name = 'celery.backend_cleanup'"
    [(task,)] = wait_until(lambda: query(database, entry), 20, "beat's entry")
    send = f"from celery import current_app; current_app.send_task({task!r})"
    assert stack.manage("shell", "--command", send).returncode == 0
    gone = f"{ROWS} WHERE result = '2'"
    wait_until(lambda: not query(database, gone), 20, "the deletion")
    assert query(database, f"{ROWS} WHERE result = '3'") == [("SUCCESS", "3")]
