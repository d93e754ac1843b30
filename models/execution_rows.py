"""Rows of executions, steps and letters to and from the engine's records.

Its one rule: the order of values here is the order of columns in `execution_sql.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from engine.context import ExecutionContext, ExecutionStatus, Json, Kind
from engine.records import Batch, Letter, Progress, StepRow, StoredExecution
from models import execution_sql as sql

CHANNEL = "workflow_engine"
"""The NOTIFY channel of the engines."""


class _Serialised:
    """JSON for one flush. A value that stands in several columns (a step's output is the next
    one's input) is serialised once; asyncpg must not see it, because it takes lists in an array
    for further dimensions."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Json, bytes]] = {}

    def __call__(self, value: Json) -> bytes | None:
        if value is None or isinstance(value, bytes):
            return value
        key = id(value)
        found = self._done.get(key)
        if found is None:
            found = self._done[key] = (value, orjson.dumps(value))
        return found[1]


def flush_statement(
    worker_id: str, batch: Batch, tell: tuple[str, str] | None = None
) -> tuple[str, list[Any]]:
    """The statement that writes a batch, and its arguments: one array per column. `tell` is a
    channel and what is notified on it."""
    arguments: list[Any] = [worker_id]
    json = _Serialised()
    if batch.created:
        pairs = batch.created.values()
        rows = [(*_context_values(c, json), *_progress_values(p, json)) for c, p in pairs]
        arguments.extend(_columns(rows))
    if batch.steps:
        arguments.extend(_columns(_step_values(row, json) for row in batch.steps))
    if batch.updates:
        moved = batch.updates.values()
        arguments.extend(_columns((p.execution_id, *_progress_values(p, json)) for p in moved))
    if batch.wake:
        arguments.append(CHANNEL)
    arguments.extend(tell or ())
    statement = sql.flush(
        created=bool(batch.created),
        steps=bool(batch.steps),
        moved=bool(batch.updates),
        wake=batch.wake,
        tell=tell is not None,
    )
    return statement, arguments


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """An array for each column. One without any value is empty: `unnest` fills it up with nulls,
    and a third of the columns of most flushes need not be encoded one null after the other."""
    return [() if _all_null(column) else column for column in zip(*rows, strict=True)]


def _all_null(column: tuple[Any, ...]) -> bool:
    return column[0] is None and column.count(None) == len(column)


def _context_values(c: ExecutionContext, json: _Serialised) -> tuple[Any, ...]:
    return (
        c.execution_id, c.workflow_id, c.workflow_version, c.workflow_name, c.community_id,
        c.entity_id, c.user_id, c.triggered_by, c.trigger_source, c.trigger_node_id,
        c.session_id, c.platform, c.execution_name, c.parent_execution_id, c.parent_step_key,
        c.retry_of, c.depth, c.error_workflow_id, json(c.variables), json(c.metadata), c.created_at,
        c.max_execution_seconds, c.max_parallel_executions,
    )  # fmt: skip


def _progress_values(p: Progress, json: _Serialised) -> tuple[Any, ...]:
    return (
        str(p.status), p.start_time, p.end_time, p.seconds(), p.held, p.wake_at, p.last_seq,
        p.letters_read, p.claims, p.nodes_executed, p.steps_completed, p.steps_failed,
        p.current_step,
        p.total_steps, p.engine_seconds, json(p.final_variables), json(p.final_output),
        p.error_message, p.error_code, p.error_node_id, p.total_cost, p.tokens_used,
        p.recorded_bytes,
    )  # fmt: skip


def _step_values(r: StepRow, json: _Serialised) -> tuple[Any, ...]:
    return (
        r.execution_id, r.seq, r.step_key, r.node_id, r.node_type, str(r.kind), r.status,
        r.attempt, r.started_at, r.completed_at, r.port, json(r.input), json(r.output),
        json(r.variables), json(r.details), json(r.error), r.error_type, json(r.logs), r.wake_at,
    )  # fmt: skip


def stored(row: asyncpg.Record) -> StoredExecution:
    """An execution from its row, without steps and letters."""
    return StoredExecution(
        context=_context(row),
        progress=_progress(row),
        recoveries=row["recoveries"],
        cancel_requested=row["cancel_requested_at"] is not None,
        pause_requested=row["pause_requested_at"] is not None,
    )


def _context(row: asyncpg.Record) -> ExecutionContext:
    return ExecutionContext(
        execution_id=row["execution_id"],
        workflow_id=row["workflow_id"],
        workflow_name=row["workflow_name"],
        workflow_version=row["workflow_version"],
        community_id=row["community_id"],
        user_id=row["user_id"],
        trigger_node_id=row["trigger_node_id"],
        created_at=row["created"],
        max_execution_seconds=row["max_execution_seconds"],
        variables=row["input_parameters"],
        metadata=row["metadata"],
        trigger_source=row["trigger_source"],
        entity_id=row["entity_id"],
        session_id=row["session_id"],
        platform=row["platform"],
        execution_name=row["execution_name"],
        triggered_by=row["triggered_by"],
        max_parallel_executions=row["max_parallel_executions"],
        parent_execution_id=row["parent_execution_id"],
        parent_step_key=row["parent_step_key"],
        retry_of=row["retry_of"],
        depth=row["depth"],
        error_workflow_id=row["error_workflow_id"],
    )


def _progress(row: asyncpg.Record) -> Progress:
    return Progress(
        execution_id=row["execution_id"],
        status=ExecutionStatus(row["status"]),
        start_time=row["start_time"],
        end_time=row["end_time"],
        held=row["worker_id"] is not None,
        wake_at=row["wake_at"],
        last_seq=row["last_seq"],
        paused_seconds=row["paused_seconds"],
        claims=row["claims"],
        nodes_executed=row["nodes_executed"],
        steps_completed=row["steps_completed"],
        steps_failed=row["steps_failed"],
        current_step=row["current_step"],
        total_steps=row["total_steps"],
        engine_seconds=row["engine_seconds"],
        final_variables=row["final_variables"],
        final_output=row["final_output"],
        error_message=row["error_message"],
        error_code=row["error_code"],
        error_node_id=row["error_node_id"],
        total_cost=row["total_cost"],
        tokens_used=row["tokens_used"],
        recorded_bytes=row["recorded_bytes"],
    )


def step(row: asyncpg.Record) -> StepRow:
    """A record of the journal from its row."""
    value: Callable[[str], Json] = row.__getitem__
    completed: datetime | None = row["completed_at"]
    return StepRow(
        execution_id=row["execution_id"],
        seq=row["seq"],
        step_key=row["step_key"],
        node_id=row["node_id"],
        node_type=row["node_type"],
        kind=Kind(row["kind"]),
        status=row["status"],
        attempt=row["attempt"],
        started_at=row["started_at"],
        completed_at=completed,
        port=row["port"],
        input=value("input_data"),
        output=value("output_data"),
        variables=value("variables"),
        details=value("details"),
        error=value("error"),
        error_type=row["error_type"],
        logs=value("logs"),
        wake_at=row["wake_at"],
        recorded_at=row["recorded_at"],
    )


def letter(row: asyncpg.Record) -> Letter:
    """A letter from its row."""
    return Letter(
        letter_id=row["letter_id"],
        kind=row["kind"],
        name=row["name"],
        payload=row["payload"],
        sent_at=row["sent_at"],
        sent_by=row["sent_by"],
    )
