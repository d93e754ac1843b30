"""What the store in memory keeps, and what a change of it brings about.

The half of the store (`memory_store.py`) that has no names for the engine. Its one rule: what the
statements and triggers of PostgreSQL do to other rows follows here from the same changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from engine.context import ExecutionStatus
from engine.memory_rows import Row, Worker
from engine.ports import Clock
from engine.records import Letter, Progress, StepRow, StoredExecution, json_bytes


class MemoryTable:
    """A store, as far as its rows go."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[str, Row] = {}
        self._steps: dict[str, dict[int, StepRow]] = {}
        self._letters: dict[str, dict[str, Letter]] = {}
        self._workers: dict[str, Worker] = {}
        self._listeners: list[Callable[[str], None]] = []

    def _alive(self, worker_id: str) -> bool:
        return worker_id in self._workers and self._workers[worker_id].alive

    def _free(self, row: Row, *, poisoned: bool) -> None:
        row.worker_id = None
        if not poisoned:
            row.progress = replace(
                row.progress, status=ExecutionStatus.PENDING, held=False, recorded_bytes=None
            )
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

    def _let_go(self, rows: list[Row]) -> int:
        for row in rows:
            self._free(row, poisoned=False)
        if rows:
            self._notify("pending")
        return len(rows)

    def _move(self, row: Row, progress: Progress) -> None:
        """Gives an execution its new progress; if that is its end, its family hears of it."""
        before, row.progress = row.progress, progress
        if progress.status.terminal:
            if progress.recorded_bytes == before.recorded_bytes:
                row.progress = replace(progress, recorded_bytes=self._measured(row, before))
            self._tell_parent(row)
            self._cancel_children(row.context.execution_id)

    def _measured(self, row: Row, before: Progress) -> int:
        """The `recorded_bytes` of one whose end is not its worker's word."""
        steps = self._steps.get(row.context.execution_id, {}).values()
        if before.recorded_bytes is None:
            given = json_bytes(row.context.variables, row.context.metadata)
            return given + sum(json_bytes(*step.values) for step in steps)
        unmeasured = (step for step in steps if step.seq > before.last_seq)
        return before.recorded_bytes + sum(json_bytes(*step.values) for step in unmeasured)

    def _tell_parent(self, row: Row) -> None:
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

    def _cancel_if_orphaned(self, row: Row) -> None:
        parent = self._rows.get(row.context.parent_execution_id or "")
        awaited = row.context.parent_step_key is not None
        if awaited and parent is not None and parent.progress.status.terminal:
            self._cancel(row)

    def _cancel(self, row: Row) -> bool:
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
        row.paused_at = None
        self._move(row, cancelled)
        return True

    def _next_seq(self, row: Row) -> int:
        newest = max(self._steps.get(row.context.execution_id, {}), default=0)
        return 1 + max(row.progress.last_seq, newest)

    def _post(self, row: Row, letter: Letter) -> None:
        execution_id = row.context.execution_id
        self._letters.setdefault(execution_id, {})[letter.letter_id] = letter
        self._wake_if_unread(row)
        self._notify(f"letter:{execution_id}")

    def _settle(self, row: Row) -> None:
        """What has left its worker's memory meets what somebody wanted of it meanwhile."""
        if row.progress.status is ExecutionStatus.PAUSED:
            now = self._clock.now()
            if row.pause_requested and not row.cancel_requested:
                row.pause(now, self._next_seq(row))
            else:  # It was called off on the way, so it never was.
                row.unpause(now, None)
        self._wake_if_unread(row)
        if row.parked or row.progress.status is ExecutionStatus.PAUSED:
            row.recoveries = 0

    def _wake_if_unread(self, row: Row) -> None:
        come = len(self._letters.get(row.context.execution_id, {}))
        wanted = row.cancel_requested or row.pause_requested
        if row.parked and (wanted or come > row.progress.letters_read):
            row.progress = replace(row.progress, wake_at=self._clock.now())

    def _give(self, row: Row) -> StoredExecution:
        steps = self._steps.get(row.context.execution_id, {})
        return StoredExecution(
            context=row.context,
            progress=replace(row.progress),
            recoveries=row.recoveries,
            cancel_requested=row.cancel_requested,
            pause_requested=row.pause_requested,
            steps=[replace(steps[seq]) for seq in sorted(steps)],
            letters=list(self._letters.get(row.context.execution_id, {}).values()),
        )

    def _notify(self, topic: str) -> None:
        for wake in self._listeners:
            wake(topic)
