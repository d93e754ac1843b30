"""One connection to a Redis or Valkey server, for running one script.

Its one rule: it tries nothing twice. A script that counts must not be repeated because its answer
was lost, and how long to wait is up to the caller, who may cancel at any time.

The client library is imported when a server is named: nobody else waits for that at start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

_PORT = 6379


class RedisServer:
    """The server at a URL (`redis://` or `rediss://`). Every call raises what the library does."""

    def __init__(self, url: str, script: str, timeout_seconds: float) -> None:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        parts = urlsplit(url)
        self.name = f"{parts.hostname}:{parts.port or _PORT}"
        """Where it is, without its password."""
        self._client = Redis.from_url(
            url,
            protocol=2,  # every server speaks it
            driver_info=None,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=timeout_seconds,
            socket_timeout=timeout_seconds,
        )
        self._script = self._client.register_script(script)

    async def connect(self) -> None:
        """Leaves an old connection and makes a new one."""
        await self._client.connection_pool.disconnect()
        await self._client.ping()

    async def run(self, keys: Sequence[str], arguments: Sequence[int | float]) -> list[Any]:
        """What the script answers."""
        found: list[Any] = await self._script(keys=list(keys), args=list(arguments))
        return found

    async def close(self) -> None:
        """Leaves the server for good."""
        await self._client.aclose()
