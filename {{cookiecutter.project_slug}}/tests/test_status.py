"""The page that shows the staff how the service does."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import current_app
from celery.schedules import crontab, schedule
from django.conf import settings
from django.contrib.auth.models import Permission
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
{%- if cookiecutter.scheduler == "database" %}
from django_celery_beat.models import CrontabSchedule
from django_celery_beat.models import PeriodicTask as Row
{%- endif %}

from apps.accounts.models import User
from apps.operations import status, status_pass, views
from apps.operations.background import answer, begin
from apps.operations.checks import Result
from apps.operations.models import FailedMessage, FailedTask, ScheduledRun
from apps.operations.status import RECENT, LatestHealth
from apps.operations.workers import RunningTask, RunningWorker

from .conftest import at_once

WELL = [Result("database"), Result("broker")]
ILL = [
    Result("migrations", skipped="database"),
    Result("broker"),
    Result("database", ["shop at db does not answer.", "is full."]),
]
WORKER = RunningWorker(
    "celery@one",
    version=settings.VERSION,
    settings=settings.SETTINGS_MODULE,
    queues=("default", "maintenance"),
    concurrency=2,
    clock=0.3,
    tasks=(),
)
OTHER_WORKER = RunningWorker(
    "celery@two",
    version="0.0.1",
    settings="other.settings",
    queues=("default",),
    concurrency=1,
    clock=-90.0,
    tasks=(RunningTask("apps.shop.tasks.pay", "task-1", datetime(2026, 1, 1, tzinfo=UTC)),),
)


def refuse(*_: object) -> None:
    """Be a service that is not there."""
    raise OperationalError("refused by the test")


@pytest.fixture(autouse=True)
def _fresh_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "_health", LatestHealth())
    for module in (views, status):
        monkeypatch.setattr(module, "begin", at_once)
    find(monkeypatch, WELL)


def find(monkeypatch: pytest.MonkeyPatch, results: list[Result]) -> None:
    """Let the checks have these results."""
    monkeypatch.setattr(status, "run_checks", lambda patience: results)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[RunningWorker]:
    """The workers that answer, which a test may change; tasks go to them."""
    answered = [WORKER, OTHER_WORKER]
    monkeypatch.setitem(current_app.conf, "task_always_eager", False)
    monkeypatch.setattr(status, "running_workers", lambda: answered)
    monkeypatch.setattr(status, "waiting_tasks", lambda: {"default": 42, "notifications": 0})
    return answered


def words(client: Client, path: str = "/status/") -> str:
    """Return the page with each row of white space as one blank."""
    response = client.get(path)
    assert response.status_code == 200
    return " ".join(response.text.split())


@pytest.mark.django_db
def test_the_page_is_for_staff(client: Client) -> None:
    login = "/accounts/login/?next=/status/%3Frefresh%3Doff"
    assert client.get("/status/?refresh=off").headers["Location"] == login
    user = User.objects.create_user("somebody")
    client.force_login(user)
    assert client.get("/status/?refresh=off").headers["Location"] == login
    assert "Status" not in client.get("/").text
    user.is_staff = True
    user.save()
    assert "All is well" in words(client)
    assert 'href="/status/"' in client.get("/").text


@pytest.mark.django_db
def test_the_page_is_kept_nowhere_and_refreshes_unless_told_not_to(admin_client: Client) -> None:
    response = admin_client.get("/status/")
    assert "no-store" in response.headers["Cache-Control"]
    assert response.headers["Refresh"] == "30"
    assert "Pause refreshing" in response.text
    response = admin_client.get("/status/?refresh=off")
    assert "Refresh" not in response.headers
    assert "Resume refreshing" in response.text


@pytest.mark.django_db
def test_the_verdict_comes_first_and_problems_before_the_rest(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(monkeypatch, ILL)
    page = words(admin_client)
    parts = [
        "<title>2 problems · Status",
        "<h1>2 problems</h1>",
        "<strong>database</strong>",
        "shop at db does not answer.",
        "is full.",
        "<strong>migrations</strong>",
        "database must pass first.",
        '<span class="state">OK</span> broker',
    ]
    assert sorted(parts, key=page.index) == parts


@pytest.mark.django_db
def test_without_workers_the_page_says_that_tasks_run_at_once(admin_client: Client) -> None:
    page = words(admin_client)
    assert "Tasks run at once here, inside the request: nothing waits." in page
    assert "There are none, and none are needed." in page
    assert "what sends these tasks, and there is none here" in page


@pytest.mark.django_db
def test_queues_and_workers_are_shown(admin_client: Client, workers: list[RunningWorker]) -> None:
    page = words(admin_client)
    assert "<td>42</td> <td>celery@one, celery@two</td>" in page
    assert "<td>0</td> <td>nobody</td>" in page
    assert page.count('<span class="warn">not that of this site') == 1
    assert page.count("not those of this site") == 1
    assert 'other.settings <span class="warn">not those of this site' in page
    assert page.count("seconds ahead of this site") == 1
    assert "apps.shop.tasks.pay" in page
    assert page.count("Runs nothing now.") == 1
    workers.clear()
    views._health = LatestHealth()
    assert "None answered." in words(admin_client)


@pytest.mark.django_db
@pytest.mark.parametrize("silent", ["running_workers", "waiting_tasks"])
@pytest.mark.usefixtures("workers")
def test_a_broker_that_does_not_answer_is_told(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    monkeypatch.setattr(status, silent, refuse)
    page = words(admin_client)
    if silent == "running_workers":
        assert "so nobody could be asked" in page
        assert "<td>42</td> <td>unknown</td>" in page
    else:
        assert "<p>The broker does not answer.</p>" in page


def test_many_who_look_at_once_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    health = LatestHealth()
    first = health.get()
    assert health.get() is first
    monkeypatch.setattr(status, "LONGEST_AGE", -1.0)
    assert health.get() is not first


@pytest.mark.django_db
@pytest.mark.usefixtures("workers")
def test_the_schedule_is_shown_with_last_and_next_run(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {
        "late": schedule(timedelta(minutes=1)),
        "new": crontab(hour="3", minute="30", day_of_week="1"),
    }
    monkeypatch.setattr(status, "current_schedule", lambda: entries)
    began = timezone.now() - timedelta(minutes=10)
    ScheduledRun.objects.create(name="late", schedule="any", expected_since=began, started_at=began)
    page = words(admin_client)
    assert page.index("every 1 minute") < page.index("30 3 * * 1")
    assert "10 minutes ago" in page
    assert page.count('<span class="warn">due</span>') == 1
    assert "never" in page
    monkeypatch.setattr(status, "current_schedule", dict)
    assert "Nothing runs by itself." in words(admin_client)
{%- if cookiecutter.scheduler == "database" %}


@pytest.mark.django_db
@pytest.mark.usefixtures("workers")
def test_the_entries_of_the_database_are_shown_and_those_that_are_switched_off(
    admin_client: Client,
) -> None:
    when = CrontabSchedule.objects.create(minute="15", hour="4", day_of_month="2")
    for name, enabled in (("report", True), ("bill", False), ("audit", False)):
        Row.objects.create(name=name, task="any", crontab=when, enabled=enabled)
    page = words(admin_client)
    assert "report <small>15 4 2 * *</small>" in page
    assert "Switched off: audit, bill." in page
{%- endif %}


def fail_before(minutes: int, **values: Any) -> FailedTask:
    """Record a failure of a task that exists."""
    return FailedTask.objects.create(
        **{
            "task": "apps.operations.tasks.record_heartbeat",
            "task_id": f"task-{minutes}",
            "reason": "ValueError",
            "failed_at": timezone.now() - timedelta(minutes=minutes),
            **values,
        }
    )


@pytest.mark.django_db
def test_failures_are_shown_with_what_can_be_done(admin_client: Client) -> None:
    assert "No task has failed for good" in words(admin_client)
    told = fail_before(1, detail="example.com said 500.", attempts=6, traceback="line 1\nKeyError")
    FailedMessage.objects.create(failure=told, content="private")
    fail_before(2, attempts=1, not_kept="It holds a secret.")
    fail_before(3, retried_at=timezone.now())
    page = words(admin_client)
    assert "All 3 in the last 30 days." in page
    assert "<strong>ValueError</strong>: example.com said 500." in page
    assert "after 6 attempts" in page
    assert "after 1 attempt<" in page
    assert "<pre>line 1 KeyError</pre>" in page
    assert page.count("/retry/") == 1
    assert f'action="/status/failures/{told.pk}/retry/"' in page
    assert "Can't be retried. It holds a secret." in page
    assert page.count("Sent again <time") == 1
    assert "private" not in page
    assert 'name="refresh" value="off"' in words(admin_client, "/status/?refresh=off")


@pytest.mark.django_db
def test_staff_see_failures_and_the_button_if_they_have_the_permission(client: Client) -> None:
    FailedMessage.objects.create(failure=fail_before(1, traceback="line 1"), content="private")
    user = User.objects.create_user("somebody", is_staff=True)
    client.force_login(user)
    page = words(client)
    assert "you need the permission <em>Can view failed task</em>" in page
    assert "ValueError" not in page
    assert "line 1" not in page
    user.user_permissions.add(Permission.objects.get(codename="view_failedtask"))
    page = words(client)
    assert "ValueError" in page
    assert "/retry/" not in page
    user.user_permissions.set([Permission.objects.get(codename="change_failedtask")])
    assert "/retry/" in words(client)


@pytest.mark.django_db
def test_the_last_failures_are_shown_and_all_are_counted(admin_client: Client) -> None:
    for minutes in range(RECENT + 2):
        fail_before(minutes)
    page = words(admin_client)
    assert f"The last {RECENT} of {RECENT + 2} in the last 30 days." in page
    assert "Task id task-0<" in page
    assert f"Task id task-{RECENT}<" not in page


@pytest.mark.django_db
def test_a_database_that_tells_who_asks_and_no_more_is_told(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "read_records", refuse)
    assert words(admin_client).count("<p>The database does not answer.</p>") == 2


def be_without_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the database not answer from now on."""
    monkeypatch.setattr(views, "ping_database", refuse)
    find(monkeypatch, ILL)
    views._health = LatestHealth()


@pytest.mark.django_db
def test_without_a_database_staff_that_was_here_sees_the_health_alone(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    cookie = admin_client.get("/status/").cookies[status_pass.NAME]
    assert (cookie["path"], cookie["samesite"], cookie["max-age"]) == ("/status/", "Lax", 43200)
    assert cookie["httponly"]
    key = admin_client.session.session_key
    assert key is not None
    assert key not in cookie.value
    be_without_database(monkeypatch)
    with django_assert_num_queries(0):
        page = words(admin_client)
    assert "2 problems" in page
    assert "can't be shown" in page
    assert "Failed tasks" not in page
    assert "Log out" not in page


@pytest.mark.django_db
@pytest.mark.parametrize("case", ["stranger", "logged out", "other session", "too old", "forged"])
def test_without_a_database_nobody_else_sees_anything(
    admin_client: Client, client: Client, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    given = admin_client.get("/status/").cookies[status_pass.NAME].value
    visitor = admin_client
    if case == "stranger":
        visitor = client
    elif case == "logged out":
        admin_client.post("/accounts/logout/")
        assert status_pass.NAME in admin_client.cookies
    elif case == "other session":
        visitor = client
        client.force_login(User.objects.create_user("somebody", is_staff=True))
        client.cookies[status_pass.NAME] = given
    elif case == "too old":
        later = time.time() + status_pass.LIFETIME.total_seconds() + 1
        monkeypatch.setattr("time.time", lambda: later)
    else:
        admin_client.cookies[status_pass.NAME] = f"{given}x"
    be_without_database(monkeypatch)
    response = visitor.get("/status/")
    assert response.status_code == 503
    assert response.text == "The database does not answer, so nobody can be let in.\n"
    assert "no-store" in response.headers["Cache-Control"]


@pytest.mark.django_db
def test_whoever_is_no_longer_staff_loses_the_pass(admin_client: Client) -> None:
    admin_client.get("/status/")
    User.objects.update(is_staff=False)
    cookie = admin_client.get("/status/").cookies[status_pass.NAME]
    assert (cookie.value, cookie["max-age"], cookie["path"]) == ("", 0, "/status/")


def test_an_answer_is_waited_for_as_long_as_one_wants_to(
    caplog: pytest.LogCaptureFixture,
) -> None:
    end = threading.Event()
    soon = time.monotonic() + 10
    assert answer(begin(lambda: 42), soon, "a question") == 42
    assert answer(begin(refuse), soon, "a riddle") is None
    assert "a riddle: no answer: OperationalError" in caplog.text
    slow = begin(end.wait)
    assert answer(slow, time.monotonic(), "a slow one") is None
    assert "a slow one: no answer: TimeoutError" in caplog.text
    end.set()
    assert answer(slow, soon, "a slow one")
