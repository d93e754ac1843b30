"""How many executions are accepted: beyond `MAX_PENDING_EXECUTIONS`, none.

Its one rule: nothing is counted that could leak. What is pending is asked of the table, at most
once per poll interval, and what was let in since then is added to that.
"""

from __future__ import annotations

from typing import Protocol

from engine.errors import Overloaded
from engine.ports import Clock, ExecutionStore
from engine.settings import EngineSettings


class Taker(Protocol):
    """Who runs what is let in: a session."""

    crowded: bool

    def room(self) -> int:
        """How many more executions may run here."""
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
        self._pending = 0
        self._seen_at = float("-inf")

    async def admit(self, taker: Taker, count: int) -> None:
        """Passes if so many more executions may be accepted. Raises `Overloaded`,
        `StoreUnavailable`."""
        most = self._settings.max_pending_executions
        if taker.backlog() > most:
            raise Overloaded
        if taker.room() >= count and not taker.crowded:
            return
        now = self._clock.monotonic()
        if now - self._seen_at > self._settings.poll_seconds:
            self._pending = await self._store.pending(most + 1)
            self._seen_at = now
        if self._pending + count > most:
            raise Overloaded(pending=self._pending, most=most)
        self._pending += count
