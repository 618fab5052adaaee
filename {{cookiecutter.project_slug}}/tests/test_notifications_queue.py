"""Mail goes through the queue: that of the tasks and that of Django itself."""

from email.mime.text import MIMEText
from typing import Any

import pytest
{% if cookiecutter.email_provider != "smtp" -%}
from anymail.message import AnymailMessage
{% endif -%}
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.db import transaction
from django.test import Client
from kombu.exceptions import OperationalError
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from apps.accounts.models import User
from apps.notifications import emails, tasks, transport
from apps.notifications.errors import TemporaryDeliveryError
from apps.notifications.tasks import send_email, send_message

pytestmark = pytest.mark.django_db


@pytest.fixture
def queue(settings: Settings) -> None:
    """Send Django's mail as in production; the test runner would keep it from that."""
    settings.EMAIL_BACKEND = "apps.notifications.backends.QueueEmailBackend"


@pytest.mark.usefixtures("queue")
def test_message_of_django_arrives_whole_after_the_transaction(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    message = EmailMultiAlternatives(
        "Grüße",
        "Text ☂",
        "Office <office@example.com>",
        ["ann@example.org"],
        bcc=["bcc@example.org"],
        cc=["cc@example.org"],
        reply_to=["reply@example.org"],
        headers={"X-Number": "7"},
        alternatives=[("<p>☂</p>", "text/html")],
    )
    message.attach("note.txt", "☂", "text/plain")
    message.attach("image.png", b"\x89PNG", "image/png")

    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        assert message.send() == 1
        assert not mail.outbox

    [sent] = mail.outbox
    assert isinstance(sent, EmailMultiAlternatives)
    assert (sent.subject, sent.body) == ("Grüße", "Text ☂")
    assert sent.from_email == "Office <office@example.com>"
    assert sent.recipients() == ["ann@example.org", "cc@example.org", "bcc@example.org"]
    assert sent.reply_to == ["reply@example.org"]
    assert sent.extra_headers["X-Number"] == "7"
    assert sent.alternatives == [("<p>☂</p>", "text/html")]
    assert sent.attachments == [
        ("note.txt", "☂", "text/plain"),
        ("image.png", b"\x89PNG", "image/png"),
    ]


@pytest.mark.usefixtures("queue")
def test_message_that_is_html_itself_stays_so(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    message = EmailMessage("Hello", "<p>Text</p>", to=["ann@example.org"])
    message.content_subtype = "html"

    with django_capture_on_commit_callbacks(execute=True):
        message.send()

    [sent] = mail.outbox
    assert sent.content_subtype == "html"


@pytest.mark.usefixtures("queue")
def test_message_to_nobody_is_left_out() -> None:
    assert mail.get_connection().send_messages([EmailMessage("Hello", "Text")]) == 0


@pytest.mark.usefixtures("queue")
def test_line_break_in_a_header_is_refused_where_the_message_is_made() -> None:
    with pytest.raises(mail.BadHeaderError):
        EmailMessage("Hello\nBcc: eve@example.org", "Text", to=["ann@example.org"]).send()


@pytest.mark.usefixtures("queue")
def test_broker_that_is_away_is_an_error_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(send_message, "delay_on_commit", refuse)

    with pytest.raises(OperationalError):
        mail.send_mail("Hello", "Text", None, ["ann@example.org"])
    assert mail.send_mail("Hello", "Text", None, ["ann@example.org"], fail_silently=True) == 0


def test_attachments_too_large_for_the_queue_are_refused() -> None:
    message = EmailMessage("Hello", "Text", to=["ann@example.org"])
    message.attach("large.bin", bytes(emails.MAX_ATTACHMENTS + 1), "application/octet-stream")

    with pytest.raises(ValueError, match="Send a link"):
        emails.as_json(message)


def test_attachment_that_is_no_plain_file_is_refused() -> None:
    part = EmailMessage("Hello", "Text", to=["ann@example.org"], attachments=[MIMEText("☂")])
    forwarded = EmailMessage("Hello", "Text", to=["ann@example.org"])
    forwarded.attach("mail.eml", forwarded, "message/rfc822")

    for message in (part, forwarded):
        with pytest.raises(ValueError, match="name, content and type"):
            emails.as_json(message)
{%- if cookiecutter.email_provider != "smtp" %}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tags", ["invoice"]),
        ("metadata", {"order": "7"}),
        ("template_id", "welcome"),
        ("merge_data", {"ann@example.org": {"name": "Ann"}}),
        ("track_clicks", False),
        ("esp_extra", {"key": "value"}),
    ],
)
def test_field_of_anymail_is_refused_by_its_name(name: str, value: Any) -> None:
    message = EmailMessage("Hello", "Text", to=["ann@example.org"])
    setattr(message, name, value)

    with pytest.raises(ValueError, match=name):
        emails.as_json(message)


def test_message_of_anymail_without_such_fields_is_queued() -> None:
    message = AnymailMessage("Hello", "Text", to=["ann@example.org"])

    assert emails.as_json(message)["to"] == ["ann@example.org"]
{%- endif %}


@pytest.mark.usefixtures("queue")
def test_forgotten_password_is_reset_through_the_queue(
    client: Client, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    user = User.objects.create_user("somebody", "somebody@example.com", "a pass phrase")
    with django_capture_on_commit_callbacks(execute=True):
        client.post("/accounts/password_reset/", {"email": user.email})
        assert not mail.outbox
    [message] = mail.outbox
    [link] = [word for word in str(message.body).split() if "/accounts/reset/" in word]

    form = client.get(link.replace("http://testserver", ""), follow=True)
    passwords = {"new_password1": "another pass phrase", "new_password2": "another pass phrase"}
    client.post(form.request["PATH_INFO"], passwords)

    user.refresh_from_db()
    assert user.check_password("another pass phrase")


def test_task_leaves_after_the_transaction(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        send_email.delay_on_commit("Hello", "Text", ["ann@example.org"])
        assert not mail.outbox

    assert len(mail.outbox) == 1


def test_task_works_as_a_plain_function() -> None:
    send_email("Hello", "Text", ["ann@example.org"])

    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    ("subject", "recipients"),
    [
        ("Hello", []),
        ("Hello\nBcc: eve@example.org", ["ann@example.org"]),
        ("Hello\r", ["ann@example.org"]),
        ("Hello", ["ann@example.org\nBcc: eve@example.org"]),
    ],
)
def test_broken_argument_fails_at_once_and_is_not_quoted(
    subject: str, recipients: list[str]
) -> None:
    with pytest.raises(ValueError, match="e-mail") as failure:
        send_email.delay(subject, "Text", recipients).get()

    assert "eve@" not in str(failure.value)
    assert not mail.outbox


def test_sending_that_takes_too_long_is_ended_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = []

    def trickle(message: EmailMessage, message_id: str) -> None:
        tries.append(message_id)
        raise SoftTimeLimitExceeded  # as the worker does after SENDING_TIME

    monkeypatch.setattr(transport, "send", trickle)
    monkeypatch.setitem(current_app.conf, "task_eager_propagates", False)

    with pytest.raises(TemporaryDeliveryError, match="not over after 60 s"):
        send_email.delay("Hello", "Text", ["ann@example.org"]).get()

    assert len(tries) == tasks.MAX_RETRIES + 1
    assert len(set(tries)) == 1
    assert send_email.soft_time_limit == send_message.soft_time_limit == tasks.SENDING_TIME
