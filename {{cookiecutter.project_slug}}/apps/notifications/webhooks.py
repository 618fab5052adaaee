"""Posts one webhook and says what became of it (https://www.standardwebhooks.com/)."""

import json
import socket
import ssl
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import cache
from threading import Timer
from typing import Any, Self

import httpx
from django.conf import settings
from standardwebhooks import Webhook

from .addresses import is_allowed, resolve
from .errors import PermanentDeliveryError, TemporaryDeliveryError
from .retries import parse_retry_after

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 30.0
MAX_REDIRECTS = 3
# Enough to let an ordinary answer end in peace; its content means nothing.
MAX_RESPONSE_BYTES = 64 * 1024

# Codes that keep the method and the body; after 301, 302 and 303 a client may send a GET.
REDIRECTS = {httpx.codes.TEMPORARY_REDIRECT, httpx.codes.PERMANENT_REDIRECT}
TEMPORARY = {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS}


def deliver(url: str, payload: dict[str, Any], message_id: str) -> None:
    """Post the payload as JSON with a Standard Webhooks signature.

    Each address is checked before it is connected to, also after a redirect. Plain http is for
    WEBHOOK_ALLOWED_NETWORKS only: elsewhere anybody on the way could read the payload, or answer
    in the receiver's name. One call takes TOTAL_SECONDS at most, and the DNS look-ups.

    Args:
        url: where to; its host must have a secret in WEBHOOK_SECRETS.
        payload: what to send.
        message_id: the webhook-id header, equal for every try of one message, so that the
            receiver can drop a second copy.

    Raises:
        TemporaryDeliveryError: no answer, or 408, 429 or 5xx.
        PermanentDeliveryError: the URL is not acceptable, or any other answer that is not 2xx.
        ValueError: the payload is no JSON, or the secret no base64.
    """
    body = json.dumps(payload, allow_nan=False)
    target = _checked_url(url)
    with Deadline(TOTAL_SECONDS) as deadline:
        for _ in range(1 + MAX_REDIRECTS):
            status, headers = _post(target, body, message_id, deadline)
            if status not in REDIRECTS:
                break
            target = _checked_url(headers.get("Location", ""), base=target)
        else:
            raise PermanentDeliveryError(
                f"{target.host} redirects more than {MAX_REDIRECTS} times."
            )
    if httpx.codes.is_success(status):
        return
    answer = f"{target.host} answered {status}."
    if status in TEMPORARY or httpx.codes.is_server_error(status):
        retry_after = parse_retry_after(headers.get("Retry-After", ""))
        raise TemporaryDeliveryError(answer, retry_after=retry_after)
    raise PermanentDeliveryError(answer)


class Deadline:
    """Ends an exchange that takes too long in all.

    httpx's timeouts limit each read, so a server that sends a byte now and then would hold a
    worker for hours.

    Args:
        seconds: how long the block may use the connections that `watch` saw.
    """

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._connection: socket.socket | None = None
        self._timer = Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._timer.cancel()

    def watch(self, event: str, info: dict[str, Any]) -> None:
        """Take note of a new connection; for httpx's "trace" extension."""
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            self._connection = info["return_value"].get_extra_info("socket")
            if self.expired:
                self._shut_down()

    def _expire(self) -> None:
        self.expired = True
        self._shut_down()

    def _shut_down(self) -> None:
        # Unlike close(), shutdown() wakes a thread that is reading.
        if self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)


def _checked_url(url: str, base: httpx.URL | None = None) -> httpx.URL:
    """Parse a URL, relative to the one that redirects to it, and check all but its address."""
    try:
        parsed = base.join(url) if base else httpx.URL(url)
    except httpx.InvalidURL:
        # The library's words quote the URL, which may hold a token.
        raise PermanentDeliveryError("The URL of the webhook cannot be read.") from None
    if parsed.scheme not in {"http", "https"}:
        raise PermanentDeliveryError("The URL of a webhook must start with https://.")
    if parsed.userinfo:
        raise PermanentDeliveryError("The URL of a webhook must not hold a user name or password.")
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise PermanentDeliveryError("The URL of the webhook has no valid port.")
    return parsed


def _post(
    url: httpx.URL, body: str, message_id: str, deadline: Deadline
) -> tuple[int, httpx.Headers]:
    """Make one signed request, without following redirects, and return status and headers."""
    host = url.raw_host.decode("ascii")
    secret = settings.WEBHOOK_SECRETS.get(host)
    if not secret:
        raise PermanentDeliveryError(
            f"WEBHOOK_SECRETS has no secret for {host}: nothing is sent unsigned."
        )
    try:
        address = resolve(host)
    except socket.gaierror as exc:
        raise TemporaryDeliveryError(f"{host} cannot be resolved: {exc}") from exc
    if url.scheme == "http" and not is_allowed(address):
        raise PermanentDeliveryError(
            f"{host} needs https:// (http is for WEBHOOK_ALLOWED_NETWORKS)."
        )
    now = datetime.now(UTC)
    headers = {
        "Host": url.netloc.decode("ascii"),
        "Content-Type": "application/json",
        "User-Agent": f"{settings.SERVICE_NAME}/{settings.VERSION}",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body),
    }
    # The certificate is verified for the name, though the URL holds the address.
    extensions = {
        "sni_hostname": host,
        "timeout": httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS).as_dict(),
        "trace": deadline.watch,
    }
    request = httpx.Request(
        "POST",
        url.copy_with(host=str(address)),
        headers=headers,
        content=body,
        extensions=extensions,
    )
    # A bare transport: httpx.Client logs the URL and takes proxies, which look up names themselves,
    # from the environment. One for each request: a pooled connection to the same address could
    # belong to another name.
    try:
        with (
            httpx.HTTPTransport(verify=_tls()) as transport,
            closing(transport.handle_request(request)) as response,
        ):
            _drain(response)
            return response.status_code, response.headers
    except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError) as exc:
        reason = f"no answer within {TOTAL_SECONDS:.0f} s" if deadline.expired else str(exc)
        raise TemporaryDeliveryError(f"{host}: {reason}") from exc


@cache
def _tls() -> ssl.SSLContext:
    """Return the system's trusted certificates, or those of SSL_CERT_FILE; slow to read."""
    return ssl.create_default_context()


def _drain(response: httpx.Response) -> None:
    """Read a response to its end, or to MAX_RESPONSE_BYTES; the status already says it all."""
    with suppress(httpx.TransportError):
        for _ in response.iter_raw():
            if response.num_bytes_downloaded > MAX_RESPONSE_BYTES:
                break
