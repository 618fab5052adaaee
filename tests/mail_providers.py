"""Every e-mail provider of the template: its server, its variables, and the events that it reports.

Keys, passwords and tokens have recognisable values, so that a test can look for them elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks import Webhook

from tests.servers.mail_apis import (
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
    parsed_mail,
)
from tests.servers.ses import SESServer
from tests.servers.smtp import SILENCE, SMTPServer
from tests.servers.tls import Authority

DOMAIN = "example.com"  # of the sender
REGION = "eu-central-1"

API_KEY = "leaked-api-key-0b9f2d"
SECRET_KEY = "leaked-secret-key-7c41aa"
WEBHOOK_USER = "events"
WEBHOOK_PASSWORD = "leaked-webhook-password-5e77"
SIGNING_KEY = "leaked-signing-key-a91c33"
SVIX_SECRET = "whsec_" + base64.b64encode(b"leaked-svix-secret-13f6").decode()
SENDGRID_KEY = ec.generate_private_key(ec.SECP256R1())
SENDGRID_PUBLIC_KEY = base64.b64encode(
    SENDGRID_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


class SMTPMailServer:
    """An SMTP server that looks like the servers of the APIs."""

    def __init__(self, authority: Authority) -> None:
        """Listen at once, with STARTTLS and a login."""
        self._server = SMTPServer(authority, ("mailer", SECRET_KEY))
        self.refusals: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    @property
    def attempts(self) -> int:
        """How many messages were begun, whatever became of them."""
        return self._server.attempts

    @property
    def inbox(self) -> list[Mail]:
        """Everything that was taken, oldest first."""
        return [
            parsed_mail(delivery.message, delivery.recipients) for delivery in self._server.inbox
        ]

    def restrict(self) -> None:
        """Do nothing: who may log in may do nothing but send."""

    def fail(self, *failures: Failure) -> None:
        """Let the next messages fail; then the server takes all again."""
        for failure in failures:
            match failure:
                case Failure.BUSY:
                    self._server.reply("451 4.7.1 greylisted, try again later", to="MAIL")
                case Failure.BROKEN:
                    self._server.reply("452 4.3.1 insufficient system storage", to="MAIL")
                case Failure.REFUSED:
                    self._server.reply("550 5.7.1 not wanted", to="MAIL")
                case Failure.UNAUTHORIZED:
                    self._server.reply("530 5.7.0 authentication required", to="MAIL")
                case Failure.SILENT:
                    self._server.reply(SILENCE, to="MAIL")
                case Failure.TRICKLING:
                    raise NotImplementedError("the SMTP server does not trickle")

    def wait_for_mail(self, count: int, timeout: float) -> list[Mail]:
        """Wait until the inbox holds so many messages; see `MailAPIServer`."""
        self._server.wait_for(count, timeout)
        return self.inbox


MailServer = MailAPIServer | SMTPMailServer


@dataclass(frozen=True)
class Event:
    """What a provider posts to the project's webhook.

    Attributes:
        body: as it is sent.
        headers: the signature among them.
    """

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Provider:
    """A provider, as the template asks for it.

    Attributes:
        server: makes its server.
        variables: the project's variables, apart from those that need the server's address.
        api_url: the variable for that address, and the path in it.
        secrets: values of the variables that nobody may see.
        webhook: path of the project's endpoint for events.
        event: makes an event of a kind (`bounce`, `soft bounce` or `complaint`) for an address.
        forge: makes another event of it that the provider has not sent.
    """

    server: Callable[[Authority], MailServer]
    variables: Mapping[str, str]
    secrets: tuple[str, ...]
    api_url: tuple[str, str] = ("", "")
    webhook: str = ""
    event: Callable[[str, str], Event] = field(default=lambda kind, address: Event(b"", {}))
    forge: Callable[[Event], Event] = field(default=lambda event: event)

    def environment(self, server: MailServer, authority: Authority) -> dict[str, str]:
        """Return the project's variables, all of them."""
        own = dict(self.variables)
        if isinstance(server, SMTPMailServer):
            # The certificate is verified by the system's authorities, or those of this variable.
            own |= {"EMAIL_PORT": str(server.port), "SSL_CERT_FILE": str(authority.file)}
        else:
            name, path = self.api_url
            own |= {
                name: server.url(path),
                "REQUESTS_CA_BUNDLE": str(authority.file),
                "AWS_CA_BUNDLE": str(authority.file),
            }
        return own


def _json_event(payload: object, **headers: str) -> Event:
    return Event(json.dumps(payload).encode(), {"Content-Type": "application/json", **headers})


def _with_password(payload: object, **headers: str) -> Event:
    password = basic_auth(WEBHOOK_USER, WEBHOOK_PASSWORD)
    return _json_event(payload, Authorization=password, **headers)


def _with_another_password(event: Event) -> Event:
    password = basic_auth(WEBHOOK_USER, "guessed")
    return Event(event.body, {**event.headers, "Authorization": password})


def _with_another_address(event: Event) -> Event:
    return Event(event.body.replace(b"@", b"-forged@"), event.headers)


# https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
def _sendgrid_event(kind: str, address: str) -> Event:
    name, more = {
        "bounce": ("bounce", {"type": "bounce", "reason": "550 5.1.1 unknown", "status": "5.1.1"}),
        "soft bounce": (
            "bounce",
            {"type": "blocked", "reason": "450 4.2.2 full", "status": "4.2.2"},
        ),
        "complaint": ("spamreport", {}),
    }[kind]
    event = {
        "email": address,
        "timestamp": int(time.time()),
        "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "event": name,
        "sg_event_id": uuid4().hex,
        "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
        **more,
    }
    body = json.dumps([event]).encode()
    timestamp = str(int(time.time()))
    signature = SENDGRID_KEY.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return Event(
        body,
        {
            "Content-Type": "application/json",
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        },
    )


# https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
def _mailgun_event(kind: str, address: str) -> Event:
    name, more = {
        "bounce": ("failed", {"severity": "permanent", "reason": "bounce"}),
        "soft bounce": ("failed", {"severity": "temporary", "reason": "generic"}),
        "complaint": ("complained", {}),
    }[kind]
    timestamp, token = str(int(time.time())), uuid4().hex + uuid4().hex[:18]
    signature = hmac.new(SIGNING_KEY.encode(), f"{timestamp}{token}".encode(), hashlib.sha256)
    return _json_event(
        {
            "signature": {
                "timestamp": timestamp,
                "token": token,
                "signature": signature.hexdigest(),
            },
            "event-data": {
                "event": name,
                "timestamp": time.time(),
                "id": "G9Bn5sl1TC6nu79C8C0bwg",
                "recipient": address,
                "recipient-domain": address.partition("@")[2],
                "message": {"headers": {"to": address, "message-id": "20130503233@example.com"}},
                "delivery-status": {"code": 605, "message": "", "description": "Not delivering"},
                "user-variables": {},
                "tags": [],
                **more,
            },
        }
    )


def _mailgun_forgery(event: Event) -> Event:
    payload = json.loads(event.body)
    payload["signature"]["token"] = uuid4().hex
    return _json_event(payload)


# https://postmarkapp.com/developer/webhooks/bounce-webhook, .../spam-complaint-webhook
def _postmark_event(kind: str, address: str) -> Event:
    record, name, code = {
        "bounce": ("Bounce", "HardBounce", 1),
        "soft bounce": ("Bounce", "SoftBounce", 4096),
        "complaint": ("SpamComplaint", "SpamComplaint", 512),
    }[kind]
    return _with_password(
        {
            "RecordType": record,
            "MessageStream": "outbound",
            "ID": 4323372036854775807,
            "Type": name,
            "TypeCode": code,
            "Name": name,
            "Tag": "",
            "MessageID": str(uuid4()),
            "ServerID": 23,
            "Metadata": {},
            "Description": "The server was unable to deliver your message.",
            "Details": "Test bounce details",
            "Email": address,
            "From": "ann@example.com",
            "BouncedAt": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "DumpAvailable": True,
            "Inactive": kind != "soft bounce",
            "CanActivate": True,
            "Subject": "Test subject",
        }
    )


# https://resend.com/docs/dashboard/webhooks/event-types
def _resend_event(kind: str, address: str) -> Event:
    more = {}
    if kind != "complaint":
        hard = kind == "bounce"
        more["bounce"] = {
            "type": "Permanent" if hard else "Transient",
            "subType": "General" if hard else "MailboxFull",
            "message": "The recipient's email provider sent a bounce message.",
        }
    now = datetime.now(UTC)
    payload = {
        "type": "email.bounced" if more else "email.complained",
        "created_at": now.isoformat().replace("+00:00", "Z"),
        "data": {
            "email_id": str(uuid4()),
            "created_at": now.isoformat(),
            "from": "Ann <ann@example.com>",
            "to": [address],
            "subject": "Test subject",
            **more,
        },
    }
    body, identifier = json.dumps(payload), f"msg_{uuid4().hex}"
    headers = {
        "Content-Type": "application/json",
        "svix-id": identifier,
        "svix-timestamp": str(int(now.timestamp())),
        "svix-signature": Webhook(SVIX_SECRET).sign(identifier, now, body),
    }
    return Event(body.encode(), headers)


# https://developers.brevo.com/docs/transactional-webhooks
def _brevo_event(kind: str, address: str) -> Event:
    name = {"bounce": "hard_bounce", "soft bounce": "soft_bounce", "complaint": "spam"}[kind]
    now = int(time.time())
    return _with_password(
        {
            "event": name,
            "email": address,
            "id": 26224,
            "date": "2026-01-02 03:04:05",
            "ts": now,
            "message-id": f"<{uuid4().hex}@smtp-relay.mailin.fr>",
            "ts_event": now,
            "ts_epoch": now * 1000,
            "subject": "Test subject",
            "sending_ip": "192.0.2.1",
            "reason": "server is down",
        }
    )


# https://dev.mailjet.com/email/guides/webhooks/
def _mailjet_event(kind: str, address: str) -> Event:
    event: dict[str, Any] = {
        "event": "spam" if kind == "complaint" else "bounce",
        "time": int(time.time()),
        "MessageID": 13792286917004336,
        "Message_GUID": str(uuid4()),
        "email": address,
        "mj_campaign_id": 0,
        "mj_contact_id": 0,
        "customcampaign": "",
        "CustomID": "",
        "Payload": "",
    }
    if kind == "complaint":
        event["source"] = "JMRPP"
    else:
        hard = kind == "bounce"
        event |= {
            "blocked": False,
            "hard_bounce": hard,
            "error_related_to": "recipient",
            "error": "user unknown" if hard else "quota exceeded",
            "comment": "Host or domain name not found.",
        }
    return _with_password([event])


# https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html inside of
# https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html
def _ses_event(kind: str, address: str) -> Event:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    recipients = [{"emailAddress": address}]
    content: dict[str, Any]
    if kind == "complaint":
        content = {
            "notificationType": "Complaint",
            "complaint": {
                "complainedRecipients": recipients,
                "complaintFeedbackType": "abuse",
                "timestamp": now,
                "feedbackId": str(uuid4()),
            },
        }
    else:
        permanent = kind == "bounce"
        content = {
            "notificationType": "Bounce",
            "bounce": {
                "bounceType": "Permanent" if permanent else "Transient",
                "bounceSubType": "General" if permanent else "MailboxFull",
                "bouncedRecipients": recipients,
                "timestamp": now,
                "feedbackId": str(uuid4()),
            },
        }
    content["mail"] = {
        "timestamp": now,
        "source": "ann@example.com",
        "messageId": str(uuid4()),
        "destination": [address],
    }
    identifier = str(uuid4())
    return Event(
        json.dumps(
            {
                "Type": "Notification",
                "MessageId": identifier,
                "TopicArn": "arn:aws:sns:eu-central-1:123456789012:mail",
                "Message": json.dumps(content),
                "Timestamp": now,
                "SignatureVersion": "1",
                "Signature": "AAAA",
                "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/certificate.pem",
            }
        ).encode(),
        {
            "Content-Type": "text/plain; charset=UTF-8",
            "x-amz-sns-message-type": "Notification",
            "x-amz-sns-message-id": identifier,
            "x-amz-sns-topic-arn": "arn:aws:sns:eu-central-1:123456789012:mail",
            "Authorization": basic_auth(WEBHOOK_USER, WEBHOOK_PASSWORD),
        },
    )


_PASSWORD = {"ANYMAIL_WEBHOOK_SECRET": f"{WEBHOOK_USER}:{WEBHOOK_PASSWORD}"}

PROVIDERS = {
    "smtp": Provider(
        SMTPMailServer,
        {
            "EMAIL_HOST": "localhost",
            "EMAIL_USE_TLS": "true",
            "EMAIL_HOST_USER": "mailer",
            "EMAIL_HOST_PASSWORD": SECRET_KEY,
        },
        secrets=(SECRET_KEY,),
    ),
    "sendgrid": Provider(
        lambda authority: MailAPIServer(SendGrid(API_KEY), authority),
        {
            "SENDGRID_API_KEY": API_KEY,
            "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY": SENDGRID_PUBLIC_KEY,
        },
        secrets=(API_KEY,),
        api_url=("SENDGRID_API_URL", "/v3/"),
        webhook="/anymail/sendgrid/tracking/",
        event=_sendgrid_event,
        forge=_with_another_address,
    ),
    "ses": Provider(
        lambda authority: SESServer(API_KEY, SECRET_KEY, REGION, DOMAIN, authority),
        {
            "AWS_ACCESS_KEY_ID": API_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            **_PASSWORD,
        },
        secrets=(SECRET_KEY, WEBHOOK_PASSWORD),
        api_url=("AWS_ENDPOINT_URL_SESV2", ""),
        webhook="/anymail/amazon_ses/tracking/",
        event=_ses_event,
        forge=_with_another_password,
    ),
    "mailgun": Provider(
        lambda authority: MailAPIServer(Mailgun(API_KEY, DOMAIN), authority),
        {
            "MAILGUN_API_KEY": API_KEY,
            "MAILGUN_SENDER_DOMAIN": DOMAIN,
            "MAILGUN_WEBHOOK_SIGNING_KEY": SIGNING_KEY,
        },
        secrets=(API_KEY, SIGNING_KEY),
        api_url=("MAILGUN_API_URL", "/v3"),
        webhook="/anymail/mailgun/tracking/",
        event=_mailgun_event,
        forge=_mailgun_forgery,
    ),
    "postmark": Provider(
        lambda authority: MailAPIServer(Postmark(API_KEY), authority),
        {"POSTMARK_SERVER_TOKEN": API_KEY, **_PASSWORD},
        secrets=(API_KEY, WEBHOOK_PASSWORD),
        api_url=("POSTMARK_API_URL", "/"),
        webhook="/anymail/postmark/tracking/",
        event=_postmark_event,
        forge=_with_another_password,
    ),
    "resend": Provider(
        lambda authority: MailAPIServer(Resend(API_KEY), authority),
        {"RESEND_API_KEY": API_KEY, "RESEND_SIGNING_SECRET": SVIX_SECRET},
        secrets=(API_KEY, SVIX_SECRET),
        api_url=("RESEND_API_URL", "/"),
        webhook="/anymail/resend/tracking/",
        event=_resend_event,
        forge=_with_another_address,
    ),
    "brevo": Provider(
        lambda authority: MailAPIServer(Brevo(API_KEY), authority),
        {"BREVO_API_KEY": API_KEY, **_PASSWORD},
        secrets=(API_KEY, WEBHOOK_PASSWORD),
        api_url=("BREVO_API_URL", "/v3/"),
        webhook="/anymail/brevo/tracking/",
        event=_brevo_event,
        forge=_with_another_password,
    ),
    "mailjet": Provider(
        lambda authority: MailAPIServer(Mailjet(API_KEY, SECRET_KEY), authority),
        {"MAILJET_API_KEY": API_KEY, "MAILJET_SECRET_KEY": SECRET_KEY, **_PASSWORD},
        secrets=(API_KEY, SECRET_KEY, WEBHOOK_PASSWORD),
        api_url=("MAILJET_API_URL", "/v3.1/"),
        webhook="/anymail/mailjet/tracking/",
        event=_mailjet_event,
        forge=_with_another_password,
    ),
}
