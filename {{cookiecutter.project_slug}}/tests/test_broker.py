"""How a worker takes messages; that none is lost is the business of tests with real servers."""

from collections.abc import Iterator
from json import JSONDecodeError
from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import signals
from kombu import Connection
from kombu.transport import virtual
from kombu.transport.redis import Channel as KombuChannel
from kombu.utils.json import dumps, loads

from apps.operations import broker
from apps.operations.broker import (
    ARRIVALS,
    ARRIVED,
    FORGET,
    OVERDUE,
    PUT,
    PUT_BACK,
    TAKE,
    Channel,
    Client,
    QoS,
    Transport,
    VerifiedConnection,
)
from apps.operations.envelopes import LOSSES, Message
from apps.operations.redis_tls import SSLConnection

MESSAGE = {
    "properties": {"delivery_tag": "1", "delivery_info": {"exchange": "", "routing_key": "default"}}
}
NOTED = dumps([{**MESSAGE, "headers": {}}, "", "default"])


@pytest.fixture
def sent() -> list[tuple[Any, ...]]:
    """The commands that were sent."""
    return []


@pytest.fixture
def channel(sent: list[tuple[Any, ...]]) -> Any:
    """A channel whose server answers with what is in `answers`, and then with nothing."""
    answers: list[Any] = []
    channel: Any = Channel.__new__(Channel)
    channel.active_fanout_queues = set()
    channel._active_queues = ["default"]
    channel._queue_cycle = SimpleNamespace(
        consume=lambda count: ["default"][:count], rotate=lambda name: None
    )
    channel.connection = SimpleNamespace(
        client=SimpleNamespace(), _deliver=lambda message, queue: sent.append((queue,))
    )
    connection = SimpleNamespace(send_command=lambda *words: sent.append(words))
    channel.__dict__["client"] = SimpleNamespace(
        connection=connection,
        parse_response=lambda *_, **__: answers.pop(0) if answers else None,
    )
    channel._expires = {}
    channel.brpop_timeout = 1
    channel.connection_errors = (ConnectionError,)
    channel._flush_brpop_reauth = lambda: None
    channel.answers = answers
    return channel


class Server:
    """What a channel's client says to the server, and what that answers."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.noted: str | None = NOTED
        self.overdue: list[bytes] = []
        self.error: Exception | None = None

    def __call__(self) -> "Server":
        return self

    def eval(self, script: str, _: int, *words: Any) -> Any:
        return self._answer((script, *words), self.overdue)

    def hget(self, *_: str) -> str | None:
        return self.noted

    def zrem(self, *words: str) -> "Server":
        self._answer(("ZREM", *words), None)
        return self

    def hdel(self, *words: str) -> "Server":
        self._answer(("HDEL", *words), None)
        return self

    def pipeline(self) -> "Server":
        return self

    def execute(self) -> None:
        """Send what stands in the pipeline."""

    def _answer(self, words: tuple[Any, ...], answer: Any) -> Any:
        if self.error:
            raise self.error
        self.sent.append(words)
        return answer


@pytest.fixture
def server(channel: Any) -> Server:
    """The server that the channel speaks to."""
    server = Server()
    channel._create_client = server
    return server


@pytest.fixture
def qos(channel: Any, server: Server) -> Iterator[Any]:
    """What the channel has taken: one message."""
    qos: Any = QoS(channel)
    virtual.QoS.append(qos, SimpleNamespace(), "1")
    yield qos
    QoS._owed.clear()
    qos._delivered.clear()


def test_both_kinds_of_url_lead_to_it() -> None:
    for url in ("redis://localhost", "rediss://localhost"):
        assert Connection(url).get_transport_cls() is Transport
    assert issubclass(Channel.connection_class_ssl, SSLConnection)
    assert Channel.Message is Message


def test_a_message_is_taken_and_noted_in_one_step(
    channel: Any, sent: list[tuple[Any, ...]]
) -> None:
    channel.answers.append([b"default", dumps(MESSAGE).encode()])
    channel._brpop_start()
    assert sent[0][:2] == ("EVAL", TAKE)
    assert sent[0][3:-1][0] == "default"
    assert sent[0][-3:] == (
        channel.unacked_index_key,
        channel.unacked_key,
        channel.visibility_timeout - broker.ARRIVAL_TIME,
    )
    assert channel._brpop_read()
    assert sent[1] == ("default",)


def test_it_waits_only_when_there_is_nothing_left(
    channel: Any, sent: list[tuple[Any, ...]]
) -> None:
    # Nothing, something that arrives, nothing again, and nothing that arrives.
    channel.answers += [None, [[ARRIVALS.encode(), [(b"7-0", {})]]], None, []]
    for _ in range(5):
        channel._brpop_start()
        with pytest.raises(Empty):
            channel._brpop_read()
    first, second = ("XREAD", "BLOCK", 1000, "STREAMS", ARRIVALS, "0"), ("7-0",)
    assert [words[0] for words in sent] == ["EVAL", "XREAD", "EVAL", "XREAD", "EVAL"]
    assert (sent[1], sent[3][-1:]) == (first, second)


def test_a_connection_that_is_lost_while_it_waits_is_made_anew(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str) -> None:
        raise ConnectionError

    ended: list[bool] = []
    channel._waits = True
    channel._brpop_start()
    monkeypatch.setattr(channel.client, "parse_response", refuse)
    channel.client.connection.disconnect = lambda: ended.append(True)
    with pytest.raises(ConnectionError):
        channel._brpop_read()
    assert ended
    assert channel._in_poll is None


def test_workers_that_wait_are_told_of_a_message(channel: Any, server: Server) -> None:
    channel._put("default", MESSAGE)
    assert server.sent == [(PUT, "default", ARRIVALS, dumps(MESSAGE))]


@pytest.mark.parametrize(
    ("queue", "options"), [("answers", {}), ("default", {"_publish_batch": 1})]
)
def test_of_other_messages_nobody_is_told(
    channel: Any, monkeypatch: pytest.MonkeyPatch, queue: str, options: dict[str, Any]
) -> None:
    put: list[str] = []
    monkeypatch.setattr(KombuChannel, "_put", lambda _, queue, *args, **options: put.append(queue))
    channel._expires = {"answers": 10_000}
    channel._put(queue, MESSAGE, **options)
    assert put == [queue]


def test_what_is_no_json_is_told_of_and_nothing_more(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(signals.task_rejected, "send", lambda **given: told.append(given))
    channel.answers += [[b"default", b"private"], [b"default", b"\xff"]]
    assert channel._brpop_read()
    assert channel._brpop_read()
    assert [type(given["exc"]) for given in told] == [JSONDecodeError, JSONDecodeError]
    assert [given["message"] for given in told] == [None, None]


def test_without_a_queue_nothing_is_taken(channel: Any, sent: list[tuple[Any, ...]]) -> None:
    channel._active_queues = []
    channel._brpop_start()
    assert sent == []


def test_answers_are_not_noted(
    channel: Any, sent: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KombuChannel, "basic_consume", lambda *_, **__: None)
    channel.basic_consume("default", no_ack=True)
    channel._brpop_start(timeout=1)
    assert sent[0][0] == "BRPOP"


def test_a_message_that_has_arrived_is_kept(qos: Any, server: Server) -> None:
    message: Any = SimpleNamespace()
    qos.append(message, "2")
    assert server.sent == [(ARRIVED, "unacked_index", "2")]
    assert qos.get("2") is message


def test_an_acknowledgement_needs_no_transaction(qos: Any, server: Server) -> None:
    qos.ack("1")
    assert server.sent == [("ZREM", "unacked_index", "1"), ("HDEL", "unacked", "1")]
    assert qos.can_consume()


@pytest.mark.parametrize(("requeue", "words"), [(True, "LPUSH"), (False, "HDEL")])
def test_a_message_can_be_rejected(qos: Any, server: Server, requeue: bool, words: str) -> None:
    qos.reject("1", requeue=requeue)
    assert words in server.sent[-1]


def test_what_could_not_be_said_is_said_again(qos: Any, server: Server) -> None:
    server.error = redis.ConnectionError("away")
    qos.ack("1")
    virtual.QoS.append(qos, SimpleNamespace(), "2")
    qos.restore_unacked()
    server.error = None
    server.overdue = [b"3"]
    qos.restore_visible()
    assert [words[0] for words in server.sent] == ["ZREM", "HDEL", PUT_BACK, OVERDUE, PUT_BACK]
    *_, second, _, third = server.sent
    assert (second[5:8], third[5:8]) == (("2", 0, "RPUSH"), ("3", 3600, "RPUSH"))
    # Only what nobody has put back is counted as lost with its worker.
    assert [loads(words[-1])["headers"].get(LOSSES) for words in (second, third)] == [None, 1]
    assert QoS._owed == {}


def test_what_is_put_back_says_so(qos: Any, server: Server) -> None:
    qos.restore_unacked()
    [(_, *keys, content)] = server.sent
    assert keys == ["unacked_index", "unacked", ARRIVALS, "default", "1", 0, "RPUSH"]
    assert loads(content)["properties"]["delivery_info"]["redelivered"] is True


@pytest.mark.parametrize("noted", [None, "[5]", '[{"properties": 5}, "", ""]'])
def test_a_note_without_a_message_is_taken_away(
    qos: Any, server: Server, noted: str | None
) -> None:
    server.noted = noted
    qos.restore_unacked()
    assert server.sent == [(FORGET, "unacked_index", "unacked", "1", noted or "")]


@pytest.mark.parametrize("transport", [None, SimpleNamespace(client=None)])
def test_a_closed_channel_leaves_it_to_the_next(
    qos: Any, server: Server, transport: object
) -> None:
    qos.channel.connection = transport
    qos.ack("1")
    assert server.sent == []
    assert QoS._owed == {"1": ""}


@pytest.mark.parametrize(
    ("kind", "bindings", "refused"),
    [
        ("direct", [("default", "", "default")], False),
        ("direct", [], True),
        ("fanout", [], False),
    ],
)
def test_a_full_server_need_not_take_a_binding_twice(
    channel: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    bindings: list[tuple[str, str, str]],
    refused: bool,
) -> None:
    def refuse(*_: str) -> None:
        raise redis.OutOfMemoryError("full")

    monkeypatch.setattr(KombuChannel, "_queue_bind", refuse)
    channel.typeof = lambda exchange: SimpleNamespace(type=kind)
    channel.get_table = lambda exchange: bindings
    if refused:
        with pytest.raises(redis.OutOfMemoryError):
            channel._queue_bind("default", "default", "", "default")
    else:
        channel._queue_bind("default", "default", None, "default")


def test_a_broadcast_is_read_only_if_there_is_one(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KombuChannel, "_receive", lambda _: True)
    readable = [True, False]
    connection = SimpleNamespace(can_read=lambda timeout: readable.pop(0))
    channel.__dict__["subclient"] = SimpleNamespace(connection=connection)
    assert channel._receive()
    with pytest.raises(redis.ConnectionError):
        channel._receive()


def test_one_client_asks_all_questions_until_its_connections_are_dropped(
    monkeypatch: pytest.MonkeyPatch, channel: Any
) -> None:
    monkeypatch.setattr(KombuChannel, "_get_pool", lambda *_, **__: redis.ConnectionPool())
    channel.Client = Client
    with channel.conn_or_acquire() as one, channel.conn_or_acquire() as other:
        assert one is other
    channel._pool = None
    with channel.conn_or_acquire() as later:
        assert later is not one
        assert later.connection_pool is channel.pool
    assert channel._create_client(asynchronous=True) is not later


def test_pipelines_are_no_transactions(channel: Any) -> None:
    assert channel._get_client() is Client
    assert Client().pipeline(transaction=True).transaction is False


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("MISCONF Errors writing to the AOF file", redis.ConnectionError),
        ("Error running script: -MISCONF Errors writing", redis.ConnectionError),
        ("WRONGTYPE", redis.ResponseError),
    ],
)
@pytest.mark.parametrize("kind", [broker.Connection, VerifiedConnection])
def test_a_server_with_a_full_disk_is_as_good_as_away(
    monkeypatch: pytest.MonkeyPatch, kind: type[Any], answer: str, error: type[Exception]
) -> None:
    def read_response(*_: Any, **__: Any) -> None:
        raise redis.ResponseError(answer)

    monkeypatch.setattr(redis.Connection, "read_response", read_response)
    with pytest.raises(error, match=answer):
        kind().read_response()


def test_other_answers_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis.Connection, "read_response", lambda *_, **__: b"PONG")
    connection: Any = broker.Connection
    assert connection().read_response() == b"PONG"
