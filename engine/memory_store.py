"""`ExecutionStore` in memory: for tests that need thousands of stores, and to show that the engine
knows nothing of PostgreSQL. It keeps the real one's rules; one contract suite runs on both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from engine.context import ExecutionStatus, JsonObject
from engine.errors import LeaseLost
from engine.memory_rows import Row, Worker, claimable, next_in_line, stored
from engine.memory_table import MemoryTable
from engine.ports import MOST_SIGNALS, Cancellation, Clock, Outlook, Posted, Room
from engine.records import Batch, Letter, StoredExecution, stored_bytes


class MemoryStore(MemoryTable):
    """Keeps everything in dictionaries. `definitions` maps (workflow, version) to documents."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.definitions: dict[tuple[str, int], JsonObject] = {}

    async def flush(self, worker_id: str, batch: Batch) -> None:
        """See `ExecutionStore.flush`."""
        if not self._alive(worker_id):
            raise LeaseLost
        for context, progress in batch.created.values():
            if context.execution_id not in self._rows:
                holder = worker_id if progress.held else None
                row = self._rows[context.execution_id] = Row(context, progress, holder)
                self._move(row, stored(progress))
        for step in batch.steps:
            self._steps.setdefault(step.execution_id, {}).setdefault(step.seq, stored(step))
        for progress in batch.updates.values():
            held = self._rows.get(progress.execution_id)
            mine = held is not None and held.worker_id == worker_id
            if held is not None and mine and held.progress.claims == progress.claims:
                held.worker_id = worker_id if progress.held else None
                self._move(
                    held, replace(stored(progress), paused_seconds=held.progress.paused_seconds)
                )
                self._settle(held)
        for context, _ in batch.created.values():
            self._cancel_if_orphaned(self._rows[context.execution_id])
        if batch.wake:
            self._notify("pending")

    async def load(self, execution_id: str) -> StoredExecution | None:
        """See `ExecutionStore.load`."""
        row = self._rows.get(execution_id)
        return None if row is None else self._give(row)

    async def claim(
        self, worker_id: str, room: Room, *, limited: bool = True
    ) -> list[StoredExecution]:
        """See `ExecutionStore.claim`."""
        if not self._alive(worker_id):
            return []
        now = self._clock.now()
        chosen = next_in_line(self._rows.values(), now, room, limited=limited)
        for row in chosen:
            row.worker_id = worker_id
            row.progress = replace(
                row.progress,
                status=ExecutionStatus.RUNNING,
                held=True,
                wake_at=None,
                claims=row.progress.claims + 1,
                start_time=row.progress.start_time or now,
            )
        return [self._give(row) for row in chosen]

    async def look(self, worker_id: str) -> Outlook:
        """See `ExecutionStore.look`."""
        now, rows = self._clock.now(), self._rows
        wakes = [row.progress.wake_at for row in rows.values() if row.parked]
        soonest = min((wake for wake in wakes if wake is not None), default=None)
        mine = {key: row for key, row in rows.items() if row.worker_id == worker_id}
        return Outlook(
            claimable=bool(claimable(rows.values(), now)),
            cancel=tuple(key for key, row in mine.items() if row.cancel_requested),
            next_wake=None if soonest is None else (soonest - now).total_seconds(),
            held=len(mine),
            letters={key: len(self._letters[key]) for key in mine if key in self._letters},
            unanswered=bool(await self.unanswered(1)),
            pause=tuple(key for key, row in mine.items() if row.pause_requested),
            limited=any(row.pending and row.limited for row in rows.values()),
            company=any(w.alive for key, w in self._workers.items() if key != worker_id),
        )

    async def held(self, worker_id: str) -> dict[str, int]:
        """See `ExecutionStore.held`."""
        return {k: r.progress.claims for k, r in self._rows.items() if r.worker_id == worker_id}

    async def let_go(self, worker_id: str, held: Mapping[str, int]) -> int:
        """See `ExecutionStore.let_go`."""
        strays = held.items() & (await self.held(worker_id)).items()
        return self._let_go([self._rows[key] for key, _ in strays])

    async def pending(self, most: int, community_id: int | None = None) -> int:
        """See `ExecutionStore.pending`."""
        waiting = [row.context.community_id for row in self._rows.values() if row.pending]
        return min(sum(1 for each in waiting if community_id in (None, each)), most)

    async def kept_bytes(self, community_id: int) -> int:
        """See `ExecutionStore.kept_bytes`."""
        return sum(
            stored_bytes(row.progress, self._letters.get(execution_id, {}).values())
            for execution_id, row in self._rows.items()
            if row.context.community_id == community_id
        )

    async def status(self, execution_id: str) -> ExecutionStatus | None:
        """See `ExecutionStore.status`."""
        row = self._rows.get(execution_id)
        return None if row is None else row.progress.status

    async def ended(self, execution_ids: list[str]) -> set[str]:
        """See `ExecutionStore.ended`."""
        known = (key for key in execution_ids if key in self._rows)
        return {key for key in known if self._rows[key].progress.status.terminal}

    async def post(self, execution_id: str, letter: Letter) -> Posted | None:
        """See `ExecutionStore.post`."""
        row = self._rows.get(execution_id)
        if row is None:
            return None
        known = self._letters.get(execution_id, {})
        if letter.letter_id in known:
            return "known"
        if row.progress.status.terminal:
            return "ended"
        if sum(1 for each in known.values() if each.kind == "signal") >= MOST_SIGNALS:
            return "full"
        self._post(row, letter)
        return "kept"

    async def letters(self, execution_id: str, after: int = 0) -> list[Letter]:
        """See `ExecutionStore.letters`."""
        return list(self._letters.get(execution_id, {}).values())[after:]

    async def peek(self, execution_id: str) -> StoredExecution | None:
        """See `ExecutionStore.peek`."""
        row = self._rows.get(execution_id)
        return None if row is None else StoredExecution(row.context, replace(row.progress))

    async def unanswered(self, most: int) -> list[StoredExecution]:
        """See `ExecutionStore.unanswered`."""
        failures = [
            StoredExecution(row.context, replace(row.progress))
            for row in self._rows.values()
            if row.progress.status is ExecutionStatus.FAILED
            and row.context.error_workflow_id is not None
            and not row.error_answered
        ]
        return failures[:most]

    async def answered(self, execution_ids: list[str]) -> None:
        """See `ExecutionStore.answered`."""
        for execution_id in execution_ids:
            self._rows[execution_id].error_answered = True

    async def request_cancel(self, execution_id: str) -> Cancellation | None:
        """See `ExecutionStore.request_cancel`."""
        row = self._rows.get(execution_id)
        if row is None:
            return None
        progress = row.progress
        if progress.status.terminal:
            was = progress.status is ExecutionStatus.CANCELLED
            return Cancellation(
                "ended", at=progress.end_time if was else None, status=str(progress.status)
            )
        if self._cancel(row):
            return Cancellation("cancelled", at=row.progress.end_time)
        return Cancellation("requested")

    async def request_pause(self, execution_id: str) -> ExecutionStatus | None:
        """See `ExecutionStore.request_pause`."""
        row = self._rows.get(execution_id)
        if row is None or row.progress.status.terminal:
            return None if row is None else row.progress.status
        row.pause_requested = True
        if row.worker_id is not None:
            self._notify(f"pause:{execution_id}")
        elif row.paused_at is None:
            row.pause(self._clock.now(), self._next_seq(row))
        return row.progress.status

    async def request_resume(self, execution_id: str) -> ExecutionStatus | None:
        """See `ExecutionStore.request_resume`."""
        row = self._rows.get(execution_id)
        if row is None or row.progress.status.terminal:
            return None if row is None else row.progress.status
        row.pause_requested = False
        if row.progress.status is ExecutionStatus.PAUSED:
            row.unpause(self._clock.now(), self._next_seq(row))
            self._notify("pending")
        elif row.worker_id is not None:
            self._notify(f"resume:{execution_id}")
        return row.progress.status

    async def register(self, worker_id: str, name: str, lease_seconds: float) -> datetime:
        """See `ExecutionStore.register`."""
        now = self._clock.now()
        self._workers[worker_id] = Worker(now + timedelta(seconds=lease_seconds))
        return now

    async def heartbeat(self, worker_id: str, lease_seconds: float) -> datetime | None:
        """See `ExecutionStore.heartbeat`."""
        if not self._alive(worker_id):
            return None
        now = self._clock.now()
        self._workers[worker_id].lease_until = now + timedelta(seconds=lease_seconds)
        return now

    async def reap(self, worker_id: str, max_recoveries: int) -> int:
        """See `ExecutionStore.reap`."""
        now = self._clock.now()
        for name, worker in self._workers.items():
            if name != worker_id and worker.lease_until < now:
                worker.alive = False
        orphans = [
            row
            for row in self._rows.values()
            if row.worker_id is not None and not self._alive(row.worker_id)
        ]
        for row in orphans:
            newest = max(self._steps.get(row.context.execution_id, {}), default=0)
            advanced = newest > row.progress.last_seq
            if advanced:
                row.progress = replace(row.progress, last_seq=newest)
            self._free(row, poisoned=not advanced and row.recoveries >= max_recoveries)
            row.recoveries = 1 if advanced else row.recoveries + 1
        if orphans:
            self._notify("pending")
        return len(orphans)

    async def release(self, worker_id: str) -> int:
        """See `ExecutionStore.release`."""
        if worker_id in self._workers:
            self._workers[worker_id].alive = False
        return self._let_go([r for r in self._rows.values() if r.worker_id == worker_id])

    async def definition(self, workflow_id: str, version: int) -> JsonObject | None:
        """See `ExecutionStore.definition`."""
        return self.definitions.get((workflow_id, version))

    async def listen(self, wake: Callable[[str], None]) -> None:
        """See `ExecutionStore.listen`."""
        self._listeners.append(wake)

    def kill(self, worker_id: str) -> None:
        """Declares a worker dead, as a reaper of another process would."""
        self._workers[worker_id].alive = False

    def workers(self) -> list[str]:
        """The ids of all workers that were ever registered, oldest first."""
        return list(self._workers)
