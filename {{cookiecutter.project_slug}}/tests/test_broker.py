"""How a worker takes messages; that none is lost is the business of tests with real servers."""

from json import JSONDecodeError
from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest
from celery import signals
from kombu import Connection
from kombu.transport import redis
from kombu.utils.json import dumps

from apps.operations.broker import TAKE, Channel, Transport
from apps.operations.envelopes import LOSSES, Message, QoS
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


def test_it_waits_only_when_there_is_nothing_left(
    channel: Any, sent: list[tuple[Any, ...]]
) -> None:
    channel._brpop_start()
    with pytest.raises(Empty):
        channel._brpop_read()
    channel._brpop_start(timeout=1)
    channel._brpop_start()
    assert [words[0] for words in sent] == ["EVAL", "BRPOP", "EVAL"]


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


@pytest.mark.parametrize(("lost", "losses"), [(True, 1), (False, None)])
def test_only_the_loss_of_a_worker_is_counted(
    channel: Any, monkeypatch: pytest.MonkeyPatch, lost: bool, losses: int | None
) -> None:
    restored: list[Any] = []
    monkeypatch.setattr(
        redis.Channel, "_do_restore_message", lambda _, payload, *place: restored.append(payload)
    )
    channel._qos = QoS(channel)
    channel._qos.restores_lost = lost
    channel._do_restore_message({"headers": {}}, "", "default", None)
    assert [payload["headers"].get(LOSSES) for payload in restored] == [losses]
    assert (Channel.QoS, Channel.Message) == (QoS, Message)
