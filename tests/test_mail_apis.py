"""Our stand-ins for the send APIs of e-mail providers take what is documented, and no more."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from tests.processes import Response, http_request
from tests.servers.mail_apis import (
    RETRY_AFTER,
    Brevo,
    Failure,
    Mail,
    MailAPIServer,
    Mailgun,
    Mailjet,
    Postmark,
    Resend,
    SendGrid,
    basic_auth,
)
from tests.servers.ses import SESServer

KEY = "a-key"
SECRET = "a-secret"
REGION = "eu-west-1"
JSON = {"Content-Type": "application/json"}
MIME = b"""\
From: Ann <ann@example.com>
To: bob@example.org
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
MIME-Version: 1.0
Content-Type: text/plain; charset="utf-8"

Hello
"""


@dataclass(frozen=True)
class Example:
    """A request as the provider's page shows it, with the fields that it cannot do without.

    Attributes:
        question: path of what may be asked with the same key.
        sending_key: status of the answer to a key that may do nothing but send.
        no_key: status of the answer to a key that there is not.
    """

    server: Callable[[], MailAPIServer]
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    required: tuple[str, ...]
    status: int
    question: str
    sending_key: int
    no_key: int = 401
    refused: int = 400
    unauthorized: int = 401
    form: bool = False


EXAMPLES = {
    "sendgrid": Example(
        lambda: MailAPIServer(SendGrid(KEY)),
        "/v3/mail/send",
        {**JSON, "Authorization": f"Bearer {KEY}"},
        {
            "personalizations": [{"to": [{"email": "bob@example.org", "name": "Bob"}]}],
            "from": {"email": "ann@example.com"},
            "subject": "Grüße",
            "content": [{"type": "text/plain", "value": "Hello"}],
        },
        ("personalizations", "from", "subject", "content"),
        202,
        "/v3/scopes",
        200,
    ),
    "mailgun": Example(
        lambda: MailAPIServer(Mailgun(KEY, "mg.example.com")),
        "/v3/mg.example.com/messages",
        {
            "Content-Type": "application/x-www-form-urlencoded",
            "Authorization": basic_auth("api", KEY),
        },
        {
            "from": "Ann <ann@example.com>",
            "to": "bob@example.org",
            "subject": "Grüße",
            "text": "Hello",
        },
        ("from", "to", "subject", "text"),
        200,
        "/v4/domains/mg.example.com",
        401,
        form=True,
    ),
    "postmark": Example(
        lambda: MailAPIServer(Postmark(KEY)),
        "/email",
        {**JSON, "Accept": "application/json", "X-Postmark-Server-Token": KEY},
        {
            "From": "ann@example.com",
            "To": "Bob <bob@example.org>",
            "Subject": "Grüße",
            "TextBody": "Hello",
        },
        ("From", "To", "TextBody"),
        200,
        "/server",
        200,
        refused=422,
    ),
    "resend": Example(
        lambda: MailAPIServer(Resend(KEY)),
        "/emails",
        {**JSON, "Authorization": f"Bearer {KEY}", "User-Agent": "test"},
        {
            "from": "Ann <ann@example.com>",
            "to": ["bob@example.org"],
            "subject": "Grüße",
            "text": "Hello",
        },
        ("from", "to", "subject", "text"),
        200,
        "/domains",
        401,
        no_key=400,
        refused=422,
    ),
    "brevo": Example(
        lambda: MailAPIServer(Brevo(KEY)),
        "/v3/smtp/email",
        {**JSON, "api-key": KEY},
        {
            "sender": {"name": "Ann", "email": "ann@example.com"},
            "to": [{"email": "bob@example.org"}],
            "subject": "Grüße",
            "textContent": "Hello",
        },
        ("sender", "to", "subject", "textContent"),
        201,
        "/v3/account",
        403,
    ),
    "mailjet": Example(
        lambda: MailAPIServer(Mailjet(KEY, SECRET)),
        "/v3.1/send",
        {**JSON, "Authorization": basic_auth(KEY, SECRET)},
        {
            "Globals": {"From": {"Email": "ann@example.com"}, "Subject": "Grüße"},
            "Messages": [{"To": [{"Email": "bob@example.org"}], "TextPart": "Hello"}],
        },
        ("Globals", "Messages"),
        200,
        "/v3/REST/sender?Limit=1",
        403,
    ),
    "ses": Example(
        lambda: SESServer(KEY, SECRET, REGION, "example.com"),
        "/v2/email/outbound-emails",
        JSON,
        {
            "Content": {"Raw": {"Data": base64.b64encode(MIME).decode()}},
            "Destination": {"ToAddresses": ["bob@example.org"]},
        },
        ("Content",),
        200,
        "/v2/email/account",
        403,
        no_key=403,
        unauthorized=403,
    ),
}

pytestmark = pytest.mark.xdist_group("mail APIs")


@pytest.fixture(scope="module", params=EXAMPLES)
def api(request: pytest.FixtureRequest) -> Iterator[tuple[Example, MailAPIServer]]:
    """A provider's example and its server."""
    example = EXAMPLES[request.param]
    with example.server() as server:
        yield example, server


def post(example: Example, server: MailAPIServer, *, timeout: float = 5.0) -> Response:
    """Send an example to its provider, signed for Amazon if it carries no key."""
    text = urlencode(example.body) if example.form else json.dumps(example.body)
    url = server.url(example.path)
    headers = signed("POST", url, example, text.encode())
    return http_request("POST", url, headers=headers, body=text.encode(), timeout=timeout)


def ask(example: Example, server: MailAPIServer) -> Response:
    """Ask a provider what may be asked with the example's key."""
    url = server.url(example.question)
    return http_request("GET", url, headers=signed("GET", url, example, b""))


def signed(method: str, url: str, example: Example, body: bytes) -> dict[str, str]:
    """Return the headers of a request, with a signature for Amazon if the example has no key."""
    if example.headers != JSON:
        return example.headers
    request = AWSRequest(method, url, headers=JSON, data=body)
    SigV4Auth(Credentials(KEY, SECRET), "ses", REGION).add_auth(request)
    return dict(request.headers.items())


def with_another_key(example: Example) -> Example:
    """Return the example with a key that the provider does not know."""
    name = (
        example.headers.keys() - {"Content-Type", "Accept", "User-Agent"} or {"Authorization"}
    ).pop()
    return replace(example, headers={**example.headers, name: basic_auth("api", "another")})


def without(example: Example, name: str) -> Example:
    """Return the example without one of its fields."""
    return replace(example, body={k: v for k, v in example.body.items() if k != name})


def test_the_documented_request_is_taken(api: tuple[Example, MailAPIServer]) -> None:
    example, server = api
    count = len(server.inbox)
    response = post(example, server)
    assert response.status == example.status, response.text
    mail = server.wait_for_mail(count + 1, 1)[-1]
    headers = mail.headers
    expected = Mail("ann@example.com", ("bob@example.org",), "Grüße", "Hello", None, headers)
    assert replace(mail, text=mail.text.strip()) == expected


def test_an_unknown_field_is_refused(api: tuple[Example, MailAPIServer]) -> None:
    example, server = api
    count = len(server.inbox)
    response = post(replace(example, body={**example.body, "colour": "red"}), server)
    assert response.status == example.refused
    assert "colour" in response.text
    assert "colour" in server.refusals[-1]
    assert len(server.inbox) == count


def test_each_required_field_is_demanded(api: tuple[Example, MailAPIServer]) -> None:
    example, server = api
    for name in example.required:
        assert post(without(example, name), server).status == example.refused, name


def test_another_key_path_or_method_is_refused(api: tuple[Example, MailAPIServer]) -> None:
    example, server = api
    assert post(with_another_key(example), server).status == example.unauthorized
    assert post(replace(example, path="/other"), server).status == 404
    assert http_request("GET", server.url(example.path)).status == 405


def test_a_question_is_answered_as_the_key_may_ask_it(api: tuple[Example, MailAPIServer]) -> None:
    example, server = api
    count = len(server.inbox)
    assert ask(example, server).status == 200
    assert ask(with_another_key(example), server).status == example.no_key
    assert http_request("POST", server.url(example.question)).status == 405
    server.restrict()
    assert ask(example, server).status == example.sending_key
    assert ask(with_another_key(example), server).status == example.no_key
    assert len(server.inbox) == count
    assert post(example, server).status == example.status, "the key may still send"


def test_mailgun_knows_a_key_by_what_it_says_to_no_message() -> None:
    example = EXAMPLES["mailgun"]
    example = replace(example, headers={"Authorization": example.headers["Authorization"]}, body={})
    with example.server() as server:
        response = post(example, server)
        assert (response.status, "from parameter is missing" in response.text) == (400, True)
        assert post(with_another_key(example), server).status == 401


@pytest.mark.parametrize(
    ("failure", "statuses"),
    [
        (Failure.BUSY, {429}),
        (Failure.BROKEN, {500}),
        (Failure.REFUSED, {400, 422}),
        (Failure.UNAUTHORIZED, {401, 403}),
    ],
)
def test_it_fails_on_demand_and_works_again(
    api: tuple[Example, MailAPIServer], failure: Failure, statuses: set[int]
) -> None:
    example, server = api
    count = len(server.inbox)
    server.fail(failure)
    response = post(example, server)
    assert response.status in statuses
    assert (response.headers.get("retry-after") == str(RETRY_AFTER)) == (failure is Failure.BUSY)
    assert len(server.inbox) == count
    assert post(example, server).status == example.status


def test_a_silent_server_never_answers() -> None:
    example = EXAMPLES["postmark"]
    with example.server() as server:
        server.fail(Failure.SILENT)
        with pytest.raises(TimeoutError):
            post(example, server, timeout=0.2)
        assert server.attempts == 1


def test_a_trickling_server_outlives_the_timeout_of_each_read() -> None:
    example = EXAMPLES["postmark"]
    with example.server() as server:
        server.fail(Failure.TRICKLING)
        started = time.monotonic()
        closing = threading.Timer(2, server.close)
        closing.start()
        with pytest.raises(http.client.IncompleteRead):
            post(example, server, timeout=1)
        assert time.monotonic() - started > 1.9
        closing.join()


def test_amazon_refuses_a_changed_body() -> None:
    example = EXAMPLES["ses"]
    with example.server() as server:
        url = server.url(example.path)
        request = AWSRequest("POST", url, headers=JSON, data=json.dumps(example.body).encode())
        SigV4Auth(Credentials(KEY, SECRET), "ses", REGION).add_auth(request)
        changed = json.dumps({**example.body, "Destination": {}}).encode()
        answer = http_request("POST", url, headers=dict(request.headers.items()), body=changed)
        assert answer.status == 403


def test_amazon_takes_nothing_from_a_domain_that_is_not_verified() -> None:
    example = EXAMPLES["ses"]
    with SESServer(KEY, SECRET, REGION, "other.example") as server:
        response = post(example, server)
        assert (response.status, response.headers["x-amzn-errortype"]) == (400, "MessageRejected")
        assert server.inbox == []


def test_mailjet_refuses_a_message_id() -> None:
    example = EXAMPLES["mailjet"]
    body = {**example.body, "Globals": {**example.body["Globals"], "Headers": {"Message-Id": "1"}}}
    with example.server() as server:
        response = post(replace(example, body=body), server)
        assert response.status == 400
        [message] = response.json()["Messages"]
        assert message["Errors"][0]["ErrorCode"] == "send-0011"


def test_resend_sends_once_for_an_idempotency_key() -> None:
    example = EXAMPLES["resend"]
    example = replace(example, headers={**example.headers, "Idempotency-Key": "1"})
    with example.server() as server:
        first, second = post(example, server), post(example, server)
        assert first.json() == second.json()
        assert len(server.inbox) == 1
        other = replace(example, body={**example.body, "subject": "Other"})
        assert post(other, server).status == 409
