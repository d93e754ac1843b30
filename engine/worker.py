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
_RENEW_AGAIN = 1 / 20
"""Of the lease: how soon a renewal that failed is tried again. The lease is short."""


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
        self.company = True
        """Whether there may be other workers."""
        self._hurried = asyncio.Event()

    async def register(self) -> None:
        """Enters the worker; from now on it may act."""
        asked = self._clock.monotonic()
        now = await self._store.register(self.worker_id, self._name, self._lease_seconds)
        self._clock.hear(now, asked)
        self._deadline = asked + self._lease_seconds

    def may_act(self) -> bool:
        """Whether the lease holds, as far as this process can know."""
        return self._clock.monotonic() < self._deadline

    async def keep_lease(self) -> None:
        """Background loop: renews the lease until it is lost."""
        pause = self._lease_seconds / 3
        while True:
            await woken(self._hurried, pause)
            asked = self._clock.monotonic()
            try:
                now = await self._store.heartbeat(self.worker_id, self._lease_seconds)
            except WorkflowEngineException as unreachable:
                self._log.trouble("heartbeat", reason=str(unreachable))
                pause = self._lease_seconds * _RENEW_AGAIN
                continue
            self._log.over("heartbeat")
            if now is None:
                self._lost(LeaseLost())
                return
            self._clock.hear(now, asked)
            self._deadline = asked + self._lease_seconds
            pause = self._lease_seconds / 3

    def hurry(self) -> None:
        """Renews the lease now: what shows others that this worker lives is gone."""
        self._hurried.set()

    async def sweep(self) -> None:
        """Background loop: declares silent workers dead and frees what they held."""
        while True:
            try:
                most = self._max_recoveries
                freed = await self._store.reap(self.worker_id, most) if self.company else 0
            except WorkflowEngineException as unreachable:
                self._log.trouble("sweep", reason=str(unreachable))
                freed = 0
            else:
                self._log.over("sweep")
            if freed:
                self._log.system("recover_executions", "SUCCESS", executions=freed)
            await asyncio.sleep(_SWEEP_SECONDS)


async def woken(event: asyncio.Event, seconds: float) -> None:
    """Returns once the event is set, or after so many seconds; it is not set any more then."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass  # Nobody called: what a loop does now and then is due.
    event.clear()
