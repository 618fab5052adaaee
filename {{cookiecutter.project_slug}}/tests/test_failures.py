"""Tasks that fail for good: what is kept of them, and the mails about them."""

import logging
import time
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app, shared_task
from django.core import mail
from django.core.cache import cache
from django.db import OperationalError
from django.utils import timezone
from kombu import Message
from pytest_django import Settings

from apps.notifications import transport
from apps.notifications.errors import PermanentDeliveryError, TemporaryDeliveryError
from apps.operations import alerts, failures, reports
from apps.operations.alerts import PAUSE
from apps.operations.failures import (
    GROUPING_TIME,
    argument_names,
    report_unknown_task,
    report_unreadable,
    traceback_without_values,
)
from apps.operations.models import FailedTask, SentAlert
from apps.operations.overdue import OverdueEntry
from apps.operations.tasks import (
    record_discarded_message,
    send_failure_alert,
    send_failure_digest,
)

RECIPIENT = "operator@example.com"


@shared_task
def divide(dividend: int, divisor: int = 1) -> float:
    """Be a task that may fail."""
    return dividend / divisor


@shared_task(bind=True, max_retries=2)
def deliver(self: Any, host: str) -> None:
    """Be a task that tries again before it gives up."""
    error = TemporaryDeliveryError(f"{host} answered 503.")
    raise self.retry(exc=error, countdown=1)


@shared_task
def be_refused(secret: str) -> None:
    """Be a task whose error tells of a host."""
    raise PermanentDeliveryError("hooks.example.com answered 410.")


@pytest.fixture(autouse=True)
def _recipient(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ALERT_RECIPIENTS = [RECIPIENT]
    monkeypatch.setitem(current_app.conf, "task_eager_propagates", False)
    alerts._memory.clear()


@pytest.fixture
def enqueued(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, str], float]]:
    """The alerts that a worker would send later, with their delay in seconds."""
    calls: list[tuple[tuple[str, str], float]] = []
    monkeypatch.setattr(
        send_failure_alert, "apply_async", lambda args, countdown: calls.append((args, countdown))
    )
    return calls


def refuse(*_: Any, **__: Any) -> None:
    """Be a service that is not there."""
    raise OperationalError("refused by the test")


def fail_to_send(*_: object) -> None:
    """Be a mail server that is not there."""
    raise ConnectionRefusedError


@pytest.mark.django_db
def test_a_task_that_fails_names_its_arguments_but_not_their_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    divide.apply((4242,), {"divisor": 0}, task_id="task-1")
    [record] = [record for record in caplog.records if record.name == "apps.operations.failures"]
    assert record.argument_names == ["dividend", "divisor"]  # type: ignore[attr-defined]
    assert record.attempts == 1  # type: ignore[attr-defined]
    assert "4242" not in record.getMessage()
    failure = FailedTask.objects.get()
    assert str(failure) == "tests.test_failures.divide[task-1]"
    assert failure.reason == "ZeroDivisionError"
    assert failure.argument_names == ["dividend", "divisor"]
    assert "in divide" in failure.traceback
    assert "by zero" not in failure.traceback
    [alert] = mail.outbox
    assert alert.to == [RECIPIENT]
    assert alert.subject.endswith("tests.test_failures.divide failed: ZeroDivisionError")
    assert "failed for good once with ZeroDivisionError" in alert.body
    assert "Arguments: dividend, divisor" in alert.body
    assert "Task ids: task-1\n" in alert.body
    assert "4242" not in alert.body


def test_arguments_that_do_not_fit_are_named_by_position() -> None:
    assert argument_names(divide, (1, 2, 3), {"more": 4}) == ["#1", "#2", "#3", "more"]


def test_a_traceback_names_the_causes_and_quotes_nobody() -> None:
    def fail() -> None:
        try:
            raise KeyError("private")
        except KeyError as error:
            raise ValueError("also private") from error

    with pytest.raises(ValueError, match="also private") as caught:
        fail()
    text = traceback_without_values(caught.value)
    assert text.index("KeyError\n") < text.index("ValueError\n")
    assert text.count("in fail") == 2
    assert "'private'" not in text


@pytest.mark.django_db
def test_many_failures_are_one_mail_with_their_count(
    enqueued: list[tuple[tuple[str, str], float]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    for number in range(100):
        divide.apply((1, 0), task_id=f"task-{number}")
    assert enqueued == [(("tests.test_failures.divide", "ZeroDivisionError"), GROUPING_TIME)]
    assert mail.outbox == []
    for _ in range(2):
        send_failure_alert(*enqueued[0][0])
    [alert] = mail.outbox
    assert alert.subject.endswith("divide failed 100 times: ZeroDivisionError")
    assert "task-99, task-98, task-97, task-96, task-95 and 95 more" in alert.body
    assert "First: " in alert.body
    assert "Last: " in alert.body


@pytest.mark.django_db
def test_failures_of_the_quiet_time_are_in_the_next_mail() -> None:
    for _ in range(3):
        divide.apply((1, 0))
    assert len(mail.outbox) == 1
    cache.clear()  # the quiet time is over
    divide.apply((1, 0))
    assert "failed 3 times" in mail.outbox[1].subject


@pytest.mark.django_db
def test_a_delivery_that_was_given_up_tells_host_attempts_and_last_status(
    caplog: pytest.LogCaptureFixture, enqueued: list[tuple[tuple[str, str], float]]
) -> None:
    for host in ("a.example.com", "b.example.com", "a.example.com"):
        deliver.apply((host,))
    line = "failed for good: TemporaryDeliveryError: a.example.com answered 503."
    [record, *_] = [record for record in caplog.records if line in record.getMessage()]
    assert record.attempts == 3  # type: ignore[attr-defined]
    send_failure_alert(*enqueued[0][0])
    [alert] = mail.outbox
    assert "2 x a.example.com answered 503. (attempts: 3)\n1 x b.example.com" in alert.body


@pytest.mark.django_db
def test_a_delivery_that_is_refused_tells_the_status_though_nothing_can_be_enqueued(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(send_failure_alert, "apply_async", refuse)
    for _ in range(3):
        be_refused.apply(("private",))
    assert "an alert could not be enqueued: OperationalError" in caplog.text
    [alert] = mail.outbox
    assert "1 x hooks.example.com answered 410. (attempts: 1)" in alert.body
    assert "private" not in alert.body
    assert FailedTask.objects.filter(reported_at=None).count() == 3


@pytest.mark.django_db
def test_without_a_database_a_failure_is_logged_and_alerted_at_once(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    enqueued: list[tuple[tuple[str, str], float]],
) -> None:
    monkeypatch.setattr(failures, "ping_database", refuse)
    for _ in range(3):
        divide.apply((1, 0))
    assert "a failure could not be recorded: OperationalError" in caplog.text
    assert len(mail.outbox) == 1
    assert enqueued == []


@pytest.mark.django_db
def test_attempts_are_not_told_of_a_task_whose_process_died() -> None:
    failures.report_failure(
        sender=be_refused,
        task_id="1",
        exception=PermanentDeliveryError("killed"),
        args=(),
        kwargs={},
    )
    assert FailedTask.objects.get().attempts is None
    assert "1 x killed\n" in mail.outbox[0].body


@pytest.mark.django_db
@pytest.mark.parametrize("fault", ["broker", "none"])
def test_a_failure_that_could_not_be_told_is_told_with_the_next(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    with monkeypatch.context() as mail_server_down:
        mail_server_down.setattr(transport, "send", fail_to_send)
        if fault == "broker":
            mail_server_down.setattr(send_failure_alert, "apply_async", refuse)
        divide.apply((1, 0))
    divide.apply((1, 0))
    assert mail.outbox == []
    later = time.time() + PAUSE + 1
    monkeypatch.setattr("time.time", lambda: later)
    divide.apply((1, 0))
    [alert] = mail.outbox
    assert "divide failed 3 times" in alert.subject
    assert not FailedTask.objects.filter(task=divide.name, reported_at=None).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("task", [send_failure_alert, send_failure_digest])
def test_a_mail_that_meets_a_transient_error_is_sent_with_the_next_try(
    monkeypatch: pytest.MonkeyPatch, task: Any
) -> None:
    fail_before(1, told=False)
    errors = iter([ConnectionRefusedError(), TimeoutError()])
    send = transport.send

    def recover(*args: Any) -> None:
        for error in errors:
            raise error
        send(*args)

    monkeypatch.setattr(transport, "send", recover)
    task.apply(("apps.shop.tasks.pay", "ValueError") if task is send_failure_alert else ())
    assert len(mail.outbox) == 1
    assert FailedTask.objects.get().reported_at


@pytest.mark.django_db
@pytest.mark.parametrize("task", [send_failure_alert, send_failure_digest])
def test_what_was_to_be_told_by_a_worker_that_was_killed_is_told_by_another(
    monkeypatch: pytest.MonkeyPatch, task: Any
) -> None:
    def be_killed(*_: object) -> None:
        raise SystemExit

    fail_before(1, told=False)
    args = ("apps.shop.tasks.pay", "ValueError") if task is send_failure_alert else ()
    with monkeypatch.context() as killed:
        killed.setattr(transport, "send", be_killed)
        with pytest.raises(SystemExit):
            task(*args)
    task(*args)
    assert len(mail.outbox) == 1
    assert FailedTask.objects.get().reported_at


@pytest.mark.django_db
@pytest.mark.parametrize("task", [send_failure_alert, send_failure_digest])
def test_what_fails_while_a_mail_is_sent_is_left_for_the_next(
    monkeypatch: pytest.MonkeyPatch, task: Any
) -> None:
    fail_before(1, told=False)
    monkeypatch.setattr(transport, "send", lambda *_: fail_before(0, told=False))
    task(*("apps.shop.tasks.pay", "ValueError") if task is send_failure_alert else ())
    assert FailedTask.objects.filter(reported_at=None).count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("task", [send_failure_alert, send_failure_digest])
def test_an_alert_that_fails_does_not_alert(monkeypatch: pytest.MonkeyPatch, task: Any) -> None:
    monkeypatch.setattr(reports, "tell_of_failures", refuse)
    monkeypatch.setattr(reports, "send_digest", refuse)
    task.apply(("a", "b") if task is send_failure_alert else ())
    assert FailedTask.objects.get().task == task.name
    assert mail.outbox == []


@pytest.mark.django_db
def test_failures_are_recorded_though_nobody_is_alerted(settings: Settings) -> None:
    settings.ALERT_RECIPIENTS = []
    divide.apply((1, 0))
    send_failure_digest.delay()
    assert FailedTask.objects.get().reported_at is None


@pytest.mark.django_db
def test_messages_for_unknown_tasks_are_one_mail_with_their_names(
    enqueued: list[tuple[tuple[str, str], float]], caplog: pytest.LogCaptureFixture
) -> None:
    message = Message(headers={"request_id": "of-the-request"})
    for number in range(3):
        report_unknown_task(message=message, name="apps.gone.tasks.gone", id=str(number))
    report_unknown_task(message=message, name="\0" * 1000, id="4")
    [record, *_] = [record for record in caplog.records if "is unknown" in record.message]
    assert vars(record)["request_id"] == "of-the-request"
    assert "task apps.gone.tasks.gone[1] is unknown to this worker" in caplog.text
    assert enqueued == [(("discarded message", "unknown task"), GROUPING_TIME)]
    send_failure_alert(*enqueued[0][0])
    [alert] = mail.outbox
    assert alert.subject.endswith("4 discarded messages: unknown task")
    assert "took a message and discarded it 4 times: unknown task" in alert.body
    assert "3 x apps.gone.tasks.gone\n" in alert.body
    assert f"1 x {'?' * 100}\n" in alert.body
    assert "tracebacks" not in alert.body


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("message", "error", "task_id", "detail"),
    [
        (Message(headers={"id": "1"}), ValueError("private"), "1", "ValueError"),
        (Message(headers={}), None, "none", "no task"),
        (None, UnicodeError("private"), "none", "UnicodeError"),
    ],
    ids=["message", "no task", "no message"],
)
def test_a_message_that_can_not_be_read_is_told_of_without_its_contents(
    caplog: pytest.LogCaptureFixture,
    message: Message | None,
    error: Exception | None,
    task_id: str,
    detail: str,
) -> None:
    report_unreadable(message=message, exc=error)
    failure = FailedTask.objects.get()
    assert (failure.task, failure.reason) == ("discarded message", "unreadable")
    assert (failure.task_id, failure.detail) == (task_id, detail)
    assert f"a message could not be read and was discarded: {detail}" in caplog.text
    assert mail.outbox[0].subject.endswith("1 discarded message: unreadable")
    assert "private" not in caplog.text + mail.outbox[0].body


@pytest.mark.django_db
def test_a_discarded_message_is_told_of_though_the_broker_takes_no_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record_discarded_message, "apply_async", refuse)
    report_unreadable(message=None, exc=ValueError())
    assert not FailedTask.objects.exists()
    assert mail.outbox[0].subject.endswith("1 discarded message: unreadable")


def fail_before(hours: float, reason: str = "ValueError", told: bool = True) -> None:
    """Record a failure that was some hours ago."""
    when = timezone.now() - timedelta(hours=hours)
    FailedTask.objects.create(
        task="apps.shop.tasks.pay",
        task_id="1",
        reason=reason,
        failed_at=when,
        reported_at=when if told else None,
    )


def send_digest_before(hours: float) -> None:
    """Record that a digest was sent some hours ago."""
    when = timezone.now() - timedelta(hours=hours)
    SentAlert.objects.create(key=reports.DIGEST_KEY, sent_at=when)


@pytest.mark.django_db
def test_no_digest_is_sent_when_nothing_failed_since_the_last_one() -> None:
    fail_before(25)
    send_digest_before(24)
    send_failure_digest.delay()
    assert mail.outbox == []


@pytest.mark.django_db
@pytest.mark.parametrize("period", [1, 24, 7 * 24])
def test_the_digest_counts_what_failed_since_the_last_and_what_nobody_was_told_of(
    period: float,
) -> None:
    send_digest_before(period)
    for share in (0.1, 0.5, 0.9):
        fail_before(share * period)
    fail_before(1.1 * period)
    fail_before(1.5 * period, "KeyError", told=False)
    for _ in range(2):
        send_failure_digest.delay()
    [digest] = mail.outbox
    lines = [line for line in digest.body.splitlines() if line.startswith("- ")]
    assert [line.partition(" (")[0] for line in lines] == [
        "- 3 x apps.shop.tasks.pay: ValueError",
        "- 1 x apps.shop.tasks.pay: KeyError",
    ]
    assert "Overdue" not in digest.body
    assert not FailedTask.objects.filter(reported_at=None).exists()


@pytest.mark.django_db
def test_the_first_digest_counts_all_that_is_known() -> None:
    fail_before(20 * 24)
    send_failure_digest.delay()
    assert "- 1 x apps.shop.tasks.pay: ValueError" in mail.outbox[0].body


@pytest.mark.django_db
def test_the_digest_names_overdue_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    late = OverdueEntry("report", due=timezone.now(), last_run=None)
    monkeypatch.setattr(reports, "overdue_entries", lambda: [late])
    send_failure_digest.delay()
    assert "Overdue:\n- report was due at" in mail.outbox[0].body


@pytest.mark.django_db
def test_what_a_digest_could_not_tell_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_before(30, told=False)
    with monkeypatch.context() as mail_server_down:
        mail_server_down.setattr(transport, "send", fail_to_send)
        send_failure_digest.delay()
    send_failure_digest.delay()
    assert len(mail.outbox) == 1
