"""TLS connections to the Redis-compatible server that say what to do when verification fails."""

import ssl
from collections.abc import Iterator
from typing import Any

import redis


class CertificateError(redis.ConnectionError):
    """The server's certificate was not verified, so nothing was sent."""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class SSLConnection(redis.SSLConnection):
    """A verified connection whose failure names the setting that mends it."""

    def connect(self) -> None:
        """Connect and verify the server's certificate.

        Raises:
            CertificateError: If the certificate can't be verified.
            redis.ConnectionError: If the server can't be reached.
        """
        try:
            super().connect()  # type: ignore[no-untyped-call]
        except redis.ConnectionError as error:
            for cause in _chain(error):
                if isinstance(cause, ssl.SSLCertVerificationError):
                    raise CertificateError(
                        f"The certificate of {self.host}:{self.port} could not be verified "
                        f"({cause.verify_message}). If a private CA issued it, set REDIS_CA to "
                        "that CA's certificate, or REDIS_CA_FILE to its path."
                    ) from error
            raise


class ConnectionPool(redis.ConnectionPool):
    """A pool that serves ``rediss://`` URLs by :class:`SSLConnection`."""

    def __init__(self, connection_class: type[Any] = redis.Connection, **options: Any) -> None:
        if connection_class is redis.SSLConnection:
            connection_class = SSLConnection
        super().__init__(connection_class=connection_class, **options)
