"""The cache on the Redis-compatible server."""

from typing import Any

from django.core.cache.backends.redis import RedisCache, RedisCacheClient


class CacheClient(RedisCacheClient):
    """Asks by the same client again; making one for each question takes as long as the question."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._clients: dict[bool, Any] = {}

    def get_client(self, key: Any = None, *, write: bool = False) -> Any:
        """Return the client that writes, or one that reads."""
        if write not in self._clients:
            self._clients[write] = super().get_client(key, write=write)
        return self._clients[write]


class Cache(RedisCache):
    """Django's own, by :class:`CacheClient`."""

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = CacheClient
