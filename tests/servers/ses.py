"""Amazon SES, API v2: moto keeps the messages, a server in front of it checks what moto does not.

Moto verifies neither signatures nor the fields of a request, and does not fail on demand.
https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetAccount.html
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from email import message_from_bytes
from email.policy import default as default_policy

import requests
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from moto.server import ThreadedMotoServer

from tests.servers.http import Received, Reply
from tests.servers.mail_apis import (
    Mail,
    MailAPIServer,
    RefusalError,
    SendAPI,
    bare,
    check,
    json_body,
    json_reply,
    parsed_mail,
    same,
)
from tests.servers.tls import Authority

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)"
    r"/ses/aws4_request, SignedHeaders=(?P<headers>[a-z0-9;-]+), Signature=(?P<signature>\w+)"
)


class SES(SendAPI):
    """What Amazon documents of SendEmail, with a signature of version 4 and a raw message."""

    path = "/v2/email/outbound-emails"
    question = "/v2/email/account"
    sender_field = "FromEmailAddress"

    def __init__(self, key: str, secret: str, region: str, moto_url: str) -> None:
        """Take messages of those who have the access key.

        Args:
            key: access key id.
            secret: secret access key.
            region: where requests must be addressed to.
            moto_url: address of a server of moto, in which the sender's domain is verified.
        """
        self._credentials = Credentials(key, secret)
        self._region = region
        self._moto_url = moto_url

    def authorized(self, request: Received) -> bool:
        """Compute the signature again, as the service does."""
        given = AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if given is None or "x-amz-date" not in request.headers:
            return False
        names = given["headers"].split(";")
        if not {"host", "x-amz-date"} <= set(names) <= request.headers.keys():
            return False
        original = AWSRequest(
            request.method,
            f"http://{request.headers['host']}{request.path}",
            headers={name: request.headers[name] for name in names},
            data=request.body,
        )
        original.context["timestamp"] = request.headers["x-amz-date"]
        signer = SigV4Auth(self._credentials, "ses", self._region)
        text = signer.string_to_sign(original, signer.canonical_request(original))
        return (
            given["key"] == self._credentials.access_key
            and given["region"] == self._region
            and same(given["signature"], signer.signature(text, original))
        )

    def take(self, request: Received) -> tuple[Reply, Mail | None]:
        """Let moto take what has the right form."""
        reply, mail = super().take(request)
        if mail is None:
            return reply, None
        answer = requests.post(
            self._moto_url + self.path,
            data=request.body,
            headers={**request.headers, "host": "localhost"},
            timeout=10,
        )
        headers = {"Content-Type": "application/json"}
        if not answer.ok:
            headers["x-amzn-errortype"] = answer.headers["x-amzn-errortype"]
        return Reply(answer.status_code, headers, answer.content), mail if answer.ok else None

    def mail(self, request: Received) -> Mail:
        body = check(
            json_body(request),
            "",
            {"Content": dict},
            {
                "FromEmailAddress": str,
                "Destination": dict,
                "ReplyToAddresses": list,
                "FeedbackForwardingEmailAddress": str,
                "EmailTags": list,
                "ConfigurationSetName": str,
                "ListManagementOptions": dict,
            },
        )
        content = check(body["Content"], "Content", {"Raw": dict})
        raw = check(content["Raw"], "Content.Raw", {"Data": str})["Data"]
        destination = check(
            body.get("Destination", {}),
            "Destination",
            {},
            {"ToAddresses": list, "CcAddresses": list, "BccAddresses": list},
        )
        try:
            message = message_from_bytes(
                base64.b64decode(raw, validate=True), policy=default_policy
            )
        except binascii.Error:
            raise RefusalError("The data is not in Base64.", "Content.Raw.Data") from None
        if message.defects:
            raise RefusalError("The message is malformed.", "Content.Raw.Data")
        recipients = tuple(
            address
            for kind in ("ToAddresses", "CcAddresses", "BccAddresses")
            for address in bare(destination.get(kind, []), kind)
        )
        return parsed_mail(message, recipients or None)

    def accepted(self, mail: Mail) -> Reply:
        return Reply()  # moto gives the answer

    def refusal(self, error: RefusalError) -> Reply:
        rejected = error.field == self.sender_field
        return self._error(
            400, "MessageRejected" if rejected else "BadRequestException", str(error)
        )

    def account(self) -> Reply:
        body = {
            "DedicatedIpAutoWarmupEnabled": False,
            "EnforcementStatus": "HEALTHY",
            "ProductionAccessEnabled": True,
            "SendQuota": {"Max24HourSend": 50000, "MaxSendRate": 14, "SentLast24Hours": 0},
            "SendingEnabled": True,
        }
        return json_reply(200, body)

    def may_not_ask(self) -> Reply:
        text = "User is not authorized to perform: ses:GetAccount"
        return self._error(403, "AccessDeniedException", text)

    def error(self, status: int) -> Reply:
        name, message = {
            401: ("UnrecognizedClientException", "The security token is invalid."),
            404: ("UnknownOperationException", "Not found."),
            405: ("MethodNotAllowedException", "Method not allowed."),
            429: ("TooManyRequestsException", "Maximum sending rate exceeded."),
            500: ("InternalFailure", "An internal failure has occurred."),
        }[status]
        return self._error(403 if status == 401 else status, name, message)

    def _error(self, status: int, name: str, message: str) -> Reply:
        headers = {"Content-Type": "application/json", "x-amzn-errortype": name}
        return Reply(status, headers, json.dumps({"message": message}).encode())


class SESServer(MailAPIServer):
    """Amazon SES in one region, in which one domain is verified."""

    def __init__(
        self, key: str, secret: str, region: str, domain: str, authority: Authority | None = None
    ) -> None:
        """Listen at once.

        Args:
            key: access key id.
            secret: secret access key.
            region: name of the region.
            domain: from which messages are taken.
            authority: who signs the certificate; None for plain HTTP.
        """
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        host, port = self._moto.get_host_and_port()
        address = f"http://{host}:{port}"
        # Moto reads the region from here; it does not look at the signature.
        credential = f"AWS4-HMAC-SHA256 Credential={key}/20260101/{region}/ses/aws4_request"
        requests.post(f"{address}/moto-api/reset", timeout=10).raise_for_status()
        requests.post(
            f"{address}/v2/email/identities",
            json={"EmailIdentity": domain},
            headers={"Authorization": f"{credential}, SignedHeaders=host, Signature=0"},
            timeout=10,
        ).raise_for_status()
        super().__init__(SES(key, secret, region, address), authority)

    def close(self) -> None:
        """Close both ports."""
        super().close()
        self._moto.stop()
