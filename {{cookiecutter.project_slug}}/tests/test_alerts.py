"""Alerts: who is told, and how often."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.utils import timezone
from pytest_django import Settings

from apps.notifications import transport
from apps.operations import alerts
from apps.operations.alerts import PAUSE, QUIET_TIME, send_alert, send_now
from apps.operations.models import FailedTask, Heartbeat, SentAlert
from apps.operations.tasks import delete_old_failures

RECIPIENT = "operator@example.com"


@pytest.fixture(autouse=True)
def _recipient(settings: Settings) -> None:
    settings.ALERT_RECIPIENTS = [RECIPIENT]
    alerts._memory.clear()


def refuse(*_: Any, **__: Any) -> None:
    """Be a service that is not there."""
    raise ConnectionError("refused by the test")


def fail_to_send(*_: object) -> None:
    """Fail with words that quote a recipient."""
    raise RuntimeError(f"no mail for {RECIPIENT}")


def test_nobody_is_alerted_without_recipients(settings: Settings) -> None:
    settings.ALERT_RECIPIENTS = []
    assert not send_alert("subject", "body")
    assert send_now("subject", "body")
    assert mail.outbox == []


def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the cache."""
    monkeypatch.setattr(cache, "add", refuse)


def no_cache_and_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop both."""
    no_cache(monkeypatch)
    monkeypatch.setattr(alerts, "ping_database", refuse)


def all_there(_: pytest.MonkeyPatch) -> None:
    """Stop nothing."""


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let caches and the database's rows be older."""
    later = time.time() + seconds
    monkeypatch.setattr("time.time", lambda: later)
    then = timezone.now() + timedelta(seconds=seconds)
    monkeypatch.setattr(timezone, "now", lambda: then)


@pytest.mark.django_db
@pytest.mark.parametrize("fault", [all_there, no_cache, no_cache_and_no_database])
def test_the_same_alert_is_sent_once_whatever_is_down(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    fault(monkeypatch)
    assert [send_alert("subject", "body") for _ in range(3)] == [True, False, False]
    assert send_alert("another subject", "body")
    assert [message.to for message in mail.outbox] == [[RECIPIENT]] * 2


@pytest.mark.django_db
@pytest.mark.parametrize("fault", [all_there, no_cache_and_no_database])
def test_an_alert_is_sent_again_after_the_quiet_time(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    fault(monkeypatch)
    assert send_alert("subject", "body")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + QUIET_TIME - 5)
    assert not send_alert("subject", "body")
    monkeypatch.setattr(time, "time", lambda: now + QUIET_TIME + 5)
    assert send_alert("subject", "body")


@pytest.mark.django_db
def test_without_a_cache_an_alert_is_sent_again_after_the_quiet_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_cache(monkeypatch)
    assert send_alert("subject", "body")
    assert len(str(SentAlert.objects.get())) == 64
    SentAlert.objects.update(sent_at=timezone.now() - timedelta(seconds=QUIET_TIME))
    assert [send_alert("subject", "body") for _ in range(2)] == [True, False]


@pytest.mark.django_db
@pytest.mark.parametrize("fault", [all_there, no_cache, no_cache_and_no_database])
def test_an_alert_that_could_not_be_sent_is_logged_and_tried_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[pytest.MonkeyPatch], None],
) -> None:
    fault(monkeypatch)
    with monkeypatch.context() as mail_server_down:
        mail_server_down.setattr(transport, "send", fail_to_send)
        for _ in range(3):
            assert not send_alert("subject", "body")
    assert caplog.text.count("'subject' could not be sent: RuntimeError") == 1
    assert RECIPIENT not in caplog.text
    assert not send_alert("subject", "body")
    pass_time(monkeypatch, PAUSE + 1)
    assert [send_alert("subject", "body") for _ in range(2)] == [True, False]


@pytest.mark.django_db
def test_what_was_long_ago_is_deleted() -> None:
    now = timezone.now()
    for name, days in (("old", 31), ("new", 29)):
        then = now - timedelta(days=days)
        FailedTask.objects.create(task=name, task_id="1", reason="ValueError", failed_at=then)
        SentAlert.objects.create(key=name, sent_at=then)
        Heartbeat.objects.create(name=f"doctor-{name}", seen_at=then)
    Heartbeat.objects.create(name="{{ cookiecutter.__sender }}", seen_at=now - timedelta(days=31))
    delete_old_failures.delay()
    assert str(FailedTask.objects.get()) == "new[1]"
    assert SentAlert.objects.get().key == "new"
    names = Heartbeat.objects.order_by("name").values_list("name", flat=True)
    assert list(names) == ["{{ cookiecutter.__sender }}", "doctor-new"]
