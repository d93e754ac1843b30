"""The journal: group commit and output commit.

Theory of operation
-------------------
Every execution of a process appends here: its creation, its steps' records, its progress. Appending
is a list append; it gives a *position*, a number that grows by one. One writer flushes: it takes
everything appended so far, writes it in one transaction, and while that is on its way the next
batch collects by itself. There is no timer and no minimum wait, so an idle service commits at
once and a busy one in large groups. Only what has just been created is given one turn of the event
loop: an execution of a few pure steps is over by then, and is written once, by one commit.

`committed(position)` waits until the flush that holds the position is durable. That is output
commit: whoever is about to show something to the outside (start an effect, answer 202, announce an
end) waits for the position of the last thing it depends on. Pure steps never wait.

*No convoy.* Executions whose effects are quick would all wait for the same flush, go on together
and be written together: the database would rest while they compute, and they while it writes. So
where a flush leaves nothing behind to be written, only half of those it held up go on at once;
what they append is on its way before the others have their turn.

*Failures.* A flush that did not get through is repeated with the same batch until it does: writing
it twice is harmless by construction (`ExecutionStore.flush`), so an ambiguous commit needs no
special case. `LeaseLost` is final: every waiter is told, the journal takes nothing more, and its
owner drops what it holds. A value that the store refuses must not hurt its neighbours: the batch
is written execution by execution, and the one that cannot be written is reported to the owner.

The one rule: positions commit in order, all of a batch or none of it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable

from engine.context import ExecutionContext
from engine.errors import LeaseLost, OutcomeUnknown, StoreUnavailable, WorkflowEngineException
from engine.ports import EngineLog, ExecutionStore
from engine.records import Batch, Progress, StepRow

_FIRST_BACKOFF_SECONDS = 0.05
_LONGEST_BACKOFF_SECONDS = 2.0
_CONVOY = 16
"""So many waiters of one flush are worth another one."""


class Journal:
    """One process's writer. `refused(execution_id, reason)` is called for an execution whose
    records cannot be stored, `lost(reason)` when the fence refused a flush."""

    def __init__(
        self,
        store: ExecutionStore,
        worker_id: str,
        refused: Callable[[str, Exception], None],
        lost: Callable[[LeaseLost], None],
        log: EngineLog,
    ) -> None:
        self._store = store
        self._worker_id = worker_id
        self._refused = refused
        self._on_lost = lost
        self._log = log
        self._batch = Batch()
        self._appended = 0
        self._taken = 0
        self._durable = 0
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = itertools.count()
        self._wake: asyncio.Future[None] | None = None
        self._lost: LeaseLost | None = None
        self._closing = False
        self.flushes = 0
        """How many transactions were committed: what the tests count."""

    @property
    def backlog(self) -> int:
        """Appended but not yet durable."""
        return self._appended - self._durable

    @property
    def position(self) -> int:
        """The position of the newest record."""
        return self._appended

    def create(self, context: ExecutionContext, progress: Progress) -> int:
        """Appends an execution's creation. Returns its position."""
        self._batch.created[context.execution_id] = (context, progress)
        return self._advance()

    def step(self, row: StepRow) -> int:
        """Appends a step's record. Returns its position."""
        self._batch.steps.append(row)
        return self._advance()

    def progress(self, progress: Progress) -> int:
        """Appends an execution's newest progress, which replaces an older one that has not been
        flushed. The journal keeps the object: do not change it afterwards."""
        created = self._batch.created.get(progress.execution_id)
        if created is not None:
            self._batch.created[progress.execution_id] = (created[0], progress)
        else:
            self._batch.updates[progress.execution_id] = progress
        return self._advance()

    def wake_others(self) -> None:
        """Lets the next flush tell the other workers that there is something to claim."""
        self._batch.wake = True

    def withdraw(self, execution_id: str) -> bool:
        """Takes back a creation that no flush has carried yet, with all that followed it. False
        if it may already be on its way."""
        if self._batch.created.pop(execution_id, None) is None:
            return False
        self._batch.steps = [r for r in self._batch.steps if r.execution_id != execution_id]
        return True

    async def committed(self, position: int) -> None:
        """Returns once everything up to `position` is durable. Raises `LeaseLost`."""
        if self._durable >= position:
            return
        if self._lost is not None:
            raise self._lost
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (position, next(self._tickets), waiter))
        await waiter

    async def run(self) -> None:
        """The writer. Ends when closed and everything is written, or when the lease is lost."""
        while self._lost is None:
            if self._taken == self._appended:
                if self._closing:
                    return
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
                self._wake = None
                if self._batch.created:
                    await asyncio.sleep(0)
                continue
            await self._flush(self._take(), self._appended)

    def close(self) -> None:
        """Lets `run` end once everything appended is written."""
        self._closing = True
        self._rouse()

    def lose(self, reason: LeaseLost) -> None:
        """Ends the journal: the lease is gone, nothing more may be written."""
        self._lost = reason
        self._batch = Batch()
        for _, _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(reason)
        self._waiters.clear()
        self._rouse()

    def _advance(self) -> int:
        if self._lost is not None:
            raise self._lost
        self._appended += 1
        self._rouse()
        return self._appended

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _take(self) -> Batch:
        batch, self._batch = self._batch, Batch()
        self._taken = self._appended
        return batch

    async def _flush(self, batch: Batch, upto: int) -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        while self._lost is None:
            try:
                await self._write(batch)
            except LeaseLost as lost:
                self.lose(lost)
                self._on_lost(lost)
            except (StoreUnavailable, OutcomeUnknown) as unreachable:
                self._log.trouble("flush", reason=str(unreachable), waiting=self.backlog)
                await asyncio.sleep(backoff * (0.5 + random.random()))
                backoff = min(backoff * 2, _LONGEST_BACKOFF_SECONDS)
            else:
                self._log.over("flush")
                self._settle(upto)
                return

    async def _write(self, batch: Batch) -> None:
        try:
            await self._store.flush(self._worker_id, batch)
            self.flushes += 1
        except WorkflowEngineException:
            raise
        except ValueError:
            await self._write_apart(batch)

    async def _write_apart(self, batch: Batch) -> None:
        for family in batch.families():
            try:
                await self._store.flush(self._worker_id, batch.only(family))
                self.flushes += 1
            except ValueError as reason:
                for execution_id in sorted(family):
                    self._refused(execution_id, reason)

    def _settle(self, upto: int) -> None:
        self._durable = upto
        waiters = []
        while self._waiters and self._waiters[0][0] <= upto:
            waiters.append(heapq.heappop(self._waiters)[2])
        first = len(waiters)
        if first >= _CONVOY and self._taken == self._appended:
            first //= 2
        _release(waiters[:first])
        if waiters[first:]:
            # Two turns later: what the first half appends has woken the writer by then.
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, _release, waiters[first:])


def _release(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
