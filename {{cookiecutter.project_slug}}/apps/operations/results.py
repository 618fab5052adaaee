"""The way to the server that keeps results: verified, as the way to the broker."""

from celery.backends.redis import RedisBackend

from apps.operations.redis_tls import ConnectionPool


class Backend(RedisBackend):
    """Celery's own, with the connections of this project."""

    ConnectionPool = ConnectionPool
