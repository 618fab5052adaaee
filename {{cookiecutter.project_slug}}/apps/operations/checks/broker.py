"""Looks at the servers of REDIS_URL: cache, broker and results."""

from collections.abc import Callable, Mapping
from typing import Any

import redis
from celery import current_app

from apps.operations.checks.reasons import reason
from apps.operations.pings import ping_broker, ping_cache, ping_results
from apps.operations.redis_tls import CertificateError

# The share of its memory that a broker may use. What is left must bear the tasks that arrive until
# somebody has come.
LARGEST_USE = 0.9


def check_cache() -> list[str]:
    """Write to the cache and read back."""
    return _problems_of("the cache", ping_cache, "REDIS_URL")


def check_broker() -> list[str]:
    """Connect to the broker and to the store of results."""
    return [
        *_problems_of("the broker", ping_broker, "CELERY_BROKER_URL or REDIS_URL"),
        *_problems_of("the store of results", ping_results, "CELERY_RESULT_BACKEND or REDIS_URL"),
    ]


def _problems_of(what: str, ping: Callable[[], None], variable: str) -> list[str]:
    try:
        ping()
    except CertificateError as error:
        return [f"{what} is not trusted: {reason(error)}"]
    except redis.AuthenticationError as error:
        return [f"{what} refuses the password ({reason(error)}): correct it in {variable}."]
    except Exception as error:
        why = reason(error)
        return [f"{what} does not answer ({why}): is it running, and is {variable} right?"]
    return []


def check_broker_memory() -> list[str]:
    """Look at the broker's memory, and at what it does when that is full."""
    memory = _broker_memory()
    problems = []
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        problems.append(
            f"maxmemory-policy is {policy}, by which it throws tasks away when its memory is full: "
            "set noeviction."
        )
    limit, used = memory.get("maxmemory", 0), memory.get("used_memory", 0)
    if limit and used > limit * LARGEST_USE:
        problems.append(
            f"{used / 1024**2:.0f} MB of {limit / 1024**2:.0f} MB are used, and it refuses tasks "
            "when they all are: let workers empty the queues, or raise maxmemory."
        )
    return problems


def _broker_memory() -> Mapping[str, Any]:
    """Return what the broker tells of its memory; nothing if it is no server or tells nothing."""
    with current_app.connection_for_write() as broker:
        broker.connect()
        channel: Any = broker.default_channel
        if broker.transport.driver_type != "redis":
            return {}
        try:
            memory: Mapping[str, Any] = channel.client.info("memory")
        except redis.ResponseError:
            return {}  # a provider may forbid it
    return memory
