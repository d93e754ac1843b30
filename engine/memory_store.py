"""`ExecutionStore` in memory: for the tests that need thousands of stores, and to show that the
engine knows nothing of PostgreSQL. It keeps the same rules as the real one, the fence included;
one contract suite runs on both.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import TypeVar

import orjson

from engine.context import ExecutionContext, ExecutionStatus, Json, JsonObject
from engine.errors import LeaseLost
from engine.ports import MOST_SIGNALS, Cancellation, Clock, Outlook, Posted
from engine.records import Batch, Letter, Progress, StepRow, StoredExecution

T = TypeVar("T", Progress, StepRow)


@dataclass(slots=True)
class _Worker:
    lease_until: datetime
    alive: bool = True


@dataclass(slots=True)
class _Row:
    context: ExecutionContext
    progress: Progress
    worker_id: str | None
    recoveries: int = 0
    cancel_requested: bool = False
    error_answered: bool = False


class MemoryStore:
    """Keeps everything in dictionaries. `definitions` maps (workflow, version) to documents."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        self._steps: dict[str, dict[int, StepRow]] = {}
        self._letters: dict[str, dict[str, Letter]] = {}
        self._workers: dict[str, _Worker] = {}
        self._listeners: list[Callable[[str], None]] = []
        self.definitions: dict[tuple[str, int], JsonObject] = {}

    async def flush(self, worker_id: str, batch: Batch) -> None:
        """See `ExecutionStore.flush`."""
        if not self._alive(worker_id):
            raise LeaseLost
        for context, progress in batch.created.values():
            if context.execution_id not in self._rows:
                holder = worker_id if progress.held else None
                row = self._rows[context.execution_id] = _Row(context, progress, holder)
                self._move(row, _stored(progress))
        for step in batch.steps:
            self._steps.setdefault(step.execution_id, {}).setdefault(step.seq, _stored(step))
        for progress in batch.updates.values():
            held = self._rows.get(progress.execution_id)
            mine = held is not None and held.worker_id == worker_id
            if held is not None and mine and held.progress.claims == progress.claims:
                held.worker_id = worker_id if progress.held else None
                self._move(held, _stored(progress))
                if _parked(held):
                    held.recoveries = 0
                    self._wake_if_unread(held)
        for context, _ in batch.created.values():
            self._cancel_if_orphaned(self._rows[context.execution_id])

    async def load(self, execution_id: str) -> StoredExecution | None:
        """See `ExecutionStore.load`."""
        row = self._rows.get(execution_id)
        return None if row is None else self._give(row)

    async def claim(self, worker_id: str, limit: int) -> list[StoredExecution]:
        """See `ExecutionStore.claim`."""
        if not self._alive(worker_id):
            return []
        claimed: list[StoredExecution] = []
        for row in sorted(self._rows.values(), key=lambda r: r.context.created_at):
            if len(claimed) < limit and self._claimable(row):
                row.worker_id = worker_id
                row.progress = replace(
                    row.progress,
                    status=ExecutionStatus.RUNNING,
                    held=True,
                    wake_at=None,
                    claims=row.progress.claims + 1,
                    start_time=row.progress.start_time or self._clock.now(),
                )
                claimed.append(self._give(row))
        return claimed

    async def look(self, worker_id: str) -> Outlook:
        """See `ExecutionStore.look`."""
        wakes = [r.progress.wake_at for r in self._rows.values() if _parked(r)]
        times = [wake for wake in wakes if wake is not None]
        soonest = min(times, default=None)
        return Outlook(
            claimable=any(self._claimable(row) for row in self._rows.values()),
            cancel=tuple(
                key
                for key, row in self._rows.items()
                if row.worker_id == worker_id and row.cancel_requested
            ),
            next_wake=None if soonest is None else (soonest - self._clock.now()).total_seconds(),
            held=len(await self.held(worker_id)),
            letters={
                key: len(self._letters[key])
                for key in await self.held(worker_id)
                if key in self._letters
            },
            unanswered=bool(await self.unanswered(1)),
        )

    async def held(self, worker_id: str) -> set[str]:
        """See `ExecutionStore.held`."""
        return {key for key, row in self._rows.items() if row.worker_id == worker_id}

    async def let_go(self, worker_id: str, execution_ids: list[str]) -> int:
        """See `ExecutionStore.let_go`."""
        strays = set(execution_ids) & await self.held(worker_id)
        for key in strays:
            self._free(self._rows[key], poisoned=False)
        return len(strays)

    async def pending(self, most: int) -> int:
        """See `ExecutionStore.pending`."""
        waiting = [r for r in self._rows.values() if r.progress.status == ExecutionStatus.PENDING]
        return min(len(waiting), most)

    async def status(self, execution_id: str) -> ExecutionStatus | None:
        """See `ExecutionStore.status`."""
        row = self._rows.get(execution_id)
        return None if row is None else row.progress.status

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

    async def register(self, worker_id: str, name: str, lease_seconds: float) -> None:
        """See `ExecutionStore.register`."""
        self._workers[worker_id] = _Worker(self._clock.now() + timedelta(seconds=lease_seconds))

    async def heartbeat(self, worker_id: str, lease_seconds: float) -> bool:
        """See `ExecutionStore.heartbeat`."""
        if not self._alive(worker_id):
            return False
        until = self._clock.now() + timedelta(seconds=lease_seconds)
        self._workers[worker_id].lease_until = until
        return True

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
        held = [row for row in self._rows.values() if row.worker_id == worker_id]
        for row in held:
            self._free(row, poisoned=False)
        if worker_id in self._workers:
            self._workers[worker_id].alive = False
        if held:
            self._notify("pending")
        return len(held)

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

    def _alive(self, worker_id: str) -> bool:
        worker = self._workers.get(worker_id)
        return worker is not None and worker.alive

    def _claimable(self, row: _Row) -> bool:
        progress = row.progress
        if progress.status is ExecutionStatus.WAITING:
            return progress.wake_at is not None and progress.wake_at <= self._clock.now()
        if progress.status is not ExecutionStatus.PENDING:
            return False
        most = row.context.max_parallel_executions
        return most is None or self._busy(row.context.workflow_id) < most

    def _busy(self, workflow_id: str) -> int:
        live = (ExecutionStatus.RUNNING, ExecutionStatus.WAITING, ExecutionStatus.PAUSED)
        return sum(
            1
            for row in self._rows.values()
            if row.context.workflow_id == workflow_id and row.progress.status in live
        )

    def _free(self, row: _Row, *, poisoned: bool) -> None:
        row.worker_id = None
        if not poisoned:
            row.progress = replace(row.progress, status=ExecutionStatus.PENDING, held=False)
            return
        failed = replace(
            row.progress,
            status=ExecutionStatus.FAILED,
            held=False,
            end_time=self._clock.now(),
            last_seq=self._next_seq(row),
            error_code="WORKER_LOST",
            error_message=f"The worker running this execution was lost {row.recoveries + 1} "
            "times in a row; it is not tried again.",
        )
        self._move(row, failed)

    def _move(self, row: _Row, progress: Progress) -> None:
        """Gives an execution its new progress; if that is its end, its family hears of it."""
        row.progress = progress
        if progress.status.terminal:
            self._tell_parent(row)
            self._cancel_children(row.context.execution_id)

    def _tell_parent(self, row: _Row) -> None:
        context, progress = row.context, row.progress
        parent = self._rows.get(context.parent_execution_id or "")
        if context.parent_step_key is None or parent is None:
            return
        if parent.progress.status.terminal:
            return
        told = {
            "status": str(progress.status),
            "output": progress.final_output,
            "workflow_name": context.workflow_name,
            "error_message": progress.error_message,
            "error_code": progress.error_code,
            "error_node_id": progress.error_node_id,
        }
        now = self._clock.now()
        self._post(
            parent, Letter(context.execution_id, "child", context.parent_step_key, told, now)
        )

    def _cancel_children(self, execution_id: str) -> None:
        for row in list(self._rows.values()):
            context = row.context
            awaited = context.parent_step_key is not None
            if context.parent_execution_id == execution_id and awaited:
                self._cancel(row)

    def _cancel_if_orphaned(self, row: _Row) -> None:
        parent = self._rows.get(row.context.parent_execution_id or "")
        awaited = row.context.parent_step_key is not None
        if awaited and parent is not None and parent.progress.status.terminal:
            self._cancel(row)

    def _cancel(self, row: _Row) -> bool:
        """Cancels one that nobody holds; asks the holder of any other. Whether it is over."""
        if row.progress.status.terminal:
            return True
        row.cancel_requested = True
        if row.worker_id is not None:
            self._notify(f"cancel:{row.context.execution_id}")
            return False
        cancelled = replace(
            row.progress,
            status=ExecutionStatus.CANCELLED,
            end_time=self._clock.now(),
            wake_at=None,
            last_seq=self._next_seq(row),
        )
        self._move(row, cancelled)
        return True

    def _next_seq(self, row: _Row) -> int:
        newest = max(self._steps.get(row.context.execution_id, {}), default=0)
        return 1 + max(row.progress.last_seq, newest)

    def _post(self, row: _Row, letter: Letter) -> None:
        execution_id = row.context.execution_id
        self._letters.setdefault(execution_id, {})[letter.letter_id] = letter
        self._wake_if_unread(row)
        self._notify(f"letter:{execution_id}")

    def _wake_if_unread(self, row: _Row) -> None:
        come = len(self._letters.get(row.context.execution_id, {}))
        due = row.cancel_requested or come > row.progress.letters_read
        if _parked(row) and due:
            row.progress = replace(row.progress, wake_at=self._clock.now())

    def _give(self, row: _Row) -> StoredExecution:
        steps = self._steps.get(row.context.execution_id, {})
        return StoredExecution(
            context=row.context,
            progress=replace(row.progress),
            recoveries=row.recoveries,
            cancel_requested=row.cancel_requested,
            steps=[replace(steps[seq]) for seq in sorted(steps)],
            letters=list(self._letters.get(row.context.execution_id, {}).values()),
        )

    def _notify(self, topic: str) -> None:
        for wake in self._listeners:
            wake(topic)


def _parked(row: _Row) -> bool:
    return row.progress.status is ExecutionStatus.WAITING


def _stored(record: T) -> T:
    """A copy with values of its own, as a database would give it back."""
    copies = {f.name: _value(getattr(record, f.name)) for f in fields(record)}
    return type(record)(**copies)


def _value(value: Json) -> Json:
    return orjson.loads(value) if isinstance(value, bytes) else deepcopy(value)
