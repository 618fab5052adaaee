"""When the other side asked to be tried again, and when the tasks try by themselves."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.canvas import Signature
from celery.exceptions import Reject
from django.utils.http import http_date
from kombu.exceptions import OperationalError

from apps.notifications import tasks
from apps.notifications.errors import TemporaryDeliveryError
from apps.notifications.retries import parse_retry_after


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7), ("", None), ("soon", None), ("-1", None), ("9" * 10, None)]
)
def test_seconds_are_read(value: str, seconds: int | None) -> None:
    assert parse_retry_after(value) == seconds


def test_date_is_read_as_the_time_until_then() -> None:
    now = datetime.now(UTC)
    later, earlier = (now + timedelta(minutes=minutes) for minutes in (10, -10))

    assert parse_retry_after(http_date(later.timestamp())) in range(595, 601)
    assert parse_retry_after(http_date(earlier.timestamp())) == 0


def test_delays_grow_and_stay_far_below_the_visibility_timeout() -> None:
    longest = [max(tasks.backoff(retries) for _ in range(300)) for retries in range(20)]

    assert longest[0] <= 30 < longest[3] <= 240 < longest[5] <= 900
    assert max(longest) <= 900
    assert len({tasks.backoff(4) for _ in range(50)}) > 10


def test_a_retry_that_the_broker_does_not_take_leaves_the_message_on_its_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(Signature, "apply_async", refuse)
    # As a worker calls it.
    tasks.send_email.push_request(called_directly=False, is_eager=False, args=(), kwargs={})
    try:
        with pytest.raises(Reject) as rejection:
            tasks.try_again(tasks.send_email, TemporaryDeliveryError("busy"), 1)
    finally:
        tasks.send_email.pop_request()

    reason, requeue = rejection.value.args
    assert isinstance(reason, OperationalError)
    assert requeue
