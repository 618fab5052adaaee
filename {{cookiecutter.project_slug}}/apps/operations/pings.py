"""The smallest proof that a service answers; each raises its client's own error if it does not."""

import uuid
from typing import Any

from celery import current_app
from django.core.cache import cache
from django.db import connection


def ping_database() -> None:
    """Ask the database for nothing in particular.

    Raises:
        django.db.Error: If it doesn't answer.
    """
    if not connection.in_atomic_block:
        # One that PostgreSQL has dropped meanwhile would fail for ever.
        connection.close_if_unusable_or_obsolete()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def ping_cache() -> None:
    """Write a value and read it back.

    Raises:
        redis.RedisError: If the cache doesn't answer.
        ValueError: If it answers with something else.
    """
    # A key of its own, because others ping at the same time. It expires, which costs no question.
    key = f"ping-{uuid.uuid4().hex}"
    cache.set(key, "pong", timeout=10)
    if cache.get(key) != "pong":
        raise ValueError("the cache did not keep a value")


def ping_broker() -> None:
    """Connect to the broker.

    Raises:
        kombu.exceptions.OperationalError: If it can't be reached.
        redis.RedisError: If it refuses.
    """
    with current_app.connection_for_write() as broker:
        broker.connect()


def ping_results() -> None:
    """Connect to the store of results, if it is a server of its own.

    Raises:
        redis.RedisError: If it can't be reached or refuses.
    """
    backend: Any = current_app.backend
    if current_app.conf.result_backend not in (None, "django-db"):
        backend.client.ping()
