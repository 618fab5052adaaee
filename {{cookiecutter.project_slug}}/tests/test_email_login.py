"""When doctor asks the e-mail provider, and what it tells."""

from collections.abc import Iterator

import pytest

from apps.notifications.errors import PermanentDeliveryError, TemporaryDeliveryError
from apps.operations.checks import email


class Provider:
    """Answers as it is told, and counts how often it was asked."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0

    def __call__(self) -> None:
        self.asked += 1
        if self.error:
            raise self.error


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    provider = Provider()
    monkeypatch.setattr(email, "check_login", provider)
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    email._login_problems.cache_clear()
    yield provider
    email._login_problems.cache_clear()


def test_an_accepted_login_is_asked_for_once_in_a_while(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert email.check_email() == email.check_email() == []
    assert provider.asked == 1
    monkeypatch.setattr("time.monotonic", lambda: email.LOGIN_INTERVAL)
    assert email.check_email() == []
    assert provider.asked == 2


def test_a_refused_login_is_told_again_and_not_tried_again(provider: Provider) -> None:
    provider.error = PermanentDeliveryError("refused")
    assert email.check_email() == email.check_email() == ["refused"]
    assert provider.asked == 1


def test_an_outage_is_over_as_soon_as_the_provider_answers(provider: Provider) -> None:
    provider.error = TemporaryDeliveryError("away")
    assert email.check_email() == ["away"]
    provider.error = None
    assert email.check_email() == []
    assert provider.asked == 2
