"""The execution store with a meter at it: what passes is counted, once it is durable.

Its one rule: the meter is told of a whole flush at once, and only of one that succeeded. So it
costs nothing where there is work in progress, and a flush that was repeated counts once. The
engine knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

from engine.ports import Cancellation, Room
from engine.records import Batch, StoredExecution
from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore, Reaped
from models.live_feed import LiveFeed


class Meter(Protocol):
    """Who counts. Every call returns at once and raises nothing."""

    def flushed(self, batch: Batch, seconds: float) -> None:
        """A flush is durable; it took so many seconds."""
        ...

    def claimed(self, executions: Sequence[StoredExecution]) -> None:
        """These were taken over by this process."""
        ...

    def cancelled(self) -> None:
        """An execution that nobody held was cancelled by this process."""
        ...

    def reaped(self, dead: Reaped) -> None:
        """This process has declared workers dead."""
        ...


class MeteredExecutionStore(PostgresExecutionStore):
    """See `PostgresExecutionStore`."""

    def __init__(
        self,
        dal: AsyncDAL,
        meter: Meter,
        command_timeout: float = 10.0,
        live: LiveFeed | None = None,
    ) -> None:
        super().__init__(dal, command_timeout, live)
        self._meter = meter

    async def flush(self, worker_id: str, batch: Batch) -> None:
        """See `ExecutionStore.flush`."""
        began = perf_counter()
        await super().flush(worker_id, batch)
        self._meter.flushed(batch, perf_counter() - began)

    async def claim(
        self, worker_id: str, room: Room, *, limited: bool = True
    ) -> list[StoredExecution]:
        """See `ExecutionStore.claim`."""
        executions = await super().claim(worker_id, room, limited=limited)
        self._meter.claimed(executions)
        return executions

    async def request_cancel(self, execution_id: str) -> Cancellation | None:
        """See `ExecutionStore.request_cancel`."""
        cancellation = await super().request_cancel(execution_id)
        if cancellation is not None and cancellation.state == "cancelled":
            self._meter.cancelled()
        return cancellation

    async def _reap(self, worker_id: str, max_recoveries: int) -> Reaped:
        dead = await super()._reap(worker_id, max_recoveries)
        self._meter.reaped(dead)
        return dead
