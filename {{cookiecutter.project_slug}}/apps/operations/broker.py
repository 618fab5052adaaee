"""The way to the broker: verified, and without losing what a killed worker has just taken.

Celery's own takes a message off its queue and only then notes that it is not acknowledged. A worker
that is killed in between loses the message, whatever ``CELERY_TASK_ACKS_LATE`` says.
"""

import time
from queue import Empty
from typing import Any

from celery import signals
from kombu.transport import redis

from apps.operations.envelopes import UNREADABLE, Message, QoS, note_loss
from apps.operations.redis_tls import SSLConnection

# Takes the next message of the first queue that has one, and notes it in the same step, in the form
# of kombu.transport.redis.QoS.append. What can't be read is only taken, to be refused.
TAKE = """
for number = 1, #KEYS - 2 do
  local message = redis.call('RPOP', KEYS[number])
  if message then
    local readable, content = pcall(cjson.decode, message)
    local properties = readable and type(content) == 'table' and content.properties
    local tag = type(properties) == 'table' and properties.delivery_tag
    local info = type(properties) == 'table' and properties.delivery_info
    if type(tag) == 'string' and type(info) == 'table' then
      redis.call('ZADD', KEYS[#KEYS - 1], ARGV[1], tag)
      redis.call('HSET', KEYS[#KEYS], tag, '[' .. message .. ',' .. cjson.encode(info.exchange)
        .. ',' .. cjson.encode(info.routing_key) .. ']')
    end
    return {KEYS[number], message}
  end
end
return false
"""


class Channel(redis.Channel):
    """Takes messages by :data:`TAKE`, and waits as Celery does only while there are none.

    A message that arrives while it waits is taken in Celery's two steps.
    """

    connection_class_ssl = SSLConnection
    Message = Message
    QoS = QoS
    _none_left = False

    def _brpop_start(self, timeout: float | None = None) -> None:
        channel: Any = self  # kombu's types leave out what begins with _
        queues = channel._queue_cycle.consume(len(self.active_queues))
        if self._none_left or not queues:
            self._none_left = False
            super()._brpop_start(timeout)  # type: ignore[misc]
            return
        keys = [channel._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
        keys += [self.unacked_index_key, self.unacked_key]
        self._in_poll = self.client.connection
        self._brpop_sent_at = time.monotonic()
        self.client.connection.send_command("EVAL", TAKE, len(keys), *keys, time.time())

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except Empty:
            self._none_left = True
            raise
        except UNREADABLE as error:
            # It is not even JSON.
            signals.task_rejected.send(sender=self, message=None, exc=error)
            return True

    def _do_restore_message(self, payload: Any, *place: Any, **options: Any) -> None:
        if self.qos.restores_lost:  # type: ignore[attr-defined]  # its own class has it
            note_loss(payload, self.visibility_timeout)
        super()._do_restore_message(payload, *place, **options)  # type: ignore[misc]


class Transport(redis.Transport):
    """Redis by :class:`Channel`."""

    Channel = Channel
