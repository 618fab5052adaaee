"""A real SMTP server with an inbox, whose answers a test can write in advance."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as default_policy
from typing import Any, Final, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.processes import free_port
from tests.servers.own import ClosingServer
from tests.servers.tls import Authority

Command = Literal["MAIL", "RCPT", "DATA"]

SILENCE: Final = "silence"  # a scripted answer that never comes


@dataclass(frozen=True)
class Delivery:
    """A message that the server took.

    Attributes:
        message: the parsed message.
        sender: the envelope's sender.
        recipients: the envelope's recipients.
        encrypted: whether it came through TLS.
        user: who had logged in, if anybody.
    """

    message: EmailMessage
    sender: str
    recipients: tuple[str, ...]
    encrypted: bool
    user: str | None


class SMTPServer(ClosingServer):
    """An SMTP server on 127.0.0.1; with an authority it demands STARTTLS."""

    def __init__(
        self, authority: Authority | None = None, credentials: tuple[str, str] | None = None
    ) -> None:
        """Listen at once.

        Args:
            authority: who signs the certificate for STARTTLS; None for plain SMTP.
            credentials: user and password that clients must give; needs `authority`.

        Raises:
            ValueError: credentials without TLS.
        """
        if credentials is not None and authority is None:
            raise ValueError("credentials need an authority: no login without TLS")
        self.port = free_port()
        self._inbox: list[Delivery] = []
        self._attempts = 0
        self._replies: dict[str, deque[str]] = {}
        self._changed = threading.Condition()
        self._credentials = credentials
        self._controller = _Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            tls_context=None if authority is None else authority.server_context(),
            require_starttls=authority is not None,
            authenticator=self._authenticate,
            auth_required=credentials is not None,
        )
        self._controller.start()

    @property
    def inbox(self) -> list[Delivery]:
        """Everything that was taken, oldest first."""
        with self._changed:
            return list(self._inbox)

    @property
    def attempts(self) -> int:
        """How many messages were begun (MAIL FROM), whatever became of them."""
        with self._changed:
            return self._attempts

    def reply(self, *replies: str, to: Command = "DATA") -> None:
        """Write the next answers to a command in advance; then the server takes all again.

        Args:
            replies: lines such as `451 try again later`, or `SILENCE`. A message whose DATA is
                answered 250 is taken.
            to: which command is answered.
        """
        with self._changed:
            self._replies.setdefault(to, deque()).extend(replies)

    def wait_for(self, count: int, timeout: float) -> list[Delivery]:
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
                f" ({self._attempts} attempts)"
            )
            return list(self._inbox)

    def close(self) -> None:
        """Close the port and all connections."""
        self._controller.stop()

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer MAIL FROM."""
        with self._changed:
            self._attempts += 1
        reply = await self._scripted("MAIL", "250 OK")
        if reply.startswith("2"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer RCPT TO."""
        reply = await self._scripted("RCPT", "250 OK")
        if reply.startswith("2"):
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return reply

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Answer the end of a message and put it into the inbox if the answer is 250."""
        reply = await self._scripted("DATA", "250 OK")
        if reply.startswith("2"):
            assert isinstance(envelope.content, bytes)
            user: str | None = session.auth_data if session.authenticated else None
            delivery = Delivery(
                message=message_from_bytes(
                    envelope.content.replace(b"\r\n", b"\n"), policy=default_policy
                ),
                sender=envelope.mail_from or "",
                recipients=tuple(address or "" for address in envelope.rcpt_tos),
                encrypted=session.ssl is not None,
                user=user,
            )
            with self._changed:
                self._inbox.append(delivery)
                self._changed.notify_all()
        return reply

    async def _scripted(self, command: Command, otherwise: str) -> str:
        with self._changed:
            replies = self._replies.get(command)
            reply = replies.popleft() if replies else otherwise
        if reply == SILENCE:
            await asyncio.Event().wait()  # until the server is closed
        return reply

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        if self._credentials is None or not isinstance(data, LoginPassword):
            return AuthResult(success=False, handled=False)
        user, password = data.login.decode(), data.password.decode()
        matches = (user, password) == self._credentials
        return AuthResult(success=matches, handled=False, auth_data=user)


class _Controller(Controller):
    """Cuts open connections on stop(), which otherwise waits for them (Python 3.12+)."""

    def __init__(self, handler: SMTPServer, **options: Any) -> None:
        super().__init__(handler, **options)
        self._sessions: list[SMTP] = []

    def factory(self) -> SMTP:
        session = SMTP(self.handler, **self.SMTP_kwargs)
        self._sessions.append(session)
        return session

    def cancel_tasks(self, stop_loop: bool = True) -> None:
        for session in self._sessions:
            if isinstance(session.transport, asyncio.WriteTransport):
                session.transport.abort()
        super().cancel_tasks(stop_loop)
