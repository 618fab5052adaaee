"""The servers and processes of the tests do what the other tests rely on: each fault bites."""

from __future__ import annotations

import json
import smtplib
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from email.message import EmailMessage
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import Any
from urllib.error import URLError

import psutil
import psycopg
import pytest
import redis
import uv

from tests.processes import (
    Process,
    Stack,
    add_lock_file,
    alive,
    free_port,
    http_get,
    http_request,
    process_commands,
    python_environment,
    wait_until,
)
from tests.servers.blackhole import Blackhole
from tests.servers.http import HTTPServer, Reply
from tests.servers.postgres import Postgres, PostgresServer, StopMode
from tests.servers.redis import Redis, RedisServer
from tests.servers.smtp import SILENCE, SMTPServer
from tests.servers.tcp import TCPProxy
from tests.servers.tls import Authority, TLSProxy

pytestmark = pytest.mark.slow


def python(code: str, folder: Path, **environment: str) -> Process:
    """Start Python on some code, in a process of its own."""
    return Process([sys.executable, "-uc", code], folder=folder, environment=environment)


def row(url: str, query: str) -> tuple[object, ...]:
    """Return the first row of a query, over a connection of its own."""
    with psycopg.connect(url, connect_timeout=3) as connection:
        result = connection.execute(query).fetchone()
    assert result is not None
    return result


def message(subject: str = "Hello") -> EmailMessage:
    """Return an e-mail message."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@example.com", "b@example.com", subject
    mail.set_content("Grüße\n")
    return mail


class TestWaiting:
    def test_wait_until_returns_the_first_true_result(self) -> None:
        answers: Iterator[int] = iter([0, 0, 7, 8])
        assert wait_until(lambda: next(answers), 5, "an answer") == 7

    def test_wait_until_names_what_it_waited_for(self) -> None:
        with pytest.raises(AssertionError, match="in vain for rain; last: None"):
            wait_until(lambda: None, 0.05, "rain")

    def test_free_port_can_be_listened_on(self) -> None:
        port = free_port()
        with socket.create_server(("127.0.0.1", port)):
            with pytest.raises(OSError, match="in use"):
                socket.create_server(("127.0.0.1", port))


class TestProcess:
    def test_gets_only_the_given_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgresql://leaked")
        code = "import json, os; print(json.dumps(dict(os.environ)))"
        with python(code, tmp_path, COLOUR="blue") as process:
            assert process.wait(10) == 0
            (environment,) = process.json_lines()
        assert environment.pop("COLOUR") == "blue"
        assert environment.pop("HOME") == environment.pop("TMPDIR") != str(tmp_path)
        environment.pop("LC_CTYPE", None)  # Python's own (PEP 538)
        environment.pop("__CF_USER_TEXT_ENCODING", None)  # macOS
        assert set(environment) == {"PATH", "LANG"}

    def test_temporary_folder_is_removed(self, tmp_path: Path) -> None:
        code = "import tempfile; print(tempfile.mkstemp()[1])"
        with python(code, tmp_path) as process:
            process.wait(10)
            (written,) = map(Path, process.lines)
            assert written.exists()
        assert not written.parent.exists()

    def test_command_may_be_a_string_but_no_shell_sees_it(self, tmp_path: Path) -> None:
        with Process("echo 'one word' $HOME; true", folder=tmp_path) as process:
            assert process.wait(10) == 0
            assert process.lines == ["one word $HOME; true"]

    def test_program_that_does_not_exist_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            Process("no-such-program", folder=tmp_path)

    def test_both_streams_form_the_log(self, tmp_path: Path) -> None:
        code = "import sys; print('out'); print('err', file=sys.stderr)"
        with python(code, tmp_path) as process:
            process.wait(10)
            assert sorted(process.lines) == ["err", "out"]

    def test_waits_for_a_line_that_comes_later(self, tmp_path: Path) -> None:
        code = "import sys\nfor line in ['a 1', 'b 2', 'a 3']: print(line)\ninput()"
        with python(code + "\n", tmp_path) as process:
            assert process.wait_for_line(r"^a \d$", 10) == "a 1"
            assert process.wait_for_line(r"^a \d$", 10, after=1) == "a 3"

    def test_line_that_never_comes_fails_with_the_log(self, tmp_path: Path) -> None:
        with python("print('other')", tmp_path) as process:
            with pytest.raises(AssertionError, match=r"its log ended .*(?s:.*)  other"):
                process.wait_for_line("wanted", 10)

    def test_line_that_comes_too_late_fails_with_the_log(self, tmp_path: Path) -> None:
        with python("print('other'); import time; time.sleep(60)", tmp_path) as process:
            process.wait_for_line("other", 10)
            with pytest.raises(AssertionError, match=r"0.1 s passed .*(?s:.*)  other"):
                process.wait_for_line("wanted", 0.1)

    @pytest.mark.parametrize("bad", ["plain text", "[1]", ""])
    def test_line_that_is_no_json_object_is_named(self, tmp_path: Path, bad: str) -> None:
        with python(f"print('{{}}'); print({bad!r}); print('worse')", tmp_path) as process:
            process.wait(10)
            with pytest.raises(AssertionError, match="line 2 is no JSON object"):
                process.json_lines()

    def test_failed_assertion_shows_the_log(self, tmp_path: Path) -> None:
        process = python("print('the reason')", tmp_path)
        process.wait(10)
        with pytest.raises(AssertionError) as caught, process:
            assert process.lines == []
        assert "  the reason" in caught.value.__notes__[0]

    def test_terminate_returns_the_exit_code(self, tmp_path: Path) -> None:
        code = (
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
            "print('ready'); time.sleep(60)"
        )
        with python(code, tmp_path) as process:
            process.wait_for_line("ready", 10)
            assert process.terminate(grace=10) == 3

    def test_terminate_kills_after_the_grace(self, tmp_path: Path) -> None:
        code = (
            "import signal, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print('ready'); time.sleep(60)"
        )
        with python(code, tmp_path) as process:
            process.wait_for_line("ready", 10)
            assert process.terminate(grace=0.2) == -9

    @pytest.mark.parametrize("own_session", [False, True])
    @pytest.mark.parametrize("end", ["close", "kill", "terminate"])
    def test_leaves_no_orphan(self, tmp_path: Path, own_session: bool, end: str) -> None:
        code = (
            "import subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
            f" start_new_session={own_session})\n"
            "print(child.pid); time.sleep(60)"
        )
        with python(code, tmp_path) as process:
            child = psutil.Process(int(process.wait_for_line(r"^\d+$", 10)))
            if end == "kill":
                process.kill()
            elif end == "terminate":
                process.terminate(grace=5)
            if end != "close":
                assert not alive(child)
        assert not alive(child)
        assert not process.running

    def test_kills_a_child_whose_parent_has_ended(self, tmp_path: Path) -> None:
        code = (
            "import subprocess, sys\n"
            "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
        )
        with python(code, tmp_path) as process:
            child = psutil.Process(int(process.wait_for_line(r"^\d+$", 10)))
            wait_until(lambda: not process.running, 10, "the parent's end")
            assert alive(child)
        assert not alive(child)

    def test_frozen_process_does_nothing_until_it_is_thawed(self, tmp_path: Path) -> None:
        code = "import time\nwhile True: print('tick'); time.sleep(0.01)"
        with python(code, tmp_path) as process:
            process.wait_for_line("tick", 10)
            process.freeze()
            wait_until(lambda: psutil.Process(process.pid).status() == "stopped", 5, "the freeze")

            def quiet() -> bool:
                before = len(process.lines)
                time.sleep(0.2)
                return len(process.lines) == before

            wait_until(quiet, 5, "twenty ticks without a line")
            count = len(process.lines)
            process.thaw()
            process.wait_for_line("tick", 10, after=count)


class TestPostgres:
    def test_databases_are_separate(self, postgres: PostgresServer, database_url: str) -> None:
        other = postgres.create_database()
        with psycopg.connect(database_url) as connection:
            connection.execute("CREATE TABLE note (text text)")
        assert row(database_url, "SELECT to_regclass('note') IS NULL") == (False,)
        assert row(other, "SELECT to_regclass('note') IS NULL") == (True,)
        postgres.drop_database(other)
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            row(other, "SELECT 1")

    def test_database_can_be_copied(self, postgres: PostgresServer, database_url: str) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("CREATE TABLE note AS SELECT 'kept' AS text")
        copy = postgres.create_database(template=database_url)
        assert row(copy, "SELECT text FROM note") == ("kept",)
        postgres.drop_database(copy)

    def test_text_is_unicode(self, database_url: str) -> None:
        assert row(database_url, "SHOW server_encoding") == ("UTF8",)

    def test_owner_has_no_further_rights(
        self, stoppable_postgres: Postgres, database_url: str
    ) -> None:
        assert row(database_url, "SHOW is_superuser") == ("off",)

    def test_wrong_password_is_refused(
        self, stoppable_postgres: Postgres, database_url: str
    ) -> None:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            row(database_url.replace("application:", "application:x"), "SELECT 1")

    def test_frozen_server_lets_a_query_hang(
        self, stoppable_postgres: Postgres, database_url: str
    ) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            stoppable_postgres.freeze()
            done = threading.Event()

            def query() -> None:
                connection.execute("SELECT 1")
                done.set()

            thread = threading.Thread(target=query)
            thread.start()
            assert not done.wait(0.5)
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                psycopg.connect(database_url, connect_timeout=2)
            stoppable_postgres.thaw()
            assert done.wait(10)
            thread.join()

    @pytest.mark.parametrize("mode", ["fast", "immediate"])
    def test_stopped_server_comes_back_at_its_address(
        self, stoppable_postgres: Postgres, database_url: str, mode: StopMode
    ) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("CREATE TABLE note AS SELECT 'kept' AS text")
        stoppable_postgres.stop(mode)
        with pytest.raises(psycopg.OperationalError, match="refused"):
            row(database_url, "SELECT 1")
        stoppable_postgres.start()
        assert row(database_url, "SELECT text FROM note") == ("kept",)

    def test_killed_server_leaves_nothing_and_comes_back(
        self, stoppable_postgres: Postgres, database_url: str
    ) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            process = psutil.Process(connection.info.backend_pid)
            stoppable_postgres.kill()
            assert not alive(process)
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        stoppable_postgres.start()
        assert row(database_url, "SELECT 1") == (1,)

    def test_programs_of_the_same_version_are_at_hand(
        self, stoppable_postgres: Postgres, database_url: str
    ) -> None:
        dump = subprocess.run(
            [str(stoppable_postgres.program("pg_dump")), "--schema-only", database_url],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "PostgreSQL database dump complete" in dump.stdout


class TestRedis:
    def test_database_is_empty(self, redis_server: RedisServer, redis_url: str) -> None:
        assert redis_server.is_empty()
        with redis.Redis.from_url(redis_url) as client:
            client.set("key", "value")
        assert not redis_server.is_empty()

    def test_database_is_empty_again(self, redis_server: RedisServer, redis_url: str) -> None:
        self.test_database_is_empty(redis_server, redis_url)

    def test_databases_are_separate(self, stoppable_redis: Redis) -> None:
        with redis.Redis.from_url(stoppable_redis.url(3)) as client:
            client.set("key", "value")
        assert not stoppable_redis.is_empty(3)
        assert stoppable_redis.is_empty()

    def test_frozen_server_does_not_answer(self, stoppable_redis: Redis) -> None:
        with redis.Redis.from_url(stoppable_redis.url(), socket_timeout=0.3, retry=None) as client:
            client.ping()
            stoppable_redis.freeze()
            with pytest.raises(redis.TimeoutError):
                client.ping()
            stoppable_redis.thaw()
            assert client.ping()

    def test_stopped_server_comes_back_empty_at_its_address(self, stoppable_redis: Redis) -> None:
        with redis.Redis.from_url(stoppable_redis.url(), retry=None) as client:
            client.set("key", "value")
            stoppable_redis.stop()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            stoppable_redis.start()
            assert client.get("key") is None

    def test_append_only_server_survives_a_kill(self) -> None:
        with Redis(append_only=True) as server:
            with redis.Redis.from_url(server.url()) as client:
                client.set("key", "value")
                server.kill()
                assert not server.running
                server.start()
                assert client.get("key") == b"value"

    def test_a_file_says_how_it_works(self, tmp_path: Path) -> None:
        (tmp_path / "redis.conf").write_text("maxmemory 123mb\n")
        with Redis(configuration=tmp_path / "redis.conf") as server:
            with redis.Redis.from_url(server.url()) as client:
                assert client.config_get("maxmemory") == {"maxmemory": str(123 * 1024**2)}

    @pytest.mark.skipif(sys.platform != "linux", reason="Linux alone limits a server's files")
    def test_a_full_disk_is_told_of_until_it_has_room(self) -> None:
        with Redis(append_only=True) as server:
            with redis.Redis.from_url(server.url(), retry=None) as client:
                client.config_set("appendfsync", "everysec")  # with always, it would end
                client.set("key", "value")
                server.fill_disk()

                attempts = count()
                kept: list[bytes] = []

                def refusal() -> str:
                    value = b"%d" % next(attempts)
                    try:
                        client.set("key", value)
                    except redis.ResponseError as error:
                        return str(error)
                    kept.append(value)
                    return ""

                # It puts writing off for up to two seconds while it waits for the disk.
                assert "MISCONF" in wait_until(refusal, 10, "a refusal")
                assert client.get("key") == kept[-1]
                server.free_disk()

                def writes() -> bool:
                    try:
                        return bool(client.set("another", "value"))
                    except redis.ResponseError:
                        return False

                wait_until(writes, 10, "room on the disk")
                server.kill()
                server.start()
                assert client.get("key") == kept[-1]

    def test_password_is_demanded(self) -> None:
        with Redis(password="p@ss/w:rd%") as server:
            with redis.Redis.from_url(server.url()) as client:
                assert client.ping()
            with redis.Redis.from_url(f"redis://127.0.0.1:{server.port}", retry=None) as client:
                with pytest.raises(redis.AuthenticationError):
                    client.ping()


class TestTLS:
    @pytest.fixture
    def proxy(self, authority: Authority, stoppable_redis: Redis) -> Iterator[TLSProxy]:
        """TLS in front of a Redis server."""
        with TLSProxy(stoppable_redis.port, authority.server_context()) as proxy:
            yield proxy

    def test_client_with_the_ca_gets_through(self, proxy: TLSProxy, authority: Authority) -> None:
        url = proxy.redis_url()
        with redis.Redis.from_url(url, ssl_ca_certs=str(authority.file)) as client:
            assert client.ping()
            assert client.set("key", "v" * 1_000_000)
            assert client.get("key") == b"v" * 1_000_000
        assert proxy.handshakes == 1
        assert proxy.refusals == []
        assert proxy.bytes_passed > 1_000_000

    @pytest.mark.parametrize("trusted", ["system", "unknown"])
    def test_client_that_does_not_know_the_ca_sends_nothing(
        self, proxy: TLSProxy, unknown_authority: Authority, trusted: str
    ) -> None:
        options: dict[str, Any] = (
            {"ssl_ca_certs": str(unknown_authority.file)} if trusted == "unknown" else {}
        )
        with redis.Redis.from_url(proxy.redis_url(), retry=None, **options) as client:
            with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                client.ping()
        wait_until(lambda: proxy.refusals, 5, "the refusal")
        assert proxy.handshakes == 0
        assert proxy.bytes_passed == 0

    def test_client_that_verifies_nothing_is_counted(self, proxy: TLSProxy) -> None:
        with redis.Redis.from_url(proxy.redis_url(), ssl_cert_reqs="none") as client:
            client.ping()
        assert proxy.handshakes == 1
        assert proxy.bytes_passed > 0

    def test_certificates_pass_strict_verification(
        self, proxy: TLSProxy, authority: Authority
    ) -> None:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as plain:
            context = authority.client_context()
            with context.wrap_socket(plain, server_hostname="localhost") as connection:
                assert connection.version() == "TLSv1.3"

    def test_certificate_for_another_name_is_refused(
        self, authority: Authority, blackhole: Blackhole
    ) -> None:
        with TLSProxy(blackhole.port, authority.server_context("other.example")) as proxy:
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as plain:
                with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
                    authority.client_context().wrap_socket(plain, server_hostname="localhost")
            wait_until(lambda: proxy.refusals, 5, "the refusal")
            assert proxy.handshakes == 0

    def test_plain_client_is_refused(self, proxy: TLSProxy) -> None:
        with redis.Redis.from_url(f"redis://127.0.0.1:{proxy.port}", retry=None) as client:
            with pytest.raises((redis.ConnectionError, redis.InvalidResponse)):
                client.ping()
        wait_until(lambda: proxy.refusals, 5, "the refusal")
        assert proxy.bytes_passed == 0


class TestBlackhole:
    def test_accepts_and_never_answers(self, blackhole: Blackhole) -> None:
        with socket.create_connection(("127.0.0.1", blackhole.port), timeout=0.3) as client:
            client.sendall(b"PING\r\n")
            with pytest.raises(TimeoutError):
                client.recv(1)
            assert blackhole.connections == 1

    def test_closing_disconnects(self) -> None:
        with Blackhole() as blackhole:
            client = socket.create_connection(("127.0.0.1", blackhole.port), timeout=5)
            wait_until(lambda: blackhole.connections, 5, "the connection")
        with client:
            assert client.recv(1) == b""


class TestTCPProxy:
    @pytest.fixture
    def echo(self) -> Iterator[int]:
        """Port of a server that says what it hears."""

        class Echo(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    while data := self.request.recv(100):
                        self.request.sendall(data)

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            yield server.server_address[1]
            server.shutdown()
            thread.join()

    @pytest.fixture
    def proxy(self, echo: int) -> Iterator[TCPProxy]:
        """A proxy in front of it."""
        with TCPProxy(echo) as proxy:
            yield proxy

    @pytest.fixture
    def client(self, proxy: TCPProxy) -> Iterator[socket.socket]:
        """A connection that passes."""
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
            self.pass_on(client)
            yield client

    def pass_on(self, client: socket.socket) -> float:
        """Expect an echo, and return after how many seconds it came."""
        started = time.monotonic()
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        return time.monotonic() - started

    def test_connections_can_be_slow(self, proxy: TCPProxy, client: socket.socket) -> None:
        proxy.delay = 0.2
        assert self.pass_on(client) >= 0.4
        proxy.delay = 0
        assert self.pass_on(client) < 0.2

    def test_connections_can_be_reset(self, proxy: TCPProxy, client: socket.socket) -> None:
        assert proxy.connections == 1
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        wait_until(lambda: proxy.connections == 0, 5, "the end of the connection")

    def test_connections_can_be_refused(self, proxy: TCPProxy) -> None:
        proxy.refusing = True
        with pytest.raises(ConnectionResetError):
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
                client.recv(1)
        proxy.refusing = False
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
            self.pass_on(client)

    def test_connections_can_die_without_a_word(
        self, proxy: TCPProxy, client: socket.socket
    ) -> None:
        proxy.forget()
        client.sendall(b"hello")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as another:
            self.pass_on(another)

    def test_new_connections_can_go_elsewhere(
        self, proxy: TCPProxy, client: socket.socket, blackhole: Blackhole
    ) -> None:
        proxy.target = blackhole.port
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5):
            wait_until(lambda: blackhole.connections, 5, "the connection")
        self.pass_on(client)

    def test_a_server_that_is_gone_is_no_answer(self, proxy: TCPProxy) -> None:
        proxy.target = free_port()
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""


class TestSMTP:
    def test_message_arrives_in_the_inbox(self, smtp_server: SMTPServer) -> None:
        with smtplib.SMTP("127.0.0.1", smtp_server.port, timeout=5) as client:
            client.send_message(message("Ä subject"))
        (delivery,) = smtp_server.wait_for(1, 5)
        assert delivery.message["Subject"] == "Ä subject"
        assert delivery.message.get_content() == "Grüße\n"
        assert delivery.sender == "a@example.com"
        assert delivery.recipients == ("b@example.com",)
        assert not delivery.encrypted

    def test_message_that_never_comes_fails(self, smtp_server: SMTPServer) -> None:
        with pytest.raises(AssertionError, match=r"0 of 1 messages after 0.1 s \(0 attempts\)"):
            smtp_server.wait_for(1, 0.1)

    def test_scripted_replies_reach_the_client_in_order(self, smtp_server: SMTPServer) -> None:
        smtp_server.reply("451 try again later", "550 never", "250 OK")
        with smtplib.SMTP("127.0.0.1", smtp_server.port, timeout=5) as client:
            for code in (451, 550):
                with pytest.raises(smtplib.SMTPDataError) as caught:
                    client.send_message(message())
                assert caught.value.smtp_code == code
            client.send_message(message("third"))
        assert [delivery.message["Subject"] for delivery in smtp_server.inbox] == ["third"]
        assert smtp_server.attempts == 3

    def test_recipient_and_sender_can_be_refused(self, smtp_server: SMTPServer) -> None:
        smtp_server.reply("550 no such user", to="RCPT")
        smtp_server.reply("250 OK", "421 too busy", to="MAIL")
        with smtplib.SMTP("127.0.0.1", smtp_server.port, timeout=5) as client:
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.send_message(message())
            with pytest.raises(smtplib.SMTPSenderRefused):
                client.send_message(message())
        assert smtp_server.inbox == []

    def test_silence_lets_the_client_time_out(self, smtp_server: SMTPServer) -> None:
        smtp_server.reply(SILENCE)
        client = smtplib.SMTP("127.0.0.1", smtp_server.port, timeout=0.5)
        with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
            client.send_message(message())
        assert smtp_server.inbox == []

    def test_closing_does_not_wait_for_an_open_connection(self) -> None:
        server = SMTPServer()
        client = smtplib.SMTP("127.0.0.1", server.port, timeout=5)
        server.close()
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()
        client.close()

    def test_starttls_and_login(self, authority: Authority) -> None:
        with SMTPServer(authority, credentials=("user", "password")) as server:
            with smtplib.SMTP("localhost", server.port, timeout=5) as client:
                with pytest.raises(smtplib.SMTPSenderRefused):
                    client.send_message(message())
            with smtplib.SMTP("localhost", server.port, timeout=5) as client:
                client.starttls(context=authority.client_context())
                with pytest.raises(smtplib.SMTPSenderRefused):
                    client.send_message(message())
                with pytest.raises(smtplib.SMTPAuthenticationError):
                    client.login("user", "wrong")
            with smtplib.SMTP("localhost", server.port, timeout=5) as client:
                client.starttls(context=authority.client_context())
                client.login("user", "password")
                client.send_message(message())
            (delivery,) = server.wait_for(1, 5)
            assert delivery.encrypted
            assert delivery.user == "user"

    def test_starttls_with_an_unknown_ca_is_refused(
        self, authority: Authority, unknown_authority: Authority
    ) -> None:
        with SMTPServer(authority) as server:
            client = smtplib.SMTP("localhost", server.port, timeout=5)
            with pytest.raises(ssl.SSLCertVerificationError):
                client.starttls(context=unknown_authority.client_context())
            client.close()

    def test_login_without_tls_is_not_offered(self) -> None:
        with pytest.raises(ValueError, match="no login without TLS"):
            SMTPServer(credentials=("user", "password"))


class TestHTTP:
    def test_request_is_recorded(self, http_server: HTTPServer) -> None:
        http_request(
            "POST",
            http_server.url("/hook?x=1"),
            host="receiver.example",
            headers={"X-Signature": "abc"},
            body=b'{"a": 1}',
        )
        (request,) = http_server.wait_for(1, 5)
        assert (request.method, request.path) == ("POST", "/hook?x=1")
        assert request.headers["host"] == "receiver.example"
        assert request.headers["x-signature"] == "abc"
        assert request.json() == {"a": 1}

    def test_request_that_never_comes_fails(self, http_server: HTTPServer) -> None:
        with pytest.raises(AssertionError, match=r"0 of 1 requests after 0\.1 s"):
            http_server.wait_for(1, 0.1)

    def test_scripted_replies_reach_the_client_in_order(self, http_server: HTTPServer) -> None:
        http_server.reply(
            Reply(429, {"Retry-After": "7"}),
            Reply.redirect("http://169.254.169.254/"),
            Reply(body=b'{"ok": true}', delay=0.1),
        )
        first, second, third, fourth = (http_get(http_server.url()) for _ in range(4))
        assert (first.status, first.headers["retry-after"]) == (429, "7")
        assert (second.status, second.headers["location"]) == (307, "http://169.254.169.254/")
        assert (third.status, third.json()) == (200, {"ok": True})
        assert (fourth.status, fourth.text) == (200, "")

    def test_hanging_reply_lets_the_client_time_out(self, http_server: HTTPServer) -> None:
        http_server.reply(Reply(hang=True))
        with pytest.raises(TimeoutError):
            http_get(http_server.url(), timeout=0.3)
        assert len(http_server.requests) == 1

    def test_closing_ends_a_hanging_reply(self) -> None:
        with HTTPServer() as server:
            server.reply(Reply(hang=True))
            errors: list[Exception] = []

            def request() -> None:
                try:
                    http_get(server.url(), timeout=30)
                except (OSError, HTTPException) as error:
                    errors.append(error)

            thread = threading.Thread(target=request)
            thread.start()
            server.wait_for(1, 5)
        thread.join(5)
        assert not thread.is_alive()
        assert len(errors) == 1

    def test_tls_needs_the_authority(
        self, authority: Authority, unknown_authority: Authority
    ) -> None:
        with HTTPServer(authority) as server:
            with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
                urllib.request.urlopen(
                    server.url(), timeout=5, context=unknown_authority.client_context()
                )
            wait_until(lambda: server.failures, 5, "the failed handshake")
            assert server.requests == []
            with urllib.request.urlopen(
                server.url("/x"), timeout=5, context=authority.client_context()
            ) as answer:
                assert answer.status == 200
            assert [request.path for request in server.requests] == ["/x"]


WEB = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health/" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in miniature: what the stack and `uv sync` need, and no more."""
    folder = tmp_path_factory.mktemp("project") / "miniature"
    folder.mkdir()
    (folder / "web.py").write_text(WEB)
    (folder / "manage.py").write_text("import os, sys; print(sys.argv[1:], os.getcwd())")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "miniature"\nversion = "0"\nrequires-python = ">=3.11"\n'
        "dependencies = []\n[tool.uv]\npackage = false\n"
    )
    return folder


@pytest.fixture(scope="module")
def environment(project: Path) -> Path:
    """The virtual environment of the project in miniature."""
    return python_environment(project)


class TestStack:
    def test_environment_is_made_once_and_leaves_the_project_alone(
        self, project: Path, environment: Path
    ) -> None:
        before = environment.stat().st_mtime_ns, (environment / "pyvenv.cfg").stat().st_ino
        again = python_environment(project)
        assert (again.stat().st_mtime_ns, (again / "pyvenv.cfg").stat().st_ino) == before
        assert not (project / "uv.lock").exists()

    def test_lock_file_belongs_to_the_project(self, project: Path, tmp_path: Path) -> None:
        source = (project / "pyproject.toml").read_text()
        (tmp_path / "pyproject.toml").write_text(source.replace("miniature", "another"))
        add_lock_file(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["pyproject.toml", "uv.lock"]
        check = [uv.find_uv_bin(), "lock", "--check", "--project", str(tmp_path)]
        assert subprocess.run(check, check=False).returncode == 0

    def test_impossible_requirements_are_reported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tests.processes.ENVIRONMENTS", tmp_path / "environments")
        (tmp_path / "pyproject.toml").write_text(
            '[project]\nname = "impossible"\nversion = "0"\nrequires-python = ">=99"\n'
        )
        with pytest.raises(AssertionError, match=r"uv sync in .* failed"):
            python_environment(tmp_path)

    def test_processes_run_with_the_environment(self, project: Path, environment: Path) -> None:
        tick = "import sys; print('w@h ready.'); print('beat: Starting', sys.prefix)"
        commands = {
            "web": "python web.py",
            "worker": f'python -uc "{tick}"',
            "beat": f'python -uc "{tick}"',
        }
        with Stack(project, {}, environment, commands=commands) as stack:
            web = stack.web()
            assert http_get(f"{stack.url}/other").status == 404
            worker, beat = stack.worker(), stack.beat()
            assert beat.wait_for_line("beat", 5).endswith(str(environment))
        assert not any(process.running for process in (web, worker, beat))

    def test_web_that_ends_fails_with_its_log(self, project: Path, environment: Path) -> None:
        commands = {"web": "python -c \"raise SystemExit('no SECRET_KEY')\""}
        with pytest.raises(AssertionError, match=r"web ended(?s:.*)no SECRET_KEY"):
            with Stack(project, {}, environment, commands=commands) as stack:
                stack.web()

    def test_one_off_command_runs_in_the_project(self, project: Path, environment: Path) -> None:
        with Stack(project, {}, environment) as stack:
            result = stack.manage("check", "--deploy")
        assert result.returncode == 0, result.stderr
        assert result.stdout == f"['check', '--deploy'] {project}\n"

    def test_default_commands_are_those_of_the_design(self) -> None:
        assert process_commands("shop")["web"] == (
            "gunicorn --config gunicorn.conf.py shop.wsgi:application"
        )


def test_line_is_parsed_as_json(tmp_path: Path) -> None:
    record = {"event": "Grüße"}
    with python(f"print({json.dumps(json.dumps(record))})", tmp_path) as process:
        process.wait(10)
        assert process.json_lines() == [record]
