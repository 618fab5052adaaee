"""E-mail leaves through real HTTP requests to a server that answers as it is told."""

import base64
import json
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from pytest_django import Settings

from apps.notifications import transport
from apps.notifications.emails import compose
from apps.notifications.errors import PermanentDeliveryError, TemporaryDeliveryError
from apps.notifications.login import check_login
from apps.notifications.tasks import MAX_RETRIES, send_email

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("eager_retries")]

HANG_UP = 0
ACCEPTED: tuple[int, dict[str, str], str] = (200, {}, '{"MessageId": "1"}')
# To read the description of the API anew for each message would take longer than all else here.
SESSION = boto3.session.Session()


class API(ThreadingHTTPServer):
    """Gives the answers in `script`, and then that of success."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), APIConversation)
        self.script: list[tuple[int, dict[str, str], str]] = []
        self.requests: list[tuple[str, str, dict[str, Any]]] = []

    def refuse(self, status: int, code: str, **headers: str) -> None:
        """Answer one request more with an error, as Amazon Web Services do."""
        headers["x-amzn-ErrorType"] = f"{code}:http://internal.amazon.com/"
        self.script.append((status, headers, '{"message": "ann@example.org is not welcome"}'))


class APIConversation(BaseHTTPRequestHandler):
    server: API

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))) or b"{}"
        self.server.requests.append((self.path, self.headers["Authorization"], json.loads(body)))
        status, headers, answer = self.server.script.pop(0) if self.server.script else ACCEPTED
        if status == HANG_UP:
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    do_GET = do_POST  # noqa: N815 (the library's name)

    def log_message(self, *args: Any) -> None:
        """Keep the output of the tests clean."""


@pytest.fixture
def api(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[API]:
    monkeypatch.setattr(boto3.session, "Session", lambda: SESSION)
    settings.EMAIL_DELIVERY_BACKEND = "anymail.backends.amazon_ses.EmailBackend"
    with API() as api:
        use(
            settings,
            endpoint_url=f"http://127.0.0.1:{api.server_port}",
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="secret",
            region_name="eu-central-1",
        )
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.001})
        thread.start()
        yield api
        api.shutdown()
        thread.join()


def use(settings: Settings, **parameters: Any) -> None:
    """Change how boto3 reaches Amazon SES."""
    client_params = {**settings.ANYMAIL["AMAZON_SES_CLIENT_PARAMS"], **parameters}
    settings.ANYMAIL = {**settings.ANYMAIL, "AMAZON_SES_CLIENT_PARAMS": client_params}


def send() -> None:
    send_email.delay("Hello", "Text", ["ann@example.org", "bob@example.net"]).get()


def test_message_leaves_as_signed_raw_message(api: API, settings: Settings) -> None:
    settings.DEFAULT_FROM_EMAIL = "Post Office <office@example.com>"

    send_email.delay(
        "Grüße", "Text ☂", ["ann@example.org", "bob@example.net"], html="<p>☂</p>"
    ).get()

    [(path, authorization, body)] = api.requests
    assert path == "/v2/email/outbound-emails"
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")
    assert "/eu-central-1/ses/" in authorization
    assert body["Destination"] == {"ToAddresses": ["ann@example.org", "bob@example.net"]}
    raw = base64.b64decode(body["Content"]["Raw"]["Data"])
    message: EmailMessage = message_from_bytes(raw, policy=policy.default)
    assert message["Subject"] == "Grüße"
    assert message["From"] == "Post Office <office@example.com>"
    text, html = message.iter_parts()
    assert text.get_content().strip() == "Text ☂"
    assert html.get_content().strip() == "<p>☂</p>"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "TooManyRequestsException"),
        (400, "Throttling"),
        (500, "InternalFailure"),
        (503, "ServiceUnavailable"),
    ],
)
def test_what_may_pass_is_tried_again(
    status: int, code: str, api: API, delays: list[float]
) -> None:
    api.refuse(status, code)
    api.refuse(status, code, **{"Retry-After": "7"})

    send()

    assert len(api.requests) == 3
    assert delays[1:] == [7]


def test_connection_that_breaks_is_tried_again(api: API, delays: list[float]) -> None:
    api.script = [(HANG_UP, {}, "")]

    send()

    assert len(api.requests) == 2
    assert len(delays) == 1


def test_gives_up_after_the_last_retry(api: API, delays: list[float]) -> None:
    for _ in range(MAX_RETRIES + 2):
        api.refuse(503, "ServiceUnavailable")

    with pytest.raises(TemporaryDeliveryError, match=r"answered 503 \(ServiceUnavailable\)"):
        send()

    assert len(api.requests) == MAX_RETRIES + 1
    assert len(delays) == MAX_RETRIES


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "MessageRejected"),
        (400, "MailFromDomainNotVerifiedException"),
        (403, "InvalidSignatureException"),
        (403, "UnrecognizedClientException"),
    ],
)
def test_refusal_is_final_and_quotes_nothing(
    status: int, code: str, api: API, delays: list[float]
) -> None:
    api.refuse(status, code)

    with pytest.raises(PermanentDeliveryError, match=rf"answered {status} \({code}\)") as refusal:
        send()

    assert len(api.requests) == 1
    assert not delays
    assert "ann@" not in str(refusal.value)
    # Nor do the errors that a traceback would show with it.
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


def test_amazon_that_is_away_is_an_outage(api: API) -> None:
    api.server_close()

    with pytest.raises(TemporaryDeliveryError, match="EndpointConnectionError"):
        transport.send(compose("Hello", "Text", ["ann@example.org"], None), "1")


def test_amazon_that_says_nothing_is_an_outage(api: API, settings: Settings) -> None:
    config = {"connect_timeout": 1, "read_timeout": 0.05, "retries": {"total_max_attempts": 1}}
    use(settings, config=config)
    api.shutdown()

    with pytest.raises(TemporaryDeliveryError, match="ReadTimeoutError"):
        transport.send(compose("Hello", "Text", ["ann@example.org"], None), "1")


def test_one_try_of_the_task_is_one_request(settings: Settings) -> None:
    """Or a try could take as many times the timeout as boto3 has attempts."""
    config = settings.ANYMAIL["AMAZON_SES_CLIENT_PARAMS"]["config"]

    assert config["retries"]["total_max_attempts"] == 1
    assert config["connect_timeout"] + config["read_timeout"] < 20


def test_message_that_boto_refuses_is_final(api: API, settings: Settings) -> None:
    settings.ANYMAIL = {**settings.ANYMAIL, "AMAZON_SES_CONFIGURATION_SET_NAME": 7}

    with pytest.raises(PermanentDeliveryError, match="ParamValidationError"):
        transport.send(compose("Hello", "Text", ["ann@example.org"], None), "1")


def test_address_that_is_none_is_final_and_not_quoted(api: API) -> None:
    with pytest.raises(PermanentDeliveryError, match="AnymailInvalidAddress") as refusal:
        transport.send(compose("Hello", "Text", ["ann@@example.org"], None), "1")

    assert not api.requests
    assert "ann@" not in str(refusal.value)


def test_login_that_is_right_is_no_problem(api: API) -> None:
    api.script = [(200, {}, '{"SendingEnabled": true}')]

    check_login()

    [(path, authorization, _)] = api.requests
    assert path == "/v2/email/account"
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDeniedException"), (429, "TooManyRequestsException")]
)
def test_key_that_may_not_ask_may_be_right(status: int, code: str, api: API) -> None:
    api.refuse(status, code)

    check_login()


@pytest.mark.parametrize(
    ("status", "code", "expected", "problem"),
    [
        (403, "UnrecognizedClientException", PermanentDeliveryError, "are AWS_ACCESS_KEY_ID"),
        (403, "InvalidSignatureException", PermanentDeliveryError, "AWS_SECRET_ACCESS_KEY right"),
        (403, "OptInRequired", PermanentDeliveryError, r"answered 403 \(OptInRequired\)"),
        (503, "ServiceUnavailable", TemporaryDeliveryError, r"answered 503 \(ServiceUnavailable\)"),
    ],
)
def test_refused_login_names_the_variable(
    status: int, code: str, expected: type[Exception], problem: str, api: API
) -> None:
    api.refuse(status, code)

    with pytest.raises(expected, match=problem) as error:
        check_login()

    assert str(error.value).startswith("Amazon SES in eu-central-1 ")
    assert "ann@" not in str(error.value)
    assert error.value.__suppress_context__


def test_paused_sending_is_told(api: API) -> None:
    api.script = [(200, {}, '{"SendingEnabled": false}')]

    with pytest.raises(PermanentDeliveryError, match="has paused sending"):
        check_login()


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"endpoint_url": "http://127.0.0.1:1"}, "EndpointConnectionError"),
        ({"region_name": "eu central"}, "InvalidRegionError"),
    ],
)
def test_login_cannot_be_checked_without_amazon(
    parameters: dict[str, str], reason: str, api: API, settings: Settings
) -> None:
    use(settings, **parameters)

    with pytest.raises(TemporaryDeliveryError, match=rf"\({reason}\): .* AWS_DEFAULT_REGION wrong"):
        check_login()


def test_no_login_where_mail_goes_elsewhere(api: API, settings: Settings) -> None:
    settings.EMAIL_DELIVERY_BACKEND = "django.core.mail.backends.console.EmailBackend"

    check_login()

    assert not api.requests
