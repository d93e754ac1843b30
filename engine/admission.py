"""How many executions are accepted: beyond `MAX_PENDING_EXECUTIONS`, none; beyond
`MAX_PENDING_PER_COMMUNITY`, none of that community; and none of a community whose executions take
`MAX_HISTORY_BYTES_PER_COMMUNITY` already.

Its one rule: nothing is counted that could leak. What is pending, and what is kept, is asked of the
store, at most once per poll interval; what was let in since then is added to what is pending.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol

from engine.errors import CommunityFull, CommunityOverloaded, Overloaded
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
    """A number of the store's, as far as is known: what it said, and what was added since."""

    __slots__ = ("asked_at", "lock", "number")

    def __init__(self) -> None:
        self.asked_at = float("-inf")
        self.number = 0
        self.lock = asyncio.Lock()


class _Counts:
    """One number for each community (None: of all), none older than a poll interval."""

    def __init__(self, clock: Clock, poll_seconds: float) -> None:
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._known: OrderedDict[int | None, _Count] = OrderedDict()

    async def fresh(self, community_id: int | None, ask: Callable[[], Awaitable[int]]) -> _Count:
        """The count. Of many who find it too old one asks; the others wait for the answer."""
        count = self._known.get(community_id)
        if count is None:
            count = self._known[community_id] = _Count()
            while len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)
        async with count.lock:
            now = self._clock.monotonic()
            if now - count.asked_at > self._poll_seconds:
                count.number = await ask()
                count.asked_at = now
        return count


class Admission:
    """Lets executions in."""

    def __init__(self, store: ExecutionStore, settings: EngineSettings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._pending = _Counts(clock, settings.poll_seconds)
        self._kept = _Counts(clock, settings.poll_seconds)

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
        everywhere = await self._waiting(None, most)
        own = None if own_most is None else await self._waiting(community_id, own_most)
        # Nothing is waited for from here on, so that no two are let in on the same count.
        if everywhere.number + count > most:
            raise Overloaded(pending=everywhere.number, most=most)
        if own is not None and own_most is not None:
            if own.number + count > own_most:
                raise CommunityOverloaded(pending=own.number, most=own_most)
            own.number += count
        everywhere.number += count

    async def afford(self, community_id: int) -> None:
        """Passes if what the community's executions keep leaves room for more. Asked of what
        somebody wants started and of signals, not of what an accepted execution records or starts
        in turn: that may go on to its end. Raises `CommunityFull`, `StoreUnavailable`."""
        most = self._settings.max_history_bytes_per_community
        if most is None:
            return
        kept = await self._kept.fresh(community_id, lambda: self._store.kept_bytes(community_id))
        if kept.number >= most:
            raise CommunityFull(limit=most, used=kept.number)

    async def _waiting(self, community_id: int | None, most: int) -> _Count:
        return await self._pending.fresh(
            community_id, lambda: self._store.pending(most + 1, community_id)
        )
