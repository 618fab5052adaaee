"""The send APIs of e-mail providers, on a local server that takes no more than they document.

An unknown field, a missing one or one of the wrong type is refused with the provider's own error
body, so that a project which is accepted here speaks the documented form. Besides, each answers
the one question that shows whether a key is right. Sources:

- SendGrid: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send
- Mailgun: https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages
- Postmark: https://postmarkapp.com/developer/api/email-api
- Resend: https://resend.com/docs/api-reference/emails/send-email
- Brevo: https://developers.brevo.com/reference/sendtransacemail
- Mailjet: https://dev.mailjet.com/email/reference/send-emails/ and its guide "Send API v3.1"

and for the questions:

- SendGrid: https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions
- Mailgun: https://documentation.mailgun.com/docs/mailgun/api-reference/openapi-final/tag/Domains,
  which a "domain sending key" may not ask (its user manual, "API Management and Security")
- Postmark: https://postmarkapp.com/developer/api/server-api
- Resend: https://resend.com/docs/api-reference/errors
- Brevo: https://developers.brevo.com/reference/get-account; its help gives the words for a
  restricted key, but no status
- Mailjet: https://dev.mailjet.com/docs/email-api/email_api_overview/status_codes
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as default_policy
from email.utils import getaddresses
from enum import Enum, auto
from types import UnionType
from typing import Any, Final
from urllib.parse import parse_qs
from uuid import uuid4

from tests.servers.http import HTTPServer, Received, Reply
from tests.servers.tls import Authority

ADDRESS = re.compile(r"[^\s@<>,;\"]+@[a-z0-9-]+(\.[a-z0-9-]+)+", re.IGNORECASE)

RETRY_AFTER: Final = 2  # seconds that a busy provider asks for

# From SendGrid's page, below "headers".
SENDGRID_RESERVED_HEADERS = """
    x-sg-id x-sg-eid received dkim-signature content-type content-transfer-encoding to from subject
    reply-to cc bcc
"""
# From Mailjet's guide, "List of forbidden headers"; answered by send-0011.
MAILJET_FORBIDDEN_HEADERS = """
    from sender subject to cc bcc return-path delivered-to dkim-signature domainkey-status
    received-spf authentication-results received x-mailjet-prio x-mailjet-debug user-agent x-mailer
    x-mj-customid x-mj-eventpayload x-mj-vars x-mj-templateerrordeliver x-mj-templateerrorreporting
    x-mj-templatelanguage x-mailjet-trackopen x-mailjet-trackclick x-mj-templateid x-mj-workflowid
    x-feedback-id x-mailjet-segmentation list-id x-mj-mid x-mj-errormessage date x-csa-complaints
    message-id x-mailjet-campaign x-mj-statisticscontactslistid
"""
MAILGUN_FIELDS = """
    from to cc bcc subject text html amp-html attachment inline template recipient-variables
"""


@dataclass(frozen=True)
class Mail:
    """A message that a provider took, whatever form it came in.

    Attributes:
        sender: bare address of the author.
        recipients: bare addresses in To, Cc and Bcc, in this order.
        subject: decoded.
        text: the plain text.
        html: the HTML, if there is any.
        headers: further headers; names are lower case.
    """

    sender: str
    recipients: tuple[str, ...]
    subject: str
    text: str
    html: str | None
    headers: Mapping[str, str] = field(default_factory=dict)


class Failure(Enum):
    """What a provider can do instead of taking a message."""

    BUSY = auto()  # too many requests, with a time after which to try again
    BROKEN = auto()  # an internal error
    REFUSED = auto()  # this message is never taken
    UNAUTHORIZED = auto()  # the key is wrong or was withdrawn
    SILENT = auto()  # accepts the request and never answers
    TRICKLING = auto()  # answers a byte now and then, and never comes to an end


class RefusalError(Exception):
    """A message that the provider does not take.

    Args:
        text: what is wrong.
        field: which field of the request is meant.
        missing: the field is required and not there.
    """

    def __init__(self, text: str, field: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.field = field
        self.missing = missing


class SendAPI(ABC):
    """What one provider documents of the way to send a message.

    Attributes:
        path: where messages are posted.
        question: what may be asked with a key, apart from the query.
        restricted: whether the key may do nothing but send.
    """

    path: str
    question: str
    restricted = False

    @abstractmethod
    def authorized(self, request: Received) -> bool:
        """Return whether the request carries the right key."""

    @abstractmethod
    def mail(self, request: Received) -> Mail:
        """Return the message in a request.

        Raises:
            RefusalError: the message is not in the documented form.
        """

    @abstractmethod
    def accepted(self, mail: Mail) -> Reply:
        """Return the answer to a message that is taken."""

    @abstractmethod
    def refusal(self, error: RefusalError) -> Reply:
        """Return the answer to a message that is not taken."""

    @abstractmethod
    def error(self, status: int) -> Reply:
        """Return the answer with status 401, 404, 405, 415, 429 or 500."""

    @abstractmethod
    def account(self) -> Reply:
        """Return the answer to the question, for a key that may ask it."""

    def may_not_ask(self) -> Reply:
        """Return the answer to the question, for a key that may do nothing but send."""
        return self.account()

    def unknown_key(self) -> Reply:
        """Return the answer to the question, for a key that there is not."""
        return self.error(401)

    def answer(self, request: Received) -> Reply:
        """Return the answer to the question."""
        if request.method != "GET":
            return self.error(405)
        if not self.authorized(request):
            return self.unknown_key()
        return self.may_not_ask() if self.restricted else self.account()

    def take(self, request: Received) -> tuple[Reply, Mail | None]:
        """Return the answer to a request, and the message in it if it is delivered."""
        if request.path.partition("?")[0] == self.question:
            return self.answer(request), None
        if request.path != self.path:
            return self.error(404), None
        if request.method != "POST":
            return self.error(405), None
        if not self.authorized(request):
            return self.error(401), None
        try:
            mail = self.mail(request)
        except RefusalError as error:
            return self.refusal(error), None
        return self.accepted(mail), mail

    def failure(self, failure: Failure) -> Reply:
        """Return an answer that has nothing to do with the request."""
        match failure:
            case Failure.BUSY:
                reply = self.error(429)
                headers = {**reply.headers, "Retry-After": str(RETRY_AFTER)}
                return Reply(reply.status, headers, reply.body)
            case Failure.BROKEN:
                return self.error(500)
            case Failure.REFUSED:
                return self.refusal(RefusalError("The sender is not verified.", self.sender_field))
            case Failure.UNAUTHORIZED:
                return self.error(401)
            case Failure.SILENT:
                return Reply(hang=True)
            case Failure.TRICKLING:
                headers = {"Content-Type": "application/json"}
                return Reply(200, headers, b" " * 1000, trickle=0.5)

    sender_field = "from"


class MailAPIServer(HTTPServer):
    """A provider's send API on 127.0.0.1, with an inbox."""

    def __init__(self, api: SendAPI, authority: Authority | None = None) -> None:
        """Listen at once.

        Args:
            api: the provider's.
            authority: who signs the certificate; None for plain HTTP.
        """
        self._api = api
        self._inbox: list[Mail] = []
        self._refusals: list[str] = []
        super().__init__(authority, "localhost") if authority else super().__init__()

    @property
    def inbox(self) -> list[Mail]:
        """Everything that was taken, oldest first."""
        with self._changed:
            return list(self._inbox)

    @property
    def refusals(self) -> list[str]:
        """The bodies of answers to requests that did not have the documented form."""
        with self._changed:
            return list(self._refusals)

    @property
    def attempts(self) -> int:
        """How many requests came, whatever became of them."""
        return len(self.requests)

    def restrict(self) -> None:
        """Let the key do nothing but send from now on."""
        self._api.restricted = True

    def fail(self, *failures: Failure) -> None:
        """Let the next requests fail; then the provider works again."""
        self.reply(*map(self._api.failure, failures))

    def wait_for_mail(self, count: int, timeout: float) -> list[Mail]:
        """Wait until the inbox holds messages.

        Args:
            count: how many at least.
            timeout: seconds.

        Returns:
            The inbox.

        Raises:
            AssertionError: the time is over.
        """
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self._inbox) >= count, timeout)
            assert arrived, (
                f"{len(self._inbox)} of {count} messages after {timeout:g} s"
                f" ({len(self._requests)} requests, refused: {self._refusals})"
            )
            return list(self._inbox)

    def usual_reply(self, request: Received) -> Reply:
        """Take the message in a request, or refuse it."""
        reply, mail = self._api.take(request)
        if mail is not None:
            self._inbox.append(mail)
        elif reply.status >= 400:
            self._refusals.append(f"{reply.status} {reply.body.decode()}")
        return reply


def check(
    value: object,
    where: str,
    required: Mapping[str, type | UnionType],
    optional: Mapping[str, type | UnionType] | None = None,
) -> dict[str, Any]:
    """Return a JSON object after a look at its fields.

    Args:
        value: what should be an object.
        where: its name, empty for the outermost one.
        required: type of each field that must be there.
        optional: type of each other field that may be there.

    Raises:
        RefusalError: it is none, a field is missing or unknown, or has a wrong type.
    """
    if not isinstance(value, dict):
        raise RefusalError("An object is expected.", where or "body")
    prefix = f"{where}." if where else ""
    types = {**required, **(optional or {})}
    for name in required:
        if name not in value:
            raise RefusalError(f"{prefix}{name} is missing.", prefix + name, missing=True)
    for name, content in value.items():
        if name not in types:
            raise RefusalError(f"{prefix}{name} is unknown.", prefix + name)
        # A bool is an int to Python, but not to an API.
        if not isinstance(content, types[name]) or (types[name] is int and content is True):
            raise RefusalError(f"{prefix}{name} has a wrong type.", prefix + name)
    return value


def strings(value: object, where: str) -> dict[str, str]:
    """Return an object whose values must be strings."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise RefusalError("An object of strings is expected.", where)
    return value


def json_body(request: Received) -> Any:
    """Return the JSON in a request.

    Raises:
        RefusalError: the type or the body is another one.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise RefusalError("The Content-Type must be application/json.", "Content-Type")
    try:
        return request.json()
    except ValueError:
        raise RefusalError("The JSON is malformed.", "body") from None


def bare(texts: Iterable[str], where: str) -> tuple[str, ...]:
    """Return the addresses in texts such as `Ann <ann@example.org>, bob@example.org`.

    Raises:
        RefusalError: one of them is none.
    """
    addresses = tuple(address for _, address in getaddresses(list(texts)))
    for address in addresses:
        if not ADDRESS.fullmatch(address):
            raise RefusalError(f"{where} is not a valid address.", where)
    return addresses


def parsed_mail(message: EmailMessage, recipients: tuple[str, ...] | None = None) -> Mail:
    """Return a MIME message in the common form.

    Args:
        message: parsed with the default policy.
        recipients: those of the envelope; those in its headers if not given.
    """
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    if recipients is None:
        fields = [str(message[name]) for name in ("To", "Cc", "Bcc") if message[name]]
        recipients = bare(fields, "Destination")
    return Mail(
        sender=bare([str(message["From"])], "From")[0],
        recipients=recipients,
        subject=str(message["Subject"]),
        text="" if text is None else text.get_content(),
        html=None if html is None else html.get_content(),
        headers={name.lower(): str(value) for name, value in message.items()},
    )


def json_reply(status: int, body: object) -> Reply:
    """Return an answer with JSON."""
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


def same(given: str, right: str) -> bool:
    """Compare two secrets."""
    return hmac.compare_digest(given.encode(), right.encode())


def basic_auth(user: str, password: str) -> str:
    """Return the Authorization header of a user."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class SendGrid(SendAPI):
    """SendGrid, Web API v3."""

    path = "/v3/mail/send"
    question = "/v3/scopes"

    def __init__(self, key: str) -> None:
        """Take messages of those who have the API key."""
        self._key = key

    def authorized(self, request: Received) -> bool:
        return same(request.headers.get("authorization", ""), f"Bearer {self._key}")

    def mail(self, request: Received) -> Mail:
        body = check(
            json_body(request),
            "",
            {"personalizations": list, "from": dict, "subject": str, "content": list},
            {
                "reply_to": dict,
                "reply_to_list": list,
                "headers": dict,
                "categories": list,
                "custom_args": dict,
                "send_at": int,
                "batch_id": str,
                "attachments": list,
                "asm": dict,
                "ip_pool_name": str,
                "mail_settings": dict,
                "tracking_settings": dict,
            },
        )
        if len(body["personalizations"]) != 1:
            raise RefusalError("You must have at least one personalization.", "personalizations")
        envelope = check(
            body["personalizations"][0],
            "personalizations.0",
            {"to": list},
            {
                "cc": list,
                "bcc": list,
                "subject": str,
                "headers": dict,
                "custom_args": dict,
                "send_at": int,
                "from": dict,
            },
        )
        strings(envelope.get("custom_args", {}), "personalizations.0.custom_args")
        recipients = [
            self._address(recipient, f"personalizations.0.{kind}")
            for kind in ("to", "cc", "bcc")
            for recipient in envelope.get(kind, [])
        ]
        if not envelope["to"] or len(set(recipients)) != len(recipients):
            raise RefusalError(
                "Each email address in the personalization block should be unique between to, cc,"
                " and bcc.",
                "personalizations.0",
            )
        content = [
            check(part, f"content.{number}", {"type": str, "value": str})
            for number, part in enumerate(body["content"])
        ]
        # "text/plain and text/html must be the first indices of the array in this order."
        types = [part["type"] for part in content]
        if types not in (["text/plain"], ["text/html"], ["text/plain", "text/html"]):
            raise RefusalError("The content parts are in no valid order.", "content")
        if not body["subject"] or not all(part["value"] for part in content):
            raise RefusalError(
                "The content value must be a string at least one character in length.",
                "content.0.value",
            )
        headers = {
            name.lower(): value
            for name, value in strings(body.get("headers", {}), "headers").items()
        }
        if reserved := headers.keys() & SENDGRID_RESERVED_HEADERS.split():
            raise RefusalError("The header is reserved.", f"headers.{min(reserved)}")
        parts = dict(zip(types, content, strict=True))
        return Mail(
            sender=self._address(body["from"], "from"),
            recipients=tuple(recipients),
            subject=body["subject"],
            text=parts["text/plain"]["value"] if "text/plain" in parts else "",
            html=parts["text/html"]["value"] if "text/html" in parts else None,
            headers=headers,
        )

    def accepted(self, mail: Mail) -> Reply:
        return Reply(202, {"X-Message-Id": uuid4().hex[:22]})

    def refusal(self, error: RefusalError) -> Reply:
        return self._error(400, str(error), error.field)

    def account(self) -> Reply:
        return json_reply(200, {"scopes": ["alerts.read", "mail.batch.read", "mail.send"]})

    def may_not_ask(self) -> Reply:
        return json_reply(200, {"scopes": ["mail.send", "sender_verification_eligible"]})

    def error(self, status: int) -> Reply:
        texts = {
            401: "The provided authorization grant is invalid, expired, or revoked",
            404: "not found",
            405: "method not allowed",
            429: "too many requests",
            500: "An internal server error has occurred",
        }
        return self._error(status, texts[status], None)

    def _error(self, status: int, message: str, field: str | None) -> Reply:
        return json_reply(status, {"errors": [{"message": message, "field": field, "help": None}]})

    def _address(self, value: object, where: str) -> str:
        recipient = check(value, where, {"email": str}, {"name": str})
        return bare([recipient["email"]], where)[0]


class Mailgun(SendAPI):
    """Mailgun, API v3."""

    def __init__(self, key: str, domain: str) -> None:
        """Take messages from a domain of those who have the API key."""
        self._key = key
        self._domain = domain
        self.path = f"/v3/{domain}/messages"
        self.question = f"/v4/domains/{domain}"

    def authorized(self, request: Received) -> bool:
        return same(request.headers.get("authorization", ""), basic_auth("api", self._key))

    def mail(self, request: Received) -> Mail:
        fields = self._fields(request)
        for name in fields:
            if name not in MAILGUN_FIELDS.split() and name.partition(":")[0] not in (
                "h",
                "o",
                "v",
                "t",
            ):
                raise RefusalError(f"'{name}' parameter is not known", name)
        for name in ("from", "to", "subject"):
            if name not in fields:
                raise RefusalError(f"{name} parameter is missing", name, missing=True)
        if not fields.keys() & {"text", "html", "amp-html", "template"}:
            raise RefusalError("Need at least one of 'text' or 'html' parameters", "text")
        [sender] = bare(fields["from"], "from")
        recipients = [
            address for kind in ("to", "cc", "bcc") for address in bare(fields.get(kind, []), kind)
        ]
        return Mail(
            sender=sender,
            recipients=tuple(recipients),
            subject=fields["subject"][0],
            text=fields.get("text", [""])[0],
            html=fields["html"][0] if "html" in fields else None,
            headers={
                name[2:].lower(): values[0]
                for name, values in fields.items()
                if name.startswith("h:")
            },
        )

    def accepted(self, mail: Mail) -> Reply:
        identifier = f"<{uuid4().hex}@{self._domain}>"
        return json_reply(200, {"id": identifier, "message": "Queued. Thank you."})

    def refusal(self, error: RefusalError) -> Reply:
        return json_reply(400, {"message": f"{error}. please check documentation"})

    def account(self) -> Reply:
        domain = {"name": self._domain, "state": "active", "type": "custom"}
        body = {"domain": domain, "receiving_dns_records": [], "sending_dns_records": []}
        return json_reply(200, body)

    def may_not_ask(self) -> Reply:
        return self.error(401)

    def error(self, status: int) -> Reply:
        if status == 401:
            return Reply(401, {"Content-Type": "text/plain"}, b"Forbidden")
        texts = {
            404: "Domain not found",
            405: "Method not allowed",
            429: "Too many requests",
            500: "Internal Server Error",
        }
        return json_reply(status, {"message": texts[status]})

    def _fields(self, request: Received) -> dict[str, list[str]]:
        if not request.body:
            return {}
        content_type = request.headers.get("content-type", "")
        if content_type.partition(";")[0] == "application/x-www-form-urlencoded":
            return parse_qs(request.body.decode(), keep_blank_values=True, strict_parsing=True)
        if content_type.partition(";")[0] != "multipart/form-data":
            raise RefusalError("The Content-Type must be that of a form", "Content-Type")
        form = message_from_bytes(
            f"Content-Type: {content_type}\r\n\r\n".encode() + request.body, policy=default_policy
        )
        fields: dict[str, list[str]] = {}
        for part in form.iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            fields.setdefault(name, []).append(content.decode())
        return fields


class Postmark(SendAPI):
    """Postmark's API for single messages."""

    path = "/email"
    question = "/server"
    sender_field = "From"

    def __init__(self, token: str) -> None:
        """Take messages of those who have the server token."""
        self._token = token

    def authorized(self, request: Received) -> bool:
        return same(request.headers.get("x-postmark-server-token", ""), self._token)

    def mail(self, request: Received) -> Mail:
        if request.headers.get("accept") != "application/json":
            raise RefusalError("The Accept header must be application/json.", "Accept")
        body = check(
            json_body(request),
            "",
            {"From": str},
            {
                "To": str,
                "Cc": str,
                "Bcc": str,
                "Subject": str,
                "Tag": str,
                "HtmlBody": str,
                "TextBody": str,
                "ReplyTo": str,
                "Headers": list,
                "TrackOpens": bool,
                "TrackLinks": str,
                "Metadata": dict,
                "Attachments": list,
                "MessageStream": str,
            },
        )
        recipients = [
            address
            for kind in ("To", "Cc", "Bcc")
            if kind in body
            for address in bare([body[kind]], kind)
        ]
        if not recipients:
            raise RefusalError("Zero recipients specified", "To", missing=True)
        if not body.get("TextBody") and not body.get("HtmlBody"):
            raise RefusalError("Provide either email TextBody or HtmlBody or both.", "TextBody")
        headers = [
            check(header, "Headers", {"Name": str, "Value": str})
            for header in body.get("Headers", [])
        ]
        return Mail(
            sender=bare([body["From"]], "From")[0],
            recipients=tuple(recipients),
            subject=body.get("Subject", ""),
            text=body.get("TextBody", ""),
            html=body.get("HtmlBody"),
            headers={header["Name"].lower(): header["Value"] for header in headers},
        )

    def accepted(self, mail: Mail) -> Reply:
        return json_reply(
            200,
            {
                "To": ", ".join(mail.recipients),
                "SubmittedAt": "2026-01-02T03:04:05.6789012Z",
                "MessageID": str(uuid4()),
                "ErrorCode": 0,
                "Message": "OK",
            },
        )

    def refusal(self, error: RefusalError) -> Reply:
        code = 402 if error.field in ("body", "Content-Type") else 300
        return json_reply(422, {"ErrorCode": code, "Message": f"Invalid '{error.field}': {error}"})

    def account(self) -> Reply:
        body = {"ID": 1, "Name": "Production", "ApiTokens": [self._token], "DeliveryType": "Live"}
        return json_reply(200, body)

    def error(self, status: int) -> Reply:
        code, text = {
            401: (10, "No Account or Server API tokens were supplied in the HTTP headers."),
            404: (404, "The requested resource was not found."),
            405: (405, "The method is not allowed."),
            429: (429, "Rate limit exceeded."),
            500: (0, "An internal server error has occurred."),
        }[status]
        return json_reply(status, {"ErrorCode": code, "Message": text})


class Resend(SendAPI):
    """Resend's API for single messages."""

    path = "/emails"
    question = "/domains"

    def __init__(self, key: str) -> None:
        """Take messages of those who have the API key."""
        self._key = key
        self._known: dict[str, tuple[bytes, Reply]] = {}  # by idempotency key
        self._lock = threading.Lock()

    def take(self, request: Received) -> tuple[Reply, Mail | None]:
        """Return the first answer again to a request with a known idempotency key."""
        key = request.headers.get("idempotency-key")
        if key is None:
            return super().take(request)
        with self._lock:
            if key in self._known:
                body, reply = self._known[key]
                if body == request.body:
                    return reply, None
                return self._error(409, "invalid_idempotent_request"), None
            if not 1 <= len(key) <= 256:
                return self._error(400, "invalid_idempotency_key"), None
            reply, mail = super().take(request)
            if mail is not None:
                self._known[key] = request.body, reply
            return reply, mail

    def authorized(self, request: Received) -> bool:
        return same(request.headers.get("authorization", ""), f"Bearer {self._key}")

    def mail(self, request: Received) -> Mail:
        if "user-agent" not in request.headers:
            raise RefusalError("Requests need a User-Agent.", "User-Agent")
        body = check(
            json_body(request),
            "",
            {"from": str, "to": str | list, "subject": str},
            {
                "bcc": str | list,
                "cc": str | list,
                "reply_to": str | list,
                "scheduled_at": str,
                "html": str,
                "text": str,
                "headers": dict,
                "attachments": list,
                "tags": list,
                "topic_id": str,
            },
        )
        recipients: list[str] = []
        for kind in ("to", "cc", "bcc"):
            texts = body.get(kind, [])
            recipients += bare([texts] if isinstance(texts, str) else texts, kind)
        if not recipients or len(recipients) > 50:
            raise RefusalError("There must be 1 to 50 recipients.", "to")
        if not body.get("text") and not body.get("html"):
            raise RefusalError("Missing `html` or `text` field.", "text", missing=True)
        headers = strings(body.get("headers", {}), "headers")
        return Mail(
            sender=bare([body["from"]], "from")[0],
            recipients=tuple(recipients),
            subject=body["subject"],
            text=body.get("text", ""),
            html=body.get("html"),
            headers={name.lower(): value for name, value in headers.items()},
        )

    def accepted(self, mail: Mail) -> Reply:
        return json_reply(200, {"id": str(uuid4())})

    def refusal(self, error: RefusalError) -> Reply:
        name = "missing_required_field" if error.missing else "validation_error"
        return self._error(422, name, str(error))

    def account(self) -> Reply:
        return json_reply(200, {"object": "list", "has_more": False, "data": []})

    def may_not_ask(self) -> Reply:
        text = "This API key is restricted to only send emails"
        return self._error(401, "restricted_api_key", text)

    def unknown_key(self) -> Reply:
        return self._error(400, "validation_error", "API key is invalid")

    def error(self, status: int) -> Reply:
        names = {
            401: "missing_api_key",
            404: "not_found",
            405: "method_not_allowed",
            429: "rate_limit_exceeded",
            500: "application_error",
        }
        return self._error(status, names[status])

    def _error(self, status: int, name: str, message: str = "") -> Reply:
        return json_reply(status, {"statusCode": status, "name": name, "message": message or name})


class Brevo(SendAPI):
    """Brevo, API v3."""

    path = "/v3/smtp/email"
    question = "/v3/account"
    sender_field = "sender"

    def __init__(self, key: str) -> None:
        """Take messages of those who have the API key."""
        self._key = key

    def authorized(self, request: Received) -> bool:
        return same(request.headers.get("api-key", ""), self._key)

    def mail(self, request: Received) -> Mail:
        body = check(
            json_body(request),
            "",
            {"sender": dict, "to": list, "subject": str},
            {
                "bcc": list,
                "cc": list,
                "htmlContent": str,
                "textContent": str,
                "replyTo": dict,
                "attachment": list,
                "headers": dict,
                "params": dict,
                "tags": list,
                "scheduledAt": str,
                "batchId": str,
            },
        )
        recipients = [
            self._address(recipient, kind)
            for kind in ("to", "cc", "bcc")
            for recipient in body.get(kind, [])
        ]
        if not body["to"]:
            raise RefusalError("to is missing", "to", missing=True)
        if not body.get("textContent") and not body.get("htmlContent"):
            raise RefusalError("htmlContent is missing", "htmlContent", missing=True)
        headers = strings(body.get("headers", {}), "headers")
        return Mail(
            sender=self._address(body["sender"], "sender"),
            recipients=tuple(recipients),
            subject=body["subject"],
            text=body.get("textContent", ""),
            html=body.get("htmlContent"),
            headers={name.lower(): value for name, value in headers.items()},
        )

    def accepted(self, mail: Mail) -> Reply:
        return json_reply(201, {"messageId": f"<{uuid4().hex}@smtp-relay.mailin.fr>"})

    def refusal(self, error: RefusalError) -> Reply:
        code = "missing_parameter" if error.missing else "invalid_parameter"
        return json_reply(400, {"code": code, "message": str(error)})

    def account(self) -> Reply:
        body = {"email": "ann@example.com", "companyName": "Example", "plan": [], "relay": {}}
        return json_reply(200, body)

    def may_not_ask(self) -> Reply:
        text = (
            'Access denied for resource "account". The API key does not include the required'
            " permission. Update the key permissions or send the request with a different key."
        )
        return json_reply(403, {"code": "permission_denied", "message": text})

    def error(self, status: int) -> Reply:
        code, message = {
            401: ("unauthorized", "Key not found"),
            404: ("document_not_found", "Invalid route/method passed"),
            405: ("method_not_allowed", "Invalid route/method passed"),
            429: ("too_many_requests", "You have reached the rate limit"),
            500: ("internal_error", "An internal error has occurred"),
        }[status]
        return json_reply(status, {"code": code, "message": message})

    def _address(self, value: object, where: str) -> str:
        recipient = check(value, where, {"email": str}, {"name": str})
        return bare([recipient["email"]], where)[0]


class Mailjet(SendAPI):
    """Mailjet, Send API v3.1."""

    path = "/v3.1/send"
    question = "/v3/REST/sender"
    sender_field = "From"

    def __init__(self, key: str, secret: str) -> None:
        """Take messages of those who have the API key and its secret key."""
        self._authorization = basic_auth(key, secret)

    def authorized(self, request: Received) -> bool:
        return same(request.headers.get("authorization", ""), self._authorization)

    def mail(self, request: Received) -> Mail:
        body = check(
            json_body(request),
            "",
            {"Messages": list},
            {"Globals": dict, "SandboxMode": bool, "AdvanceErrorHandling": bool},
        )
        if len(body["Messages"]) != 1:
            raise RefusalError("One message is expected.", "Messages")
        message = check(
            {**body.get("Globals", {}), **check_object(body["Messages"][0], "Messages")},
            "",
            {"From": dict, "To": list},
            {
                "Sender": dict,
                "Cc": list,
                "Bcc": list,
                "ReplyTo": dict,
                "Subject": str,
                "TextPart": str,
                "HTMLPart": str,
                "Attachments": list,
                "InlinedAttachments": list,
                "Priority": int,
                "CustomCampaign": str,
                "DeduplicateCampaign": bool,
                "TrackOpens": str,
                "TrackClicks": str,
                "CustomID": str,
                "EventPayload": str,
                "URLTags": str,
                "Headers": dict,
                "Variables": dict,
            },
        )
        recipients = [
            self._address(recipient, kind)
            for kind in ("To", "Cc", "Bcc")
            for recipient in message.get(kind, [])
        ]
        if not message["To"] or len(recipients) > 50:
            raise RefusalError("There must be 1 to 50 recipients.", "To")
        if len(message.get("Subject", "")) > 255:
            raise RefusalError("The subject is too long.", "Subject")
        if not message.get("TextPart") and not message.get("HTMLPart"):
            raise RefusalError(
                "At least HTMLPart, TextPart or TemplateID must be provided.", "TextPart"
            )
        headers = {
            name.lower(): value
            for name, value in strings(message.get("Headers", {}), "Headers").items()
        }
        if forbidden := headers.keys() & MAILJET_FORBIDDEN_HEADERS.split():
            raise RefusalError("Header cannot be customized.", f'Headers["{min(forbidden)}"]')
        return Mail(
            sender=self._address(message["From"], "From"),
            recipients=tuple(recipients),
            subject=message.get("Subject", ""),
            text=message.get("TextPart", ""),
            html=message.get("HTMLPart"),
            headers=headers,
        )

    def accepted(self, mail: Mail) -> Reply:
        number = uuid4().int >> 70
        reference = f"https://api.mailjet.com/v3/REST/message/{number}"
        to = [
            {
                "Email": recipient,
                "MessageUUID": str(uuid4()),
                "MessageID": number,
                "MessageHref": reference,
            }
            for recipient in mail.recipients
        ]
        message = {"Status": "success", "CustomID": "", "To": to, "Cc": [], "Bcc": []}
        return json_reply(200, {"Messages": [message]})

    def refusal(self, error: RefusalError) -> Reply:
        code = "mj-0003" if error.missing else "mj-0004"
        if error.field.startswith("Headers["):
            code = "send-0011"
        if error.field in ("body", "Content-Type"):
            return self._error(400, "mj-0002", str(error))
        details = {
            "ErrorIdentifier": str(uuid4()),
            "ErrorCode": code,
            "StatusCode": 400,
            "ErrorMessage": str(error),
            "ErrorRelatedTo": [error.field],
        }
        return json_reply(400, {"Messages": [{"Status": "error", "Errors": [details]}]})

    def account(self) -> Reply:
        sender = {"ID": 1, "Email": "*@example.com", "Status": "Active"}
        return json_reply(200, {"Count": 1, "Data": [sender], "Total": 1})

    def may_not_ask(self) -> Reply:
        return self._error(403, "mj-0403", "You are not authorized to access this resource.")

    def error(self, status: int) -> Reply:
        code, message = {
            401: ("mj-0015", "API key authentication/authorization failure."),
            404: ("mj-0404", "Object not found"),
            405: ("mj-0405", "Method not allowed"),
            429: ("mj-0429", "Too many requests"),
            500: ("mj-0500", "Unexpected internal error"),
        }[status]
        return self._error(status, code, message)

    def _error(self, status: int, code: str, message: str) -> Reply:
        return json_reply(
            status,
            {
                "ErrorIdentifier": str(uuid4()),
                "ErrorCode": code,
                "ErrorMessage": message,
                "StatusCode": status,
            },
        )

    def _address(self, value: object, where: str) -> str:
        recipient = check(value, where, {"Email": str}, {"Name": str})
        return bare([recipient["Email"]], where)[0]


def check_object(value: object, where: str) -> dict[str, Any]:
    """Return a value that must be a JSON object."""
    if not isinstance(value, dict):
        raise RefusalError("An object is expected.", where)
    return value
