"""The way to the broker: verified, and without losing a task while anything on it fails.

Celery's own takes a message off its queue and only then notes that it is not acknowledged, so a
worker that is killed in between loses the message, and so does a connection that is cut. It goes by
each worker's clock, ends when the server's memory or disk is full, and forgets what it could not
say to a server that was away.
"""

import logging
import time
from queue import Empty
from typing import Any, ClassVar

import redis
from celery import signals
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

from apps.operations.envelopes import UNREADABLE, Message, note_loss
from apps.operations.redis_tls import SSLConnection

logger = logging.getLogger(__name__)

# In seconds: how long a message may be on its way to the worker that has taken it.
ARRIVAL_TIME = 15
# A stream that tells of each message that is put on a queue, for workers that wait for one. Of what
# blocks on the server, only reading a stream takes nothing with it. Its name is like kombu's own.
ARRIVALS = "_kombu.arrivals"

# Each script is one step on the server, by the server's clock. One that begins by removing
# something may then write, even if the server's memory is full.

# Puts a message on its queue.
PUT = """
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('XADD', KEYS[2], 'MAXLEN', 1, '*', 'queue', KEYS[1])
"""

# Takes the next message of the first queue that has one, and notes it in the form of
# kombu.transport.redis.QoS.append, but so many seconds earlier: what does not arrive is soon
# overdue. What can't be read is only taken, to be refused. One command tells that all queues are
# empty, because some brokers are paid by the command.
TAKE = """
if redis.call('EXISTS', unpack(KEYS, 1, #KEYS - 2)) == 0 then
  return false
end
for number = 1, #KEYS - 2 do
  local message = redis.call('RPOP', KEYS[number])
  if message then
    local readable, content = pcall(cjson.decode, message)
    local properties = readable and type(content) == 'table' and content.properties
    local tag = type(properties) == 'table' and properties.delivery_tag
    local info = type(properties) == 'table' and properties.delivery_info
    if type(tag) == 'string' and type(info) == 'table' then
      redis.call('ZADD', KEYS[#KEYS - 1], redis.call('TIME')[1] - ARGV[1], tag)
      redis.call('HSET', KEYS[#KEYS], tag, '[' .. message .. ',' .. cjson.encode(info.exchange)
        .. ',' .. cjson.encode(info.routing_key) .. ']')
    end
    return {KEYS[number], message}
  end
end
return false
"""

# Notes that a message has arrived, unless it is overdue and was put back.
ARRIVED = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then
  redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1])
end
"""

# Names what was taken longer ago than some seconds.
OVERDUE = """
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1] - ARGV[1])
"""

# Puts a message back, if it was taken so many seconds ago and nobody else has done so.
PUT_BACK = """
local taken = redis.call('ZSCORE', KEYS[1], ARGV[1])
if taken and redis.call('TIME')[1] - taken < tonumber(ARGV[2]) then
  return
end
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('HDEL', KEYS[2], ARGV[1]) == 1 then
  for number = 4, #KEYS do
    redis.call(ARGV[3], KEYS[number], ARGV[4])
    redis.call('XADD', KEYS[3], 'MAXLEN', 1, '*', 'queue', KEYS[number])
  end
end
"""

# Forgets a message that can't be put back, unless it was taken again meanwhile.
FORGET = """
if (redis.call('HGET', KEYS[2], ARGV[1]) or '') == ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
"""


class FullDiskMixin:
    """A connection to a server that is as good as away while it can't write to its disk."""

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Return an answer.

        Raises:
            redis.ConnectionError: If the server refuses because of its disk.
            redis.RedisError: If anything else is wrong.
        """
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except redis.ResponseError as error:
            if "MISCONF" in str(error):
                raise redis.ConnectionError(str(error)) from error
            raise


class Connection(FullDiskMixin, redis.Connection):
    """A plain connection."""


class VerifiedConnection(FullDiskMixin, SSLConnection):
    """A connection by TLS."""


class Client(redis.Redis):
    """A client that sends several commands at once, and in a transaction only if told to.

    A server whose memory is full refuses all of a transaction, even what frees memory.
    """

    def pipeline(self, transaction: bool = False, shard_hint: str | None = None) -> Any:
        """Return a pipeline; :meth:`redis.Redis.transaction` still makes one of its own."""
        return super().pipeline(transaction=False, shard_hint=shard_hint)


class QoS(kombu_redis.QoS):
    """What a process has taken and not acknowledged.

    What it can't tell the broker is told again: every second, and when the broker is back.
    """

    # By tag: the command that puts a message back; nothing if it is done with.
    _owed: ClassVar[dict[str, str]] = {}

    def append(self, message: Any, delivery_tag: str) -> None:
        """Keep a message that has arrived."""
        channel: Any = self.channel
        with channel.conn_or_acquire() as client:
            client.eval(ARRIVED, 1, self.unacked_index_key, delivery_tag)
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message."""
        self._settle(delivery_tag, "")

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message, or put it back behind the others of its queue."""
        self._settle(delivery_tag, "LPUSH" if requeue else "")

    def restore_unacked(self, client: Any = None) -> None:
        """Put all messages back, before the others of their queues."""
        taken: Any = self._delivered
        self._owed.update(dict.fromkeys(taken, "RPUSH"))
        taken.clear()
        self._pay()

    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Tell what is owed, and put back what any worker has had for too long."""
        self._pay()
        channel: Any = self.channel
        with channel.conn_or_acquire() as client:
            age = self.visibility_timeout
            for tag in client.eval(OVERDUE, 1, self.unacked_index_key, age):
                self._put_back(bytes_to_str(tag), "RPUSH", age)

    def _settle(self, tag: str, push: str) -> None:
        self._owed[tag] = push
        self._pay()
        virtual.QoS.ack(self, tag)

    def _pay(self) -> None:
        transport = self.channel.connection
        if transport is None or transport.client is None:
            return  # It is closed; the channel after this one pays.
        try:
            for tag, push in list(self._owed.items()):
                if push:
                    self._put_back(tag, push)
                else:
                    self._remove_from_indices(tag).execute()  # type: ignore[attr-defined]
                self._owed.pop(tag, None)
        except redis.RedisError as error:
            logger.warning("the broker can't be told of %d tasks: %s", len(self._owed), error)

    def _put_back(self, tag: str, push: str, age: int = 0) -> None:
        channel: Any = self.channel
        with channel.conn_or_acquire() as client:
            noted = client.hget(self.unacked_key, tag)
            try:
                message, exchange, routing_key = loads(bytes_to_str(noted))
                message["properties"]["delivery_info"]["redelivered"] = True
                priority = channel._get_message_priority(message, reverse=False)
            except UNREADABLE:
                # Somebody else has put it back, or it was refused and nobody needs it.
                keys = [self.unacked_index_key, self.unacked_key]
                client.eval(FORGET, len(keys), *keys, tag, noted or "")
                return
            if age:
                note_loss(message, age)
            queues = channel._lookup(exchange, routing_key)
            keys = [self.unacked_index_key, self.unacked_key, ARRIVALS]
            keys += [channel._q_for_pri(queue, priority) for queue in queues]
            client.eval(PUT_BACK, len(keys), *keys, tag, age, push, dumps(message))


class Channel(kombu_redis.Channel):
    """Takes messages by :data:`TAKE`, and waits for :data:`ARRIVALS` if there are none.

    What others put on a queue is found after the polling interval of Celery's own transport.
    Answers to questions are taken by Celery's own way, because nobody acknowledges them.
    """

    Message = Message
    QoS = QoS
    connection_class = Connection
    connection_class_ssl = VerifiedConnection
    _waits = False
    _latest_arrival = "0"
    _takes_answers = False
    _asking: Client | None = None

    def _get_client(self) -> type[Client]:
        return Client

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        # Kombu makes a client for each question, which takes as long as the question itself.
        channel: Any = self
        if self._asking is None or self._asking.connection_pool is not channel.pool:
            self._asking = super()._create_client()  # type: ignore[misc]
        return self._asking

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **options: Any) -> Any:
        """Begin to take the messages of a queue."""
        self._takes_answers = no_ack
        return super().basic_consume(queue, no_ack, *args, **options)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[misc]
        except redis.ResponseError:
            # A full server adds nothing; broadcasts need no binding, and others may be there.
            binding = (routing_key or "", pattern or "", queue)
            if self.typeof(exchange).type != "fanout" and binding not in self.get_table(exchange):
                raise

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        channel: Any = self
        # A queue that expires is one of answers, which nobody waits for here.
        if queue in channel._expires or "_publish_batch" in options:
            super()._put(queue, message, **options)
            return
        key = channel._q_for_pri(queue, channel._get_message_priority(message, reverse=False))
        with channel.conn_or_acquire() as client:
            client.eval(PUT, 2, key, ARRIVALS, dumps(message))

    def _brpop_start(self, timeout: float | None = None) -> None:
        if self._takes_answers:
            super()._brpop_start(timeout)  # type: ignore[misc]
            return
        channel: Any = self  # kombu's types leave out what begins with _
        queues = channel._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        command: tuple[Any, ...]
        if self._waits:
            milliseconds = int((timeout or self.brpop_timeout) * 1000)
            command = ("XREAD", "BLOCK", milliseconds, "STREAMS", ARRIVALS, self._latest_arrival)
        else:
            steps = self.priority_steps
            keys = [channel._q_for_pri(queue, step) for step in steps for queue in queues]
            keys += [self.unacked_index_key, self.unacked_key]
            lead = max(self.visibility_timeout - ARRIVAL_TIME, 0)
            command = ("EVAL", TAKE, len(keys), *keys, lead)
        self._in_poll = self.client.connection
        self._brpop_sent_at = time.monotonic()
        self.client.connection.send_command(*command)

    def _receive(self) -> Any:
        # After a connection that died in silence was replaced, kombu would wait here for ever.
        if not self.subclient.connection.can_read(timeout=0):
            raise redis.ConnectionError("There is nothing to read where something should be.")
        return super()._receive()  # type: ignore[misc]

    def _brpop_read(self, **options: Any) -> Any:
        if self._waits:
            self._read_arrival()
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except Empty:
            self._waits = not self._takes_answers
            raise
        except UNREADABLE as error:
            # It is not even JSON.
            signals.task_rejected.send(sender=self, message=None, exc=error)
            return True

    def _read_arrival(self) -> None:
        """Read what ended the waiting.

        Raises:
            queue.Empty: Always, so that the queues are looked at next.
            redis.RedisError: If the connection is lost.
        """
        channel: Any = self
        self._waits = False
        self._in_poll = None
        try:
            streams = self.client.parse_response(self.client.connection, "XREAD")
        except channel.connection_errors:
            # As Celery does, so that the next try connects again.
            self.client.connection.disconnect()
            raise
        finally:
            channel._flush_brpop_reauth()
        for _, [*_, (number, _)] in streams:
            self._latest_arrival = bytes_to_str(number)
        raise Empty


class Transport(kombu_redis.Transport):
    """Redis by :class:`Channel`."""

    Channel = Channel
