"""What a user would add to a new project, so that tests have something to run."""

import re
import textwrap
from pathlib import Path

# Where the page says how an app is made; the tests do what it says.
TASKS_PAGE = Path("docs/tasks.md")

TICK_SECONDS = 3
TICK = f"""\
    PeriodicTask(
        name="tick",
        task="apps.trial.tasks.record",
        schedule=timedelta(seconds={TICK_SECONDS}),
        args=("tick",),
    ),
"""

# The same where the hosting's cron sends tasks; its least time is a minute.
CRON_TICK = """\
    PeriodicTask(
        name="tick",
        task="apps.trial.tasks.record",
        schedule=crontab(),
        args=("tick",),
    ),
"""
# Hosting's file -> the text after which its entry goes, and the entry.
CRON_FILES = {
    "app.json": (
        '  "cron": [\n',
        """\
    {
      "command": "python manage.py enqueue tick",
      "schedule": "* * * * *",
      "concurrency_policy": "forbid"
    },
""",
    ),
    ".do/app.yaml": (
        "      - rule: JOB_INVOCATION_FAILED\n",
        """\
  - <<: *cron
    name: cron-tick
    run_command: python manage.py enqueue tick
    schedule: {cron: "* * * * *", time_zone: UTC}
""",
    ),
    "infra/schedule.bicep": (
        "var schedule = [\n",
        """\
  {
    name: 'tick'
    cron: '* * * * *'
  }
""",
    ),
}

TRIAL_MODELS = """
from django.db import models


class Effect(models.Model):
    name = models.CharField(max_length=200)
    detail = models.CharField(max_length=200)
    created = models.DateTimeField(auto_now_add=True)
"""

TRIAL_TASKS = """
import time

from celery import shared_task
from django.conf import settings
from django.db import connection

from apps.trial.models import Effect


@shared_task
def record(name, detail=""):
    Effect.objects.create(name=name, detail=detail)


@shared_task
def sleep(name, seconds):
    Effect.objects.create(name=name, detail="started")
    time.sleep(seconds)
    Effect.objects.create(name=name, detail="finished")


@shared_task
def fail(secret, more=None):
    raise ValueError("failed on purpose")


@shared_task
def say(text):
    print(text)


@shared_task
def import_pytest():
    import pytest

    Effect.objects.create(name=connection.vendor, detail=settings.SETTINGS_MODULE)


@shared_task(ignore_result=False)
def add(a, b):
    return a + b
"""

TRIAL_VIEWS = """
import time

from django.http import JsonResponse

from apps.trial import tasks


def enqueue(request):
    started = time.monotonic()
    try:
        if "result" in request.GET:
            tasks.add.delay(1, 2)
        else:
            tasks.record.delay_on_commit("web")
    except Exception as error:
        seconds = time.monotonic() - started
        return JsonResponse({"error": type(error).__name__, "seconds": seconds}, status=503)
    return JsonResponse({}, status=202)


def sleep(request):
    time.sleep(float(request.GET["seconds"]))
    return JsonResponse({"slept": True})
"""


def add_app(project: Path, name: str, files: dict[str, str], routes: dict[str, str]) -> None:
    """Add an app to a project, as its pages tell.

    Args:
        project: folder of the project, to be changed.
        name: the app's name below `apps`.
        files: content by file name.
        routes: function in the app's `views` by path.
    """
    folder = project / "apps" / name
    folder.mkdir()
    for file_name, content in {"__init__.py": "", **files}.items():
        (folder / file_name).write_text(content, encoding="utf-8")
    settings = project / project.name / "settings" / "base.py"
    own_apps = settings.read_text("utf-8").replace(
        '    "apps.operations",\n', f'    "apps.operations",\n    "apps.{name}",\n'
    )
    settings.write_text(own_apps, encoding="utf-8")
    urls = project / project.name / "urls.py"
    lines = [f"    path({path!r}, {name}_views.{view})," for path, view in routes.items()]
    text = urls.read_text("utf-8")
    text = text.replace("urlpatterns = [\n", "urlpatterns = [\n" + "\n".join(lines) + "\n")
    views = f"from apps.{name} import views as {name}_views"
    text = text.replace("\nurlpatterns", f"\n{views}\n\nurlpatterns")
    urls.write_text(text, encoding="utf-8")


def add_notes_app(project: Path) -> None:
    """Add the app of `docs/tasks.md` and its test, from the code on that page."""
    page = (project / TASKS_PAGE).read_text("utf-8")
    blocks = re.findall(r"```python\n# (apps/notes|tests)/(\w+\.py)\n(.*?)```", page, re.DOTALL)
    files = {name: text for folder, name, text in blocks if folder != "tests"}
    tests = {name: text for folder, name, text in blocks if folder == "tests"}
    assert (len(files), len(tests)) == (3, 1), f"{TASKS_PAGE} shows {[*files, *tests]}"
    add_app(project, "notes", files, {"notes/": "add_note"})
    for name, text in tests.items():
        (project / "tests" / name).write_text(text, encoding="utf-8")


def add_trial_app(project: Path) -> None:
    """Add tasks that record what they did, fail, sleep and print."""
    files = {"models.py": TRIAL_MODELS, "tasks.py": TRIAL_TASKS, "views.py": TRIAL_VIEWS}
    routes = {"trial/enqueue/": "enqueue", "trial/sleep/": "sleep"}
    add_app(project, "trial", {n: textwrap.dedent(c) for n, c in files.items()}, routes)


def replace_once(file: Path, old: str, new: str) -> None:
    """Replace a text that stands in a file once.

    Args:
        file: of a project that may be changed.
        old: the text.
        new: what comes in its place.

    Raises:
        AssertionError: it does not stand there, or more than once.
    """
    text = file.read_text("utf-8")
    assert text.count(old) == 1, f"{file} has no single {old!r}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def quicken_alerts(project: Path) -> None:
    """Let failures of one kind be told of after a few seconds, so that nobody waits a minute."""
    failures = project / "apps" / "operations" / "failures.py"
    replace_once(failures, "GROUPING_TIME = 60\n", "GROUPING_TIME = 3\n")


def quicken_schedule(project: Path) -> None:
    """Let the schedule's heartbeat beat every few seconds, and add a task that does the same.

    Where the hosting's cron sends tasks, only add a task of each minute.
    """
    schedule = project / project.name / "schedule.py"
    if not (project / "apps" / "operations" / "beat.py").exists():
        replace_once(schedule, "SCHEDULE = (\n", f"SCHEDULE = (\n{CRON_TICK}")
        [file] = [name for name in CRON_FILES if (project / name).exists()]
        place, entry = CRON_FILES[file]
        replace_once(project / file, place, place + entry)
        return
    text = schedule.read_text("utf-8")
    quick = text.replace("timedelta(minutes=1)", f"timedelta(seconds={TICK_SECONDS})")
    assert quick != text, "the schedule has no entry to quicken"
    schedule.write_text(quick.replace("SCHEDULE = (\n", f"SCHEDULE = (\n{TICK}"), encoding="utf-8")


def quicken_presence(project: Path) -> None:
    """Let two beats be noticed, and told of, after a few seconds instead of minutes."""
    operations = project / "apps" / "operations"
    replace_once(operations / "presence.py", "INTERVAL = 10.0\n", "INTERVAL = 1.0\n")
    replace_once(operations / "presence.py", "timedelta(minutes=3)", "timedelta(seconds=5)")
    replace_once(operations / "watch.py", "FIRST_LOOK = 180.0\n", "FIRST_LOOK = 1.0\n")
    replace_once(operations / "watch.py", "INTERVAL = 60.0\n", "INTERVAL = 1.0\n")
