"""One worker: this process's lease, and the watch over the others'.

A worker has one row and renews it at a third of its lease. It judges its own lease by its own
monotonic clock, counted from *before* the renewal was sent, so it stops acting no later than
others may start to. Losing the lease is final for this identity; the engine opens a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.errors import LeaseLost, WorkflowEngineException
from engine.ports import Clock, EngineLog, ExecutionStore
from engine.settings import EngineSettings

_SWEEP_SECONDS = 0.5


class Worker:
    """A worker's lease. `lost` is called once, when it is gone."""

    def __init__(
        self,
        worker_id: str,
        store: ExecutionStore,
        clock: Clock,
        log: EngineLog,
        settings: EngineSettings,
        lost: Callable[[LeaseLost], None],
    ) -> None:
        self.worker_id = worker_id
        self._name = settings.name
        self._store = store
        self._clock = clock
        self._log = log
        self._lease_seconds = settings.lease_seconds
        self._max_recoveries = settings.max_recoveries
        self._lost = lost
        self._deadline = 0.0

    async def register(self) -> None:
        """Enters the worker; from now on it may act."""
        asked = self._clock.monotonic()
        await self._store.register(self.worker_id, self._name, self._lease_seconds)
        self._deadline = asked + self._lease_seconds

    def may_act(self) -> bool:
        """Whether the lease holds, as far as this process can know."""
        return self._clock.monotonic() < self._deadline

    async def keep_lease(self) -> None:
        """Background loop: renews the lease until it is lost."""
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            asked = self._clock.monotonic()
            try:
                alive = await self._store.heartbeat(self.worker_id, self._lease_seconds)
            except WorkflowEngineException as unreachable:
                self._log.error("heartbeat", "FAILURE", reason=str(unreachable))
                continue
            if not alive:
                self._lost(LeaseLost())
                return
            self._deadline = asked + self._lease_seconds

    async def sweep(self) -> None:
        """Background loop: declares silent workers dead and frees what they held."""
        while True:
            try:
                freed = await self._store.reap(self.worker_id, self._max_recoveries)
            except WorkflowEngineException as unreachable:
                self._log.error("sweep", "FAILURE", reason=str(unreachable))
                freed = 0
            if freed:
                self._log.system("recover_executions", "SUCCESS", executions=freed)
            await asyncio.sleep(_SWEEP_SECONDS)
