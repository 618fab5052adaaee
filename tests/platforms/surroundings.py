"""The servers of a test, in the place of those of a platform and of an operator."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import LiteralString, Self
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.production import HOST, SECRET_KEY
from tests.servers.postgres import PostgresServer
from tests.servers.redis import Redis
from tests.servers.smtp import SMTPServer
from tests.servers.tls import Authority, TLSProxy

MAIL_USER, MAIL_PASSWORD = "mailer", "mail-password-0123456789"
FLOWER_LOGIN = "operator:flower-password-0123456789"


class Surroundings:
    """What a deployment finds around itself: a database, a broker, a mail server, an operator.

    Attributes:
        values: What the operator enters, by variable.
        additions: What this operator adds: the mail server is at no standard port, and the site
            at another domain than the answers say.
        ca_file: The certificate of the authority behind `tls_broker` and the mail server.
        folder: For volumes.
        mail: The mail server; it demands STARTTLS and a login.
        brokers: The brokers that were asked for.
    """

    def __init__(self, postgres: PostgresServer, authority: Authority, folder: Path) -> None:
        """Start the mail server; the others start when they are asked for.

        Args:
            postgres: where roles and databases are made, to be removed at the end.
            authority: whom the processes trust.
            folder: existing folder for volumes.
        """
        self._postgres = postgres
        self._authority = authority
        self._exit = ExitStack()
        self.ca_file = authority.file
        self.folder = folder
        self.brokers: list[Redis] = []
        self.mail = self._exit.enter_context(SMTPServer(authority, (MAIL_USER, MAIL_PASSWORD)))
        self.values: Mapping[str, str] = {
            "SECRET_KEY": SECRET_KEY,
            "ALLOWED_HOSTS": HOST,
            "EMAIL_HOST": "localhost",
            "EMAIL_HOST_USER": MAIL_USER,
            "EMAIL_HOST_PASSWORD": MAIL_PASSWORD,
            "ALERT_RECIPIENTS": "operator@example.com",
            "FLOWER_BASIC_AUTH": FLOWER_LOGIN,
        }
        self.additions: Mapping[str, str] = {
            "EMAIL_PORT": str(self.mail.port),
            "SITE_DOMAIN": HOST,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def database(self, user: str, password: str, name: str) -> str:
        """Make a role and a database of its own, as a platform does, and return their address.

        Args:
            user: the role; it is asked for only once.
            password: of the role.
            name: the database.

        Returns:
            `host:port` of a PostgreSQL server without TLS.
        """
        role = sql.Identifier(user)
        self._administrate("CREATE ROLE {} LOGIN PASSWORD {}", role, sql.Literal(password))
        self._exit.callback(self._administrate, "DROP ROLE {}", role)
        self.add_database(user, name)
        address = urlsplit(self._postgres.admin_url)
        return f"{address.hostname}:{address.port}"

    def add_database(self, user: str, name: str) -> None:
        """Make a database.

        Args:
            user: the role that owns it; it must exist.
            name: the database.
        """
        database = sql.Identifier(name)
        self._administrate("CREATE DATABASE {} OWNER {}", database, sql.Identifier(user))
        self._exit.callback(self._administrate, "DROP DATABASE {} WITH (FORCE)", database)

    def _administrate(self, statement: LiteralString, *parts: sql.Composable) -> None:
        with closing(psycopg.connect(self._postgres.admin_url, autocommit=True)) as connection:
            connection.execute(sql.SQL(statement).format(*parts))

    def broker(self, password: str) -> str:
        """Start a broker and return its `host:port`.

        Args:
            password: what clients must give.
        """
        server = self._exit.enter_context(Redis(password=password))
        self.brokers.append(server)
        return f"127.0.0.1:{server.port}"

    def tls_broker(self, password: str) -> str:
        """Start a broker behind TLS and return the `host:port` that its certificate is for.

        Args:
            password: what clients must give.
        """
        port = int(self.broker(password).rpartition(":")[2])
        proxy = TLSProxy(port, self._authority.server_context())
        self._exit.enter_context(proxy)
        return f"localhost:{proxy.port}"


class Addresses(Surroundings):
    """An operator, and servers that only have an address: enough to read a file by."""

    def __init__(self, **values: str) -> None:
        """Start nothing.

        Args:
            values: what the operator enters besides, or instead.
        """
        self.values = {
            "SECRET_KEY": SECRET_KEY,
            "ALLOWED_HOSTS": HOST,
            "EMAIL_HOST": "localhost",
            "EMAIL_HOST_USER": "mailer",
            "EMAIL_HOST_PASSWORD": "it's $5",
            "ALERT_RECIPIENTS": "operator@example.com",
            "FLOWER_BASIC_AUTH": FLOWER_LOGIN,
            **values,
        }
        self.additions = {"EMAIL_PORT": "2525"}

    def database(self, user: str, password: str, name: str) -> str:
        """Return an address."""
        return "127.0.0.1:5432"

    def broker(self, password: str) -> str:
        """Return an address."""
        return "127.0.0.1:6379"

    def tls_broker(self, password: str) -> str:
        """Return an address."""
        return "localhost:6379"
