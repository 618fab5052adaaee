"""What waits in the broker."""

from typing import Any

from celery import current_app


def waiting_tasks() -> dict[str, int]:
    """Return how many messages wait in each declared queue; those that a worker holds don't count.

    Raises:
        kombu.exceptions.OperationalError: If the broker can't be reached.
        redis.RedisError: If it refuses.
    """
    with current_app.connection_for_write() as broker:
        broker.connect()
        channel: Any = broker.default_channel
        return {
            name: channel.queue_declare(
                name,
                durable=queue.durable,
                auto_delete=queue.auto_delete,
                arguments=queue.queue_arguments,
            ).message_count
            for name, queue in current_app.amqp.queues.items()
        }
