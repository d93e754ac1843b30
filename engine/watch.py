"""Waiting for executions to end, whoever runs them.

What leaves this process is heard of at once. For what ends elsewhere the table is asked: one query
at a time for all who wait, however many they are. Its one rule: an end that it knows of is durable;
anything else is a hint, and whoever waited asks the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.errors import WorkflowEngineException
from engine.ports import ExecutionStore

LOOK_SECONDS = 0.1
_REMEMBERED = 1_000
"""How many of those that ended last are known without asking the table."""


class Watch:
    """Those who wait in one process."""

    def __init__(self, store: ExecutionStore) -> None:
        self._store = store
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._ended: dict[str, None] = {}

    def has_ended(self, execution_id: str) -> bool:
        """Whether the execution is known to have ended, durably. It may have if not."""
        return execution_id in self._ended

    @asynccontextmanager
    async def over(self, execution_id: str) -> AsyncIterator[asyncio.Future[None]]:
        """Keeps watch over an execution: the future is done when there is reason to ask whether
        it has ended."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(execution_id, set())
        waiters.add(waiter)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="watch")
        try:
            yield waiter
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiting.get(execution_id) is waiters:
                del self._waiting[execution_id]

    def left(self, execution_id: str, ended: bool) -> None:
        """An execution has left this process, or has `ended`, here or elsewhere: durably."""
        if ended:
            self._ended[execution_id] = None
            if len(self._ended) > _REMEMBERED:
                del self._ended[next(iter(self._ended))]
        for waiter in self._waiting.get(execution_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def _look(self) -> None:
        """Background loop: asks the table, for as long as anybody waits."""
        try:
            while self._waiting:
                await asyncio.sleep(LOOK_SECONDS)
                await self._look_once()
        finally:
            self._looking = None

    async def _look_once(self) -> None:
        try:
            ended = await self._store.ended(list(self._waiting))
        except WorkflowEngineException:
            return  # Those who wait have their own patience, and the next look is soon.
        for execution_id in ended:
            self.left(execution_id, True)
