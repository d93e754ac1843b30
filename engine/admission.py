"""How many executions are accepted: beyond `MAX_PENDING_EXECUTIONS`, none; beyond
`MAX_PENDING_PER_COMMUNITY`, none of that community.

Its one rule: nothing is counted that could leak. What is pending is asked of the table, at most
once per poll interval, and what was let in since then is added to that.
"""

from __future__ import annotations

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


class Admission:
    """Lets executions in."""

    def __init__(self, store: ExecutionStore, settings: EngineSettings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._seen: OrderedDict[int | None, tuple[float, int]] = OrderedDict()
        """A community (None: all) -> when it was asked for, and how many of it were pending."""

    async def admit(self, taker: Taker, community_id: int, count: int) -> None:
        """Passes if so many more executions may be accepted. Raises `Overloaded`,
        `CommunityOverloaded`, `StoreUnavailable`."""
        most = self._settings.max_pending_executions
        if taker.backlog() > most:
            raise Overloaded
        if not taker.crowded and taker.has_room(community_id, count):
            return
        pending = await self._pending(None, most)
        if pending + count > most:
            raise Overloaded(pending=pending, most=most)
        own_most = self._settings.max_pending_per_community
        if own_most is not None:
            own = await self._pending(community_id, own_most)
            if own + count > own_most:
                raise CommunityOverloaded(pending=own, most=own_most)
            self._add(community_id, count)
        self._add(None, count)

    async def _pending(self, community_id: int | None, most: int) -> int:
        now = self._clock.monotonic()
        seen_at, pending = self._seen.get(community_id, (float("-inf"), 0))
        if now - seen_at > self._settings.poll_seconds:
            pending = await self._store.pending(most + 1, community_id)
            self._seen[community_id] = now, pending
            while len(self._seen) > _MOST_REMEMBERED:
                self._seen.popitem(last=False)
        return pending

    def _add(self, community_id: int | None, count: int) -> None:
        seen_at, pending = self._seen.get(community_id, (float("-inf"), 0))
        self._seen[community_id] = seen_at, pending + count
