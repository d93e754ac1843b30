"""A small cache for look-ups that every request repeats.

Its one rule: an entry is never older than `ttl_seconds`, and one dropped while it was being
loaded is not kept. Callers that ask for the same key at once share one load. Bounded: the entry
stored first goes first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """`await cache.get(key, load)`: the value, loaded at most once per `ttl_seconds`."""

    def __init__(
        self,
        *,
        ttl_seconds: float,
        capacity: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl = ttl_seconds
        self._capacity = capacity
        self._clock = clock
        self._entries: dict[K, tuple[float, V]] = {}
        self._loading: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        """The cached value, else what `load` gives. What `load` raises is raised, not cached."""
        entry = self._entries.get(key)
        if entry is not None and entry[0] > self._clock():
            return entry[1]
        task = self._loading.get(key)
        if task is None:
            task = asyncio.create_task(self._load(key, load))
            self._loading[key] = task
            task.add_done_callback(_seen)
        # Shielded: a caller that goes away must not take the others' answer with it.
        return await asyncio.shield(task)

    def drop(self, key: K) -> None:
        """Forgets one entry, also one that is being loaded right now."""
        self._entries.pop(key, None)
        self._loading.pop(key, None)

    def drop_where(self, matches: Callable[[K], bool]) -> None:
        """Forgets every entry whose key matches."""
        for key in [*self._entries, *self._loading]:
            if matches(key):
                self.drop(key)

    async def _load(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        # Counted from before the load, so that an entry is never older than its time.
        asked = self._clock()
        mine = asyncio.current_task()
        try:
            value = await load()
            if self._loading.get(key) is mine:
                self._store(key, asked + self._ttl, value)
            return value
        finally:
            if self._loading.get(key) is mine:
                del self._loading[key]

    def _store(self, key: K, expires: float, value: V) -> None:
        self._entries.pop(key, None)
        while len(self._entries) >= self._capacity:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (expires, value)


def _seen(task: asyncio.Task[V]) -> None:
    """Takes note of how a load ended: if all who asked for it have gone away, nobody else does,
    and asyncio would complain of a failure that was never looked at."""
    if not task.cancelled():
        task.exception()
