"""{{ cookiecutter.__email_name }} reports bounces and complaints, and their addresses get no mail any more."""

import importlib
import logging
import sys
{%- if cookiecutter.email_provider == "mailgun" %}
import time
{%- endif %}
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from anymail.utils import parse_single_address
from django.core import mail
from django.db import OperationalError
from django.db.models import QuerySet
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from apps.accounts.models import User
from apps.notifications import suppression, urls
from apps.notifications.emails import compose
from apps.notifications.errors import PermanentDeliveryError, TemporaryDeliveryError
from apps.notifications.models import SuppressedAddress
from apps.notifications.tasks import send_email

from . import provider

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def verification(settings: Settings) -> None:
    """Know the secret of the reports."""
    settings.ANYMAIL = {**settings.ANYMAIL, **provider.VERIFICATION}


@pytest.fixture
def client() -> Client:
    """Return a client that is no browser: it has no token against forged requests."""
    return Client(enforce_csrf_checks=True)


def suppressed() -> list[tuple[str, str]]:
    return list(SuppressedAddress.objects.values_list("address", "reason"))


@pytest.mark.parametrize("event", provider.BOUNCES)
def test_address_that_bounced_for_good_is_recorded(client: Client, event: Any) -> None:
    assert provider.report(client, event) == 200

    assert suppressed() == [("ann@example.org", "bounce")]


@pytest.mark.parametrize("event", provider.COMPLAINTS)
def test_address_that_complained_is_recorded(client: Client, event: Any) -> None:
    assert provider.report(client, event) == 200

    assert suppressed() == [("ann@example.org", "complaint")]


@pytest.mark.parametrize("event", provider.OTHERS)
def test_anything_else_is_taken_note_of_by_nobody(client: Client, event: Any) -> None:
    assert provider.report(client, event) == 200

    assert suppressed() == []


def test_report_that_comes_twice_is_recorded_once(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        provider.report(client, provider.hard_bounce("ann@example.org"))

    assert len(suppressed()) == 1
    assert caplog.text.count("an address is suppressed: bounced for good") == 1
    assert "ann@" not in caplog.text


def test_forged_report_is_refused(client: Client) -> None:
    status = provider.report(client, provider.hard_bounce("ann@example.org"), forged=True)

    assert status == 400
    assert suppressed() == []


def test_report_without_proof_is_refused(client: Client) -> None:
{%- if cookiecutter.email_provider == "ses" %}
    # Amazon SNS gives its password only when it is asked to.
    assert client.post(provider.WEBHOOK, "{}", "application/json").status_code == 401
{%- else %}
    assert client.post(provider.WEBHOOK, "{}", "application/json").status_code == 400
{%- endif %}
    assert client.get(provider.WEBHOOK).status_code == 405
{%- if cookiecutter.email_provider == "ses" %}


def test_report_of_a_stranger_is_not_even_read(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Authorization": "Basic Z3Vlc3M6Z3Vlc3M="}

    response = client.post(provider.WEBHOOK, "ann@example.org", "text/plain", headers=headers)

    assert response.status_code == 400
    assert "ann@" not in caplog.text
{%- elif cookiecutter.email_provider == "mailgun" %}


def test_signature_is_used_once(client: Client) -> None:
    signature = provider.sign()
    provider.report(client, provider.hard_bounce("ann@example.org"), signature=signature)

    status = provider.report(client, provider.hard_bounce("eve@example.org"), signature=signature)

    assert status == 200
    assert suppressed() == [("ann@example.org", "bounce")]


def test_report_that_could_not_be_recorded_may_come_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = provider.sign()
    event = provider.hard_bounce("ann@example.org")

    def fail(event: Any) -> None:
        raise OperationalError

    with monkeypatch.context() as broken:
        broken.setattr(suppression, "reason_to_suppress", fail)
        with pytest.raises(OperationalError):
            provider.report(client, event, signature=signature)
    provider.report(client, event, signature=signature)

    assert suppressed() == [("ann@example.org", "bounce")]


@pytest.mark.parametrize("days", [-2, 2])
def test_signature_of_another_day_is_refused(days: int, client: Client) -> None:
    other = provider.sign(at=time.time() + days * 24 * 60 * 60)

    assert provider.report(client, provider.hard_bounce("a@example.org"), signature=other) == 400


@pytest.mark.parametrize("token", ["7f00", "f700"])
def test_signature_with_characters_moved_to_its_time_is_refused(token: str, client: Client) -> None:
    signature = provider.sign(token=token)
    provider.report(client, provider.hard_bounce("ann@example.org"), signature=signature)
    moved = {**signature, "timestamp": signature["timestamp"] + token[0], "token": token[1:]}

    status = provider.report(client, provider.hard_bounce("eve@example.org"), signature=moved)

    assert status == 400
    assert suppressed() == [("ann@example.org", "bounce")]


def test_refused_report_does_not_make_a_signature_good_again(client: Client) -> None:
    signature = provider.sign()
    provider.report(client, provider.hard_bounce("ann@example.org"), signature=signature)
    forged = {**signature, "token": "7f00"}

    assert provider.report(client, provider.hard_bounce("a@example.org"), signature=forged) == 400
    provider.report(client, provider.hard_bounce("eve@example.org"), signature=signature)

    assert suppressed() == [("ann@example.org", "bounce")]


def test_report_that_is_no_json_is_refused(client: Client) -> None:
    event = provider.hard_bounce("ann@example.org")

    assert provider.report(client, event, content_type="application/octet-stream") == 400
{%- endif %}


def test_old_report_does_not_undo_what_was_lifted(client: Client) -> None:
    old = timezone.now() - timedelta(days=4)
{%- if cookiecutter.email_provider == "postmark" %}

    provider.report(client, provider.hard_bounce("ann@example.org", old.isoformat()))
{%- else %}

    provider.report(client, provider.hard_bounce("ann@example.org", old.timestamp()))
{%- endif %}

    assert suppressed() == []


def test_report_without_a_secret_to_verify_it_finds_no_page(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ANYMAIL = {**settings.ANYMAIL, **dict.fromkeys(provider.VERIFICATION, "")}
    monkeypatch.delitem(sys.modules, urls.__name__)

    assert importlib.import_module(urls.__name__).urlpatterns == []


@pytest.mark.parametrize(
    ("address", "compared"),
    [
        ("Ann@Example.org", "ann@example.org"),
        ('"Ann, the other" <ann@example.org>', "ann@example.org"),
        ("ann@Straße.example", "ann@xn--strae-oqa.example"),
        (f"ann@{'ü' * 64}.example", f"ann@{'ü' * 64}.example"),
    ],
)
def test_addresses_are_compared_as_the_mail_system_does(address: str, compared: str) -> None:
    assert suppression.normalized(parse_single_address(address)) == compared


def test_suppressed_recipients_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    SuppressedAddress.objects.create(address="ann@example.org", reason="bounce")
    message = compose("Hello", "Text", ["Ann <Ann@example.org>", "bob@example.net"], None)
    message.cc, message.bcc = ["ann@example.org", "carol@example.net"], ["ANN@EXAMPLE.ORG"]

    suppression.leave_out(message)

    assert message.recipients() == ["bob@example.net", "carol@example.net"]
    assert "left 1 suppressed addresses out of a message; 2 are left" in caplog.text
    assert "ann@" not in caplog.text.lower()


def test_suppressed_recipient_is_left_out_of_several_in_one_item() -> None:
    SuppressedAddress.objects.create(address="ann@example.org", reason="bounce")
    message = compose("Hello", "Text", ["ann@example.org, Bob <bob@example.net>"], None)

    suppression.leave_out(message)

    assert message.to == ["Bob <bob@example.net>"]


@pytest.mark.parametrize("address", ["ann", "@example.org", "ann@", "@straße.example", "ü@"])
def test_recipient_that_is_no_address_is_final_and_not_quoted(address: str) -> None:
    with pytest.raises(PermanentDeliveryError, match="no address") as refusal:
        suppression.leave_out(compose("Hello", "Text", ["bob@example.net", address], None))

    assert address not in str(refusal.value)
    assert refusal.value.__suppress_context__


@pytest.mark.parametrize(
    "address",
    ["ann", "@example.org", "ann@example.org, bob@example.org", f"{'a' * 309}@example.org"],
)
def test_report_about_no_single_address_is_taken_note_of_by_nobody(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = SuppressedAddress.Reason.BOUNCE
    monkeypatch.setattr(suppression, "reason_to_suppress", lambda event: reason)

    suppression.record(SimpleNamespace(recipient=address, timestamp=None))

    assert suppressed() == []


def test_longest_address_is_recorded(client: Client) -> None:
    address = f"{'a' * 308}@example.org"

    provider.report(client, provider.hard_bounce(address))

    assert suppressed() == [(address, "bounce")]


def test_message_to_nobody_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    SuppressedAddress.objects.create(address="ann@example.org", reason="complaint")
    caplog.set_level(logging.INFO, "apps")

    send_email.delay("Hello", "Text", ["ann@example.org"]).get()

    assert not mail.outbox
    assert "0 are left" in caplog.text


def test_database_that_is_away_delays_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("refused")

    monkeypatch.setattr(QuerySet, "values_list", fail)

    with pytest.raises(TemporaryDeliveryError, match="database"):
        suppression.leave_out(compose("Hello", "Text", ["ann@example.org"], None))


def test_administrators_find_and_lift_addresses_and_write_none(client: Client) -> None:
    address = SuppressedAddress.objects.create(address="ann@example.org", reason="bounce")
    administrator = User.objects.create_superuser("administrator")
    client = Client()
    client.force_login(administrator)
    url = "/admin/notifications/suppressedaddress/"

    assert str(address) in client.get(url, {"q": "ann@"}).text
    assert str(address) not in client.get(url, {"q": "bob@"}).text
    assert client.get(f"{url}add/").status_code == 403
    assert 'name="_save"' not in client.get(f"{url}{address.pk}/change/").text
    client.post(f"{url}{address.pk}/delete/", {"post": "yes"})
    assert suppressed() == []
    send_email.delay("Hello", "Text", ["ann@example.org"]).get()
    assert len(mail.outbox) == 1
