"""Failed tasks that are sent again, and what is kept of them for that."""

from datetime import timedelta
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app, shared_task
from django.contrib import admin
from django.test import Client
from django.utils import timezone
from kombu.exceptions import OperationalError
from kombu.utils import json
from pytest_django import Settings

from apps.accounts.models import User
from apps.operations import retry, status, views
from apps.operations.models import FailedMessage, FailedTask
from apps.operations.request_ids import NAME
from apps.operations.retry import (
    LONGEST_MESSAGE,
    RETENTION,
    NotKeptError,
    NotRetriedError,
    message_to_keep,
    send_again,
)
from apps.operations.status import LatestHealth
from apps.operations.tasks import delete_old_failures

from .conftest import at_once

# What the task below has noted, and whether it works.
runs: list[str] = []
mended = Event()


@shared_task
def note(text: str, **more: Any) -> None:
    """Be a task that works once it was mended."""
    if not mended.is_set():
        raise ValueError(text)
    runs.append(text)


def refuse(*_: object, **__: object) -> None:
    """Be a service that is not there."""
    raise OperationalError("refused by the test")


@pytest.fixture(autouse=True)
def _broken_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    mended.clear()
    runs.clear()
    monkeypatch.setitem(current_app.conf, "task_eager_propagates", False)
    for module in (views, retry, status):
        monkeypatch.setattr(module, "begin", at_once)
    # The page that tells of a retry asks nobody, so no thread works on during the next test.
    monkeypatch.setattr(views, "_health", LatestHealth())
    monkeypatch.setattr(status, "run_checks", lambda patience: [])


@pytest.fixture
def failure() -> FailedTask:
    """Return a failure whose cause was mended."""
    note.apply(("a private text",), task_id="task-1", headers={NAME: "of-the-request"})
    mended.set()
    return FailedTask.objects.get()


def click(client: Client, failure: FailedTask, **fields: str) -> Any:
    """Press the button of a failure."""
    return client.post(f"/status/failures/{failure.pk}/retry/", fields)


def told(client: Client, failure: FailedTask) -> str:
    """Press the button of a failure, and return what the page says then."""
    response = client.post(f"/status/failures/{failure.pk}/retry/", follow=True)
    [message] = response.context["messages"]
    return str(message)


@pytest.mark.django_db
def test_a_retry_sends_the_task_once_with_its_arguments_and_forgets_them(
    admin_client: Client, failure: FailedTask, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert told(admin_client, failure) == "tests.test_retry.note was sent again."
    assert told(admin_client, failure) == "Nothing was sent. It has been sent again already."
    assert runs == ["a private text"]
    assert not FailedMessage.objects.exists()
    failure.refresh_from_db()
    assert failure.retried_at
    assert "tests.test_retry.note[task-1] was sent again as " in caplog.text
    assert "a private text" not in caplog.text


@pytest.mark.django_db
def test_a_paused_page_stays_paused(admin_client: Client, failure: FailedTask) -> None:
    assert click(admin_client, failure, refresh="off").headers["Location"] == "/status/?refresh=off"


@pytest.mark.django_db
def test_of_two_retries_at_the_same_time_one_sends(
    failure: FailedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_overtaken(*_: object, **__: object) -> str:
        FailedMessage.objects.all().delete()
        return ""

    monkeypatch.setattr(retry, "obstacle", be_overtaken)
    with pytest.raises(NotRetriedError, match="sent again already"):
        send_again(failure.pk)
    assert runs == []


@pytest.mark.django_db
def test_a_retry_goes_to_the_same_queue_and_belongs_to_the_same_request(
    failure: FailedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.loads(FailedMessage.objects.get().content)
    content["queue"] = "notifications"
    FailedMessage.objects.update(content=json.dumps(content))
    sent: list[Any] = []

    def send(*args: Any, **options: Any) -> Any:
        sent.append((args, options))
        return SimpleNamespace(id="task-2")

    monkeypatch.setattr(note, "apply_async", send)
    assert send_again(failure.pk) == note.name
    options = {"headers": {NAME: "of-the-request"}, "retry": False, "queue": "notifications"}
    assert sent == [((["a private text"], {}), options)]


@pytest.mark.django_db
def test_a_broker_that_does_not_answer_or_take_the_message_is_told(
    admin_client: Client, failure: FailedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broker_down:
        broker_down.setattr(retry, "ping_broker", refuse)
        assert "The broker does not answer, so nothing was sent" in told(admin_client, failure)
    with monkeypatch.context() as broker_down:
        broker_down.setattr(note, "apply_async", refuse)
        assert told(admin_client, failure) == "It could not be sent: OperationalError."
    assert told(admin_client, failure) == "tests.test_retry.note was sent again."


@pytest.mark.django_db
def test_only_staff_with_the_permission_retries(
    client: Client, failure: FailedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert click(client, failure).headers["Location"] == "/accounts/login/?next=/status/"
    user = User.objects.create_user("somebody", is_staff=True)
    client.force_login(user)
    assert click(client, failure).status_code == 403
    assert client.get(f"/status/failures/{failure.pk}/retry/").status_code == 405
    monkeypatch.setattr(views, "ping_database", refuse)
    assert click(client, failure).status_code == 503
    assert runs == []
    assert Client(enforce_csrf_checks=True).post("/status/failures/1/retry/").status_code == 403


@pytest.mark.django_db
def test_a_failure_that_can_not_be_retried_says_why(
    admin_client: Client, failure: FailedTask
) -> None:
    FailedTask.objects.update(task="apps.gone.tasks.vanish")
    assert "No app has this task any more." in told(admin_client, failure)
    FailedTask.objects.update(task=note.name, failed_at=timezone.now() - RETENTION)
    delete_old_failures()
    assert "kept for 7 days, and then deleted" in told(admin_client, failure)
    FailedTask.objects.update(not_kept="It is private.")
    assert "It is private." in told(admin_client, failure)
    FailedTask.objects.update(task="discarded message")
    assert "It is private." in told(admin_client, failure)
    FailedTask.objects.update(failed_at=timezone.now() - timedelta(days=31))
    delete_old_failures()
    assert told(admin_client, failure) == "This failure is no longer known."


@pytest.mark.django_db
def test_nothing_but_the_retry_shows_what_is_kept(
    admin_client: Client, failure: FailedTask
) -> None:
    assert FailedMessage not in admin.site._registry
    assert "private" not in str(FailedMessage.objects.get())
    for path in (f"{failure.pk}/change/", f"{failure.pk}/delete/"):
        page = admin_client.get(f"/admin/operations/failedtask/{path}")
        assert page.status_code == 200
        assert "a private text" not in page.text
    assert "a private text" not in admin_client.get("/status/").text


LINK = "https://example.com/accounts/reset/MQ/a-token-that-sets-a-password/"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("args", "more", "reason"),
    [
        (("text",), {"password": "secret"}, "holds a password, a token or another secret"),
        (("text",), {"nested": [{"api_key": "secret"}]}, "holds a password"),
        ((f"Set a new password: {LINK}",), {}, "holds a password"),
        (("text", "too", "many", LINK), {}, "holds a password"),
        (("x" * LONGEST_MESSAGE,), {}, "is longer than 256 KiB"),
        ((object(),), {}, "are no JSON"),
    ],
)
def test_a_message_that_is_secret_or_long_is_not_kept(
    args: tuple[Any, ...], more: dict[str, Any], reason: str
) -> None:
    note.apply(args, more)
    assert reason in FailedTask.objects.get().not_kept
    assert not FailedMessage.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("pattern", ["tests.test_retry.note", "tests.*", "*"])
def test_the_settings_can_forbid_to_keep_messages(settings: Settings, pattern: str) -> None:
    settings.TASKS_NOT_KEPT = [pattern]
    note.apply(("text",))
    assert "TASKS_NOT_KEPT" in FailedTask.objects.get().not_kept
    assert not FailedMessage.objects.exists()


@pytest.mark.parametrize("part", ["chain", "chord", "callbacks"])
def test_a_part_of_a_whole_is_not_kept(part: str) -> None:
    request = {"chain": None, "chord": None, "callbacks": None, part: ["something"]}
    task: Any = SimpleNamespace(name="any", request=SimpleNamespace(**request))
    with pytest.raises(NotKeptError, match="part of a chain or chord"):
        message_to_keep(task, (), {}, {})
