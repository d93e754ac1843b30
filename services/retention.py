"""Retention: history that nobody wants any more is dropped, a little at a time, in the background.

Its one rule: it is never in anybody's way. One process of all does the work; between two batches
it pauses for at least twice as long as the batch took, so that it has at most a third of one
connection's share of the server, and less of a server that is busy.

It also drops what the service itself leaves behind: idempotency keys that have expired, rows of
workers that died, deliveries of webhooks that were settled some time ago, what alerts leave, and
roll-ups of metrics that are very old; younger ones it gathers into days. A
database that is away is one line in the log; the loop goes on when it is back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from models.retention import History, Place, Policy
from services.aaa_log import AaaLog
from services.rounds import Rounds

T = TypeVar("T")

ACTION = "drop_history"
_SHARE = 2
"""How much longer than a batch the pause after it is."""


class Retention:
    """Drops executions that ended more than `days` ago (None: only those of workflows that say so
    themselves), and deliveries settled and alerts changed more than `webhook_days` ago.
    `round_seconds` lie between two rounds, `retry_seconds` if the database was away; steps follow
    their execution after `settle_seconds`, in which who has just found it reads on.
    """

    def __init__(
        self,
        lines: AaaLog,
        history: History,
        *,
        days: int | None,
        webhook_days: int = 30,
        round_seconds: float = 600,
        retry_seconds: float = 30,
        pause_seconds: float = 0.05,
        settle_seconds: float = 60,
    ) -> None:
        self._lines = lines
        self._history = history
        self._days = days
        self._webhook_days = webhook_days
        self._round_seconds = round_seconds
        self._pause_seconds = pause_seconds
        self._settle_seconds = settle_seconds
        self._dropped: Counter[str] = Counter()
        self._rounds = Rounds(lines, ACTION, self._round, retry_seconds=retry_seconds)

    def start(self) -> None:
        """Starts the loop, with a round at once."""
        self._rounds.start()

    async def stop(self, timeout_seconds: float = 5.0) -> None:
        """Ends after the batch that is under way, waiting at most `timeout_seconds` for it."""
        await self._rounds.stop(timeout_seconds)

    async def _round(self) -> float:
        await self.drop_history()
        return self._round_seconds

    async def drop_history(self) -> bool:
        """One round: drops all that may go, unless another process is at it; returns whether it
        was this one's to do. Raises `StoreUnavailable`, `OutcomeUnknown`."""
        async with self._history.alone() as alone:
            if not alone:
                return False
            try:
                await self._drop_all()
            finally:
                self._say_dropped()
        return True

    async def _drop_all(self) -> None:
        async with aclosing(self._history.policies(self._days)) as policies:
            async for policy in policies:
                await self._drop_executions(policy)
                if self._rounds.stopping:
                    return
        await self._clear()
        await self._drop_while_any("idempotency_keys", self._history.drop_expired_keys)
        await self._drop_while_any("workers", self._history.drop_dead_workers)
        deliveries = partial(self._history.drop_old_deliveries, self._webhook_days)
        await self._drop_while_any("webhook_deliveries", deliveries)
        changes = partial(self._history.drop_old_changes, self._webhook_days)
        await self._drop_while_any("alert_history", changes)
        await self._drop_while_any("alert_samples", self._history.drop_old_samples)
        await self._gather_rollups()
        await self._drop_while_any("rollups", self._history.drop_old_rollups)

    async def _drop_executions(self, policy: Policy) -> None:
        place: Place | None = Place()
        while place is not None and not self._rounds.stopping:
            walked = await self._paced(self._history.drop(policy, place))
            self._dropped["executions"] += walked.dropped
            place = walked.onward
            if walked.dropped:
                await self._clear()

    async def _clear(self) -> None:
        more = True
        while more and not self._rounds.stopping:
            cleared = await self._paced(self._history.clear(self._settle_seconds))
            self._dropped["steps"] += cleared.steps
            self._dropped["letters"] += cleared.letters
            more = cleared.more

    async def _drop_while_any(self, what: str, drop: Callable[[], Awaitable[int]]) -> None:
        dropped = 1
        while dropped and not self._rounds.stopping:
            dropped = await self._paced(drop())
            self._dropped[what] += dropped

    async def _gather_rollups(self) -> None:
        gathered = 1
        while gathered and not self._rounds.stopping:
            gathered = await self._paced(self._history.compact_rollups())

    async def _paced(self, batch: Awaitable[T]) -> T:
        """Runs one batch and lets the others have their turn."""
        clock = asyncio.get_running_loop().time
        began = clock()
        result = await batch
        await self._rounds.pause(self._pause_seconds + _SHARE * (clock() - began))
        return result

    def _say_dropped(self) -> None:
        dropped, self._dropped = self._dropped, Counter()
        counts: dict[str, Any] = {what: n for what, n in dropped.items() if n}
        if counts:
            self._lines.system(ACTION, **counts)
