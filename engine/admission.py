"""How many executions are accepted: beyond `MAX_PENDING_EXECUTIONS`, none; beyond
`MAX_PENDING_PER_COMMUNITY`, none of that community.

Its one rule: nothing is counted that could leak. What is pending is asked of the table, at most
once per poll interval, and what was let in since then is added to that.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Protocol

from engine.errors import CommunityOverloaded, Overloaded
from engine.ports import Clock, ExecutionStore
from engine.settings import EngineSettings

_MOST_REMEMBERED = 1_000


class Taker(Protocol):
    """Who runs what is let in: a session."""

    crowded: bool

    def has_room(self, community_id: int, count: int) -> bool:
        """Whether so many more executions of a community may run here at once."""
        ...

    def backlog(self) -> int:
        """How many records wait to be written."""
        ...


class _Count:
    """What is pending, as far as is known: what the table said, and what was let in since."""

    __slots__ = ("asked_at", "lock", "pending")

    def __init__(self) -> None:
        self.asked_at = float("-inf")
        self.pending = 0
        self.lock = asyncio.Lock()


class Admission:
    """Lets executions in."""

    def __init__(self, store: ExecutionStore, settings: EngineSettings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._counts: OrderedDict[int | None, _Count] = OrderedDict()
        """By community; None: of all."""

    async def admit(self, taker: Taker, community_id: int, count: int) -> None:
        """Passes if so many more executions may be accepted. Raises `Overloaded`,
        `CommunityOverloaded`, `StoreUnavailable`."""
        most, own_most = (
            self._settings.max_pending_executions,
            self._settings.max_pending_per_community,
        )
        if taker.backlog() > most:
            raise Overloaded
        if not taker.crowded and taker.has_room(community_id, count):
            return
        everywhere = await self._fresh(None, most)
        own = None if own_most is None else await self._fresh(community_id, own_most)
        # Nothing is waited for from here on, so that no two are let in on the same count.
        if everywhere.pending + count > most:
            raise Overloaded(pending=everywhere.pending, most=most)
        if own is not None and own_most is not None:
            if own.pending + count > own_most:
                raise CommunityOverloaded(pending=own.pending, most=own_most)
            own.pending += count
        everywhere.pending += count

    async def _fresh(self, community_id: int | None, most: int) -> _Count:
        """The count, no older than a poll interval. Of many who find it too old one asks; the
        others wait for the answer."""
        count = self._counts.get(community_id)
        if count is None:
            count = self._counts[community_id] = _Count()
            while len(self._counts) > _MOST_REMEMBERED:
                self._counts.popitem(last=False)
        async with count.lock:
            now = self._clock.monotonic()
            if now - count.asked_at > self._settings.poll_seconds:
                count.pending = await self._store.pending(most + 1, community_id)
                count.asked_at = now
        return count
