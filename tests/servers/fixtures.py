"""Fixtures with real servers; `conftest.py` names this module in `pytest_plugins`.

`DATABASE_URL` and `REDIS_URL` in the environment of the test run replace our own servers. Then a
test that must stop its server is skipped. Both have to name servers for tests: databases are
created and keys are removed there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.servers.blackhole import Blackhole
from tests.servers.http import HTTPServer
from tests.servers.postgres import Postgres, PostgresServer
from tests.servers.redis import Redis, RedisServer
from tests.servers.smtp import SMTPServer
from tests.servers.tls import Authority


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server in which databases can be made."""
    address = os.environ.get("DATABASE_URL")
    if address:
        yield PostgresServer(address)
    else:
        with Postgres() as own:
            yield own


@pytest.fixture
def stoppable_postgres(postgres: PostgresServer) -> Iterator[Postgres]:
    """The PostgreSQL server, to be stopped, killed or frozen; afterwards it is brought back."""
    if not isinstance(postgres, Postgres):
        pytest.skip("DATABASE_URL names a server that this test cannot stop")
    yield postgres
    postgres.recover()


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """DATABASE_URL of a new, empty database."""
    url = postgres.create_database()
    yield url
    if isinstance(postgres, Postgres):
        postgres.recover()
    postgres.drop_database(url)


@pytest.fixture(scope="session")
def redis_server(worker_number: int) -> Iterator[RedisServer]:
    """A Redis server; its address names a database that no other xdist worker uses."""
    address = os.environ.get("REDIS_URL")
    if not address:
        with Redis() as own:
            yield own
        return
    external = RedisServer(address)
    if worker_number > 0:
        external = RedisServer(external.url(worker_number))
    # The address of something precious must not cost its data.
    assert external.is_empty(), f"REDIS_URL: the database of {external.url()} is not empty"
    yield external


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    """REDIS_URL of an empty database."""
    yield redis_server.url()
    redis_server.empty()


@pytest.fixture
def stoppable_redis() -> Iterator[Redis]:
    """A Redis server of this test alone, to be stopped, killed or frozen."""
    if os.environ.get("REDIS_URL"):
        pytest.skip("REDIS_URL names a server that this test cannot stop")
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def worker_number() -> int:
    """Number of this xdist worker; 0 without xdist."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that only those trust who are given its file."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def unknown_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another certificate authority, which nobody is told about."""
    return Authority(tmp_path_factory.mktemp("unknown-authority"))


@pytest.fixture
def smtp_server() -> Iterator[SMTPServer]:
    """A plain SMTP server with an empty inbox."""
    with SMTPServer() as server:
        yield server


@pytest.fixture
def http_server() -> Iterator[HTTPServer]:
    """A plain HTTP server that has seen no request."""
    with HTTPServer() as server:
        yield server


@pytest.fixture
def blackhole() -> Iterator[Blackhole]:
    """A server that accepts connections and never answers."""
    with Blackhole() as server:
        yield server
