"""The way to the broker: verified, and without losing what a killed worker has just taken.

Celery's own takes a message off its queue and only then notes that it is not acknowledged. A worker
that is killed in between loses the message, whatever ``CELERY_TASK_ACKS_LATE`` says.
"""

import time
from queue import Empty
from typing import Any

from kombu.transport import redis, virtual

from apps.operations.redis_tls import SSLConnection

# Takes the next message of the first queue that has one, and notes it in the same step, in the form
# of kombu.transport.redis.QoS.append. What can't be read is only taken, for Celery to complain of.
TAKE = """
for number = 1, #KEYS - 2 do
  local message = redis.call('RPOP', KEYS[number])
  if message then
    local readable, content = pcall(cjson.decode, message)
    if readable and type(content) == 'table' and content.properties then
      local tag, info = content.properties.delivery_tag, content.properties.delivery_info
      redis.call('ZADD', KEYS[#KEYS - 1], ARGV[1], tag)
      redis.call('HSET', KEYS[#KEYS], tag, '[' .. message .. ',' .. cjson.encode(info.exchange)
        .. ',' .. cjson.encode(info.routing_key) .. ']')
    end
    return {KEYS[number], message}
  end
end
return false
"""


class QoS(redis.QoS):
    """Notes what is not acknowledged, unless :data:`TAKE` has noted it."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a message that was taken."""
        channel: Any = self.channel
        if channel.noted:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)


class Channel(redis.Channel):
    """Takes messages by :data:`TAKE`, and waits as Celery does only while there are none.

    A message that arrives while it waits is taken in Celery's two steps.

    Attributes:
        noted: Whether the message that is being read was noted by the server.
    """

    QoS = QoS
    connection_class_ssl = SSLConnection
    noted = False
    _none_left = False
    _taking = False

    def _brpop_start(self, timeout: float | None = None) -> None:
        channel: Any = self  # kombu's types leave out what begins with _
        queues = channel._queue_cycle.consume(len(self.active_queues))
        if self._none_left or not queues:
            self._none_left = self._taking = False
            super()._brpop_start(timeout)  # type: ignore[misc]
            return
        keys = [channel._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
        keys += [self.unacked_index_key, self.unacked_key]
        self._taking = True
        self._in_poll = self.client.connection
        self._brpop_sent_at = time.monotonic()
        self.client.connection.send_command("EVAL", TAKE, len(keys), *keys, time.time())

    def _brpop_read(self, **options: Any) -> Any:
        self.noted = self._taking
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except Empty:
            self._none_left = True
            raise
        finally:
            self.noted = False


class Transport(redis.Transport):
    """Redis by :class:`Channel`."""

    Channel = Channel
