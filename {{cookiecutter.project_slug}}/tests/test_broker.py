"""How a worker takes messages; that none is lost is the business of tests with real servers."""

from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection
from kombu.transport import redis, virtual
from kombu.utils.json import dumps

from apps.operations.broker import TAKE, Channel, QoS, Transport
from apps.operations.redis_tls import SSLConnection

MESSAGE = {
    "properties": {"delivery_tag": "1", "delivery_info": {"exchange": "", "routing_key": ""}}
}


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
    channel.connection = SimpleNamespace(_deliver=lambda message, queue: sent.append((queue,)))
    connection = SimpleNamespace(send_command=lambda *words: sent.append(words))
    channel.__dict__["client"] = SimpleNamespace(
        connection=connection,
        parse_response=lambda *_, **__: answers.pop(0) if answers else None,
    )
    channel.connection_errors = (ConnectionError,)
    channel._flush_brpop_reauth = lambda: None
    channel.answers = answers
    return channel


def test_both_kinds_of_url_lead_to_it() -> None:
    for url in ("redis://localhost", "rediss://localhost"):
        assert Connection(url).get_transport_cls() is Transport
    assert Channel.connection_class_ssl is SSLConnection


def test_a_message_is_taken_and_noted_in_one_step(
    channel: Any, sent: list[tuple[Any, ...]]
) -> None:
    channel.answers.append([b"default", dumps(MESSAGE).encode()])
    channel._brpop_start()
    assert sent[0][:2] == ("EVAL", TAKE)
    assert sent[0][3:-1][0] == "default"
    assert sent[0][-3:-1] == (channel.unacked_index_key, channel.unacked_key)
    assert channel._brpop_read()
    assert sent[1] == ("default",)


def test_what_the_server_has_noted_is_not_noted_again(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(virtual.QoS, "append", lambda *_: notes.append("remembered"))
    monkeypatch.setattr(redis.QoS, "append", lambda *_: notes.append("noted"))
    quality: Any = QoS.__new__(QoS)
    quality.channel = channel
    channel.connection._deliver = lambda message, _: quality.append(message, "1")
    taken = [b"default", dumps(MESSAGE).encode()]
    channel.answers.extend([taken, None, taken])
    channel._brpop_start()
    channel._brpop_read()
    assert notes == ["remembered"]
    channel._brpop_start()
    with pytest.raises(Empty):
        channel._brpop_read()
    # Now it waits, as Celery does.
    channel._brpop_start(timeout=1)
    channel._brpop_read()
    assert notes == ["remembered", "noted"]


def test_it_waits_only_when_there_is_nothing_left(
    channel: Any, sent: list[tuple[Any, ...]]
) -> None:
    channel._brpop_start()
    with pytest.raises(Empty):
        channel._brpop_read()
    channel._brpop_start(timeout=1)
    channel._brpop_start()
    assert [words[0] for words in sent] == ["EVAL", "BRPOP", "EVAL"]
