"""Turning what happened to one execution into journal records.

The recorder owns the execution's `seq` and its progress columns, so that every record gets the
next number and every position that must be durable is known in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import orjson

from engine.context import (
    ExecutionContext,
    ExecutionStatus,
    Json,
    JsonObject,
    Kind,
    Outcome,
    StepError,
)
from engine.graph import Graph
from engine.journal import Journal
from engine.records import Progress, StepRow, details_of, error_of, json_bytes, outcome_of
from engine.scopes import Step
from engine.state import ExecutionState

_REMEMBERED = 8

_OPEN = {
    Kind.ENTERED: "running",
    Kind.ITERATE: "running",
    Kind.INTENT: "running",
    Kind.WAITING: "waiting",
    Kind.RETRYING: "waiting",
}


class Recorder:
    """Writes one execution's records. `position` is that of the newest one."""

    def __init__(
        self,
        context: ExecutionContext,
        graph: Graph,
        journal: Journal,
        progress: Progress,
        started: datetime,
        replayed: Sequence[StepRow],
    ) -> None:
        """`replayed` is the journal so far. The row's own `last_seq` and `recorded_bytes` are only
        as new as the last time the execution was parked."""
        self._context = context
        self._graph = graph
        self._journal = journal
        self._progress = replace(progress, start_time=started, total_steps=graph.enabled_count)
        self._seq = max(progress.last_seq, replayed[-1].seq if replayed else 0)
        self._engine_seconds = progress.engine_seconds
        self._recent: list[tuple[Json, bytes]] = []
        self.size = progress.recorded_bytes or 0
        """Bytes of JSON that the execution was given and has recorded, all columns of steps."""
        unmeasured: Sequence[StepRow] = ()
        if progress.recorded_bytes is None:
            self.size = json_bytes(context.variables, context.metadata)
            unmeasured = replayed
        elif replayed and replayed[-1].seq > progress.last_seq:
            unmeasured = [row for row in replayed if row.seq > progress.last_seq]
        for row in unmeasured:
            self.size += json_bytes(*row.values)
        self.position = journal.position

    @property
    def started(self) -> datetime:
        """When the execution started (not this process's part of it)."""
        assert self._progress.start_time is not None
        return self._progress.start_time

    def worked(self, seconds: float) -> None:
        """Adds to the time this process spent thinking about the execution."""
        self._engine_seconds += seconds

    def outcome(
        self, step: Step, outcome: Outcome, given: Json, started: datetime, completed: datetime
    ) -> None:
        """Appends what a step gave. `given` is what it was given (its input)."""
        self._seq += 1
        final = outcome.kind is Kind.FINISHED
        details, error = details_of(outcome), error_of(outcome)
        self.size += json_bytes(details, error)
        status = _OPEN.get(outcome.kind) or ("failed" if outcome.error else "completed")
        self.position = self._journal.step(
            StepRow(
                execution_id=self._context.execution_id,
                seq=self._seq,
                step_key=step.key,
                node_id=step.node.node_id,
                node_type=step.node.node_type,
                kind=outcome.kind,
                status=status,
                attempt=outcome.attempt,
                started_at=started,
                completed_at=completed if final else None,
                port=outcome.port,
                input=self._serialised(given),
                output=self._serialised(outcome.output),
                variables=self._serialised(outcome.variables),
                details=details,
                error=error,
                error_type=outcome.error.type if outcome.error else None,
                wake_at=outcome.wake_at,
            )
        )

    def _serialised(self, value: Json) -> bytes | None:
        """A value as JSON, which is recorded."""
        data = self._as_json(value)
        self.size += len(data or b"")
        return data

    def _as_json(self, value: Json) -> bytes | None:
        """One that stands in several columns (a step's output is the next one's input) is
        serialised once; so none is changed after it was handed over."""
        if value is None or isinstance(value, bytes):
            return value
        data = next((data for known, data in self._recent if known is value), None)
        if data is None:
            # A copy, for what orjson returns keeps a whole page of memory, however short it is.
            data = b"%b" % orjson.dumps(value)
            self._recent.append((value, data))
            del self._recent[:-_REMEMBERED]
        return data

    def parked(self, state: ExecutionState, wake_at: datetime, letters_read: int) -> None:
        """Appends that the execution leaves memory until `wake_at`, or until it gets a letter
        beyond those it has read."""
        self._append(state, ExecutionStatus.WAITING, wake_at=wake_at, letters_read=letters_read)

    def paused(self, state: ExecutionState, letters_read: int) -> None:
        """Appends that the execution leaves memory until somebody resumes it."""
        self._append(state, ExecutionStatus.PAUSED, letters_read=letters_read)

    def ended(
        self,
        state: ExecutionState,
        status: ExecutionStatus,
        at: datetime,
        *,
        output: Json = None,
        error: StepError | None = None,
    ) -> None:
        """Appends the end."""
        self._seq += 1
        variables, result = self._as_json(state.variables), self._as_json(output)
        self._append(
            state,
            status,
            end_time=max(at, self.started),
            final_variables=variables,
            final_output=result,
            recorded_bytes=self.size + json_bytes(variables, result),
            error_message=error.message if error else None,
            error_code=error.type if error else None,
            error_node_id=error.node_id if error else None,
        )

    def broke(self, at: datetime, message: str) -> None:
        """Appends that the execution failed for a reason that is not its author's, with nothing
        but what is known to be storable. What it recorded is for the store to measure, which has
        refused some of it."""
        self._seq += 1
        self._progress = replace(
            self._progress,
            status=ExecutionStatus.FAILED,
            held=False,
            wake_at=None,
            end_time=max(at, self.started),
            last_seq=self._seq,
            final_variables=None,
            final_output=None,
            error_message=message,
            error_code="INTERNAL_ERROR",
        )
        self.position = self._journal.progress(self._progress)

    def _append(self, state: ExecutionState, status: ExecutionStatus, **columns: Json) -> None:
        changes: Mapping[str, Json] = columns
        self._progress = replace(
            self._progress,
            status=status,
            held=False,
            last_seq=self._seq,
            engine_seconds=self._engine_seconds,
            **{**counts_of(state), "wake_at": None, "recorded_bytes": self.size, **changes},
        )
        self.position = self._journal.progress(self._progress)


def counts_of(state: ExecutionState) -> JsonObject:
    """The columns of a row that tell how far its fold has come."""
    return {
        "nodes_executed": len(state.path),
        "steps_completed": state.completed,
        "steps_failed": state.failed,
        "current_step": state.settled_count(),
        "total_cost": state.cost,
        "tokens_used": state.tokens,
    }


def counts_at_birth(context: ExecutionContext, graph: Graph, rows: Sequence[StepRow]) -> JsonObject:
    """`counts_of` an execution whose journal begins with these `rows`: what its row says for good
    if it ends before anybody runs it. Empty where there is nothing to count yet."""
    if not rows and graph.roots == (graph.by_id[context.trigger_node_id].index,):
        return {}
    state = ExecutionState(graph, context.variables, context.trigger_node_id)
    state.start()
    for row in rows:
        state.apply(outcome_of(row))
    return counts_of(state)
