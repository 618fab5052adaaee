"""E-mail leaves through real HTTP requests to a server that answers as it is told."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.utils.http import http_date
from pytest_django import Settings

from apps.notifications import transport
from apps.notifications.emails import compose
from apps.notifications.errors import PermanentDeliveryError, TemporaryDeliveryError
from apps.notifications.login import check_login
from apps.notifications.tasks import MAX_RETRIES, send_email

from . import provider

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("eager_retries")]

HANG_UP = 0


class API(ThreadingHTTPServer):
    """Gives the answers in `script`, and then that of success."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), APIConversation)
        self.script: list[tuple[int, dict[str, str], str]] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []


class APIConversation(BaseHTTPRequestHandler):
    server: API

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, body))
        status, more, answer = self.server.script.pop(0) if self.server.script else ACCEPTED
        if status == HANG_UP:
            return
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **more}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    do_GET = do_POST  # noqa: N815 (the library's name)

    def log_message(self, *args: Any) -> None:
        """Keep the output of the tests clean."""


ACCEPTED: tuple[int, dict[str, str], str] = (provider.ACCEPTED[0], {}, provider.ACCEPTED[1])


@pytest.fixture
def api(settings: Settings) -> Iterator[API]:
    settings.EMAIL_DELIVERY_BACKEND = "anymail.backends.{{ cookiecutter.email_provider }}.EmailBackend"
    with API() as api:
        url = f"http://127.0.0.1:{api.server_port}/"
        settings.ANYMAIL = {
            **settings.ANYMAIL,
            **provider.CREDENTIALS,
            "{{ cookiecutter.email_provider|upper }}_API_URL": url,
        }
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.001})
        thread.start()
        yield api
        api.shutdown()
        thread.join()


def send() -> None:
    send_email.delay("Hello", "Text", ["ann@example.org", "bob@example.net"]).get()


def test_message_leaves_in_the_form_of_the_provider(api: API, settings: Settings) -> None:
    settings.DEFAULT_FROM_EMAIL = "Post Office <office@example.com>"

    send_email.delay(
        "Grüße", "Text ☂", ["ann@example.org", "bob@example.net"], html="<p>☂</p>"
    ).get()

    [(path, headers, body)] = api.requests
    assert path == provider.PATH
    name, value = provider.AUTHORIZATION
    assert headers[name] == value
    fields = provider.fields(body)
    assert fields == {
        "from": "office@example.com",
        "to": ["ann@example.org", "bob@example.net"],
        "subject": "Grüße",
        "text": "Text ☂",
        "html": "<p>☂</p>",
    }


@pytest.mark.parametrize("status", [HANG_UP, 408, 425, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again(status: int, api: API, delays: list[float]) -> None:
    api.script = [(status, {}, "{}"), (status, {}, "no JSON")]

    send()

    assert len(api.requests) == 3
    assert len(delays) == 2


@pytest.mark.parametrize(
    ("value", "shortest", "longest"),
    [
        ("7", 7, 7),
        ("0", 1, 1),
        ("999999", 1800, 1800),
        (http_date((datetime.now(UTC) + timedelta(minutes=10)).timestamp()), 500, 600),
        ("soon", 0, 30),
    ],
)
def test_provider_may_ask_to_wait(
    value: str, shortest: int, longest: int, api: API, delays: list[float]
) -> None:
    api.script = [(429, {"Retry-After": value}, "{}")]

    send()

    assert shortest <= delays[0] <= longest


def test_gives_up_after_the_last_retry(api: API, delays: list[float]) -> None:
    api.script = [(503, {}, "{}")] * (MAX_RETRIES + 2)

    with pytest.raises(TemporaryDeliveryError, match="answered 503"):
        send()

    assert len(api.requests) == MAX_RETRIES + 1
    assert len(delays) == MAX_RETRIES


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_refusal_is_final_and_quotes_nothing(status: int, api: API, delays: list[float]) -> None:
    answer = json.dumps({"ErrorCode": 1, "message": "ann@example.org is not welcome"})
    api.script = [(status, {}, answer)]

    with pytest.raises(PermanentDeliveryError, match=f"answered {status}") as refusal:
        send()

    assert len(api.requests) == 1
    assert not delays
    assert "ann@" not in str(refusal.value)
    # Nor do the errors that a traceback would show with it.
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__
{%- if cookiecutter.email_provider != "sendgrid" %}


def test_success_that_is_not_understood_is_final(api: API, delays: list[float]) -> None:
    """The message may have been taken: to send it again could be to send it twice."""
    api.script = [(200, {}, "<html>")]

    with pytest.raises(PermanentDeliveryError, match="answered 200"):
        send()

    assert not delays
{%- endif %}
{%- if cookiecutter.email_provider == "postmark" %}


def test_refusal_of_every_recipient_is_final(api: API, delays: list[float]) -> None:
    text = (
        "You tried to send to recipient(s) that have been marked as inactive. Found inactive "
        "addresses: ann@example.org, bob@example.net. Inactive recipients are ones that have "
        "generated a hard bounce, a spam complaint, or a manual suppression."
    )
    api.script = [(422, {}, json.dumps({"ErrorCode": 406, "Message": text}))]

    with pytest.raises(PermanentDeliveryError, match="AnymailRecipientsRefused"):
        send()

    assert not delays


def test_answer_that_takes_no_recipient_is_final(api: API, delays: list[float]) -> None:
    api.script = [(422, {}, json.dumps({"ErrorCode": 406, "Message": "in other words"}))]

    with pytest.raises(PermanentDeliveryError, match="for no recipient"):
        send()

    assert not delays
{%- elif cookiecutter.email_provider == "mailjet" %}


def test_refusal_of_every_recipient_is_final(api: API, delays: list[float]) -> None:
    error = {"ErrorCode": "send-0008", "StatusCode": 403, "ErrorMessage": "not an active sender"}
    answer = {"Messages": [{"Status": "error", "Errors": [error]}]}
    api.script = [(403, {}, json.dumps(answer))]

    with pytest.raises(PermanentDeliveryError, match="for no recipient"):
        send()

    assert not delays
{%- endif %}


def test_provider_that_is_away_is_an_outage(api: API, settings: Settings) -> None:
    api.server_close()

    with pytest.raises(TemporaryDeliveryError, match="cannot be reached"):
        transport.send(compose("Hello", "Text", ["ann@example.org"], None), "1")


def test_provider_that_says_nothing_is_an_outage(api: API, settings: Settings) -> None:
    settings.ANYMAIL = {**settings.ANYMAIL, "REQUESTS_TIMEOUT": 0.05}
    api.shutdown()

    with pytest.raises(TemporaryDeliveryError, match="ReadTimeout"):
        transport.send(compose("Hello", "Text", ["ann@example.org"], None), "1")


def test_url_that_makes_no_sense_is_final(api: API, settings: Settings) -> None:
    url = {"{{ cookiecutter.email_provider|upper }}_API_URL": "api.example.com/"}
    settings.ANYMAIL = {**settings.ANYMAIL, **url}

    with pytest.raises(PermanentDeliveryError, match="MissingSchema"):
        transport.send(compose("Hello", "Text", ["ann@example.org"], None), "1")


def test_address_that_is_none_is_final_and_not_quoted(api: API) -> None:
    with pytest.raises(PermanentDeliveryError, match="AnymailInvalidAddress") as refusal:
        transport.send(compose("Hello", "Text", ["ann@@example.org"], None), "1")

    assert not api.requests
    assert "ann@" not in str(refusal.value)
{%- if cookiecutter.email_provider in ("sendgrid", "mailgun", "postmark") %}


def test_message_id_is_equal_for_every_try(api: API, settings: Settings) -> None:
    """The last answer is lost, so the provider may have the message already."""
    settings.DEFAULT_FROM_EMAIL = "Post Office <office@example.com>"
    api.script = [(HANG_UP, {}, "")]

    send()

    first, second = (provider.headers(body)["message-id"] for _, _, body in api.requests)
    assert first == second
    assert first.endswith("@example.com>")


def test_message_keeps_a_message_id_of_its_own(api: API) -> None:
    message = compose("Hello", "Text", ["ann@example.org"], None)
    message.extra_headers["Message-Id"] = "<mine@example.com>"

    transport.send(message, "1")

    [(_, _, body)] = api.requests
    assert provider.headers(body)["message-id"] == "<mine@example.com>"
{%- elif cookiecutter.email_provider == "resend" %}


def test_idempotency_key_is_equal_for_every_try(api: API) -> None:
    """The last answer is lost, so Resend may have the message already."""
    answer = json.dumps({"statusCode": 409, "name": "concurrent_idempotent_requests"})
    api.script = [(HANG_UP, {}, ""), (409, {}, answer)]

    send()

    keys = [headers["idempotency-key"] for _, headers, _ in api.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_key_that_another_message_had_is_final(api: API, delays: list[float]) -> None:
    answer = json.dumps({"statusCode": 409, "name": "invalid_idempotent_request"})
    api.script = [(409, {}, answer)]

    with pytest.raises(PermanentDeliveryError, match="answered 409"):
        send()

    assert len(api.requests) == 1
    assert not delays
{%- endif %}


@pytest.mark.parametrize("answers", provider.LOGIN_ACCEPTED)
def test_login_that_may_be_right_is_no_problem(answers: list[tuple[int, str]], api: API) -> None:
    api.script = [(status, {}, body) for status, body in answers]

    check_login()

    assert [path for path, _, _ in api.requests] == provider.LOGIN_PATHS[: len(answers)]
    name, value = provider.AUTHORIZATION
    assert all(headers[name] == value for _, headers, _ in api.requests)
    assert not any(body for _, _, body in api.requests)


@pytest.mark.parametrize(("answers", "problem"), provider.LOGIN_REFUSED)
def test_refused_login_names_the_variable(
    answers: list[tuple[int, str]], problem: str, api: API
) -> None:
    api.script = [(status, {}, body) for status, body in answers]

    with pytest.raises(PermanentDeliveryError, match=problem) as refusal:
        check_login()

    assert "at 127.0.0.1 " in str(refusal.value)


@pytest.mark.parametrize("status", [302, 405, 503])
def test_answer_that_says_nothing_about_the_login_is_an_outage(status: int, api: API) -> None:
    api.script = [(status, {"Location": "/"}, "")]

    with pytest.raises(TemporaryDeliveryError, match=rf"answered {status}: .*_API_URL wrong"):
        check_login()

    assert len(api.requests) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "api.example.com/"])
def test_login_cannot_be_checked_without_the_provider(url: str, settings: Settings) -> None:
    settings.EMAIL_DELIVERY_BACKEND = "anymail.backends.{{ cookiecutter.email_provider }}.EmailBackend"
    settings.ANYMAIL = {**settings.ANYMAIL, "{{ cookiecutter.email_provider|upper }}_API_URL": url}

    with pytest.raises(TemporaryDeliveryError, match=r"does not answer \(\w+\): .*_API_URL wrong"):
        check_login()


def test_key_that_no_header_can_hold_is_not_quoted(api: API, settings: Settings) -> None:
    settings.ANYMAIL = {**settings.ANYMAIL, **dict.fromkeys(provider.CREDENTIALS, "ключ")}

    with pytest.raises(TemporaryDeliveryError, match="does not answer") as error:
        check_login()

    assert "ключ" not in str(error.value)


def test_no_login_where_mail_goes_elsewhere(api: API, settings: Settings) -> None:
    settings.EMAIL_DELIVERY_BACKEND = "django.core.mail.backends.console.EmailBackend"

    check_login()

    assert not api.requests
