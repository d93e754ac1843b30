"""Telling an execution's journal as events: how every number 1 … `last_seq` becomes one event.

Theory of operation
-------------------
*Numbers.* 1 is the creation. 2 and on are the journal's records, one event each; those that a
retry begins with are told like all others, marked `reused`. A pause and its end have numbers of
their own, in between (`StatusChange`). The last number is the end's: it has no record but is the
execution's `last_seq`, whoever wrote it (its worker, a cancellation while nobody held it, a sweeper
that gave it up). A number whose record the store refused exists nowhere:
once a later one is durable it never will, so it is told as an event without a node.

*The same for everybody.* What an event says follows from the numbers before it alone, by folding
the journal, not from when it was told: replayed, live, here or in another process, it is the same.
So what has no number (that it was claimed) is not told; `status` is `pending` at first, then
`running`, or `waiting` where all that is open waits, and where it is paused, goes on or ends, the
execution's own.

*Cheap.* Values are not read: the fold needs none but the number of a loop's items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson

from engine import step_log
from engine.context import ExecutionContext, ExecutionStatus, JsonObject, Kind, Outcome
from engine.graph import Graph
from engine.moments import rfc3339
from engine.records import StatusChange, StepRow, outcome_of
from engine.state import ExecutionState

EVENT_TYPE = "execution_update"

Numbered = StepRow | StatusChange
"""What stands in the tables under a number of its own."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An execution as far as its events need it, and the question who may see them."""

    execution_id: str
    workflow_id: str
    workflow_version: int
    community_id: int
    user_id: int
    trigger_source: str
    trigger_node_id: str
    session_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class End:
    """How an execution ended: its last number and what goes with it."""

    seq: int
    status: ExecutionStatus
    at: datetime


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """One event. `body` is its JSON."""

    subject: Subject
    seq: int
    status: str
    body: bytes
    terminal: bool = False


def subject_of(context: ExecutionContext) -> Subject:
    """The subject that an execution's context is."""
    return Subject(
        execution_id=context.execution_id,
        workflow_id=context.workflow_id,
        workflow_version=context.workflow_version,
        community_id=context.community_id,
        user_id=context.user_id,
        trigger_source=context.trigger_source,
        trigger_node_id=context.trigger_node_id,
        session_id=context.session_id,
        created_at=context.created_at,
    )


class Telling:
    """Tells one execution, number by number. `seq` is the last one told; 0 at first."""

    def __init__(self, subject: Subject, graph: Graph) -> None:
        self.subject = subject
        self.seq = 0
        self.ended = False
        self._graph = graph
        self._state = ExecutionState(graph, {}, subject.trigger_node_id)
        self._state.start()
        self._started: dict[str, datetime] = {}
        """When the steps that are open first appeared."""
        self._lines = step_log.Budget()

    def follows(self, rows: Sequence[Numbered], end: End | None) -> bool:
        """Whether these, in order, go on right after what was told, with nothing between."""
        expected = max(self.seq, 1) + 1
        for row in rows:
            if row.seq > self.seq and row.seq != expected:
                return False
            expected = max(expected, row.seq + 1)
        return end is None or end.seq <= self.seq or end.seq == expected

    def tell(self, rows: Iterable[Numbered], end: End | None) -> Iterator[LiveEvent]:
        """The events of what was not told yet. Rows that were are passed over."""
        if self.seq == 0:
            yield self._event(1, "pending", self.subject.created_at)
        for row in rows:
            if row.seq <= self.seq or self.ended:
                continue
            if isinstance(row, StatusChange):
                yield from self._unwritten(row.seq, row.at)
                yield self._event(row.seq, str(row.status), max(row.at, self.subject.created_at))
            else:
                yield from self._unwritten(row.seq, row.completed_at or row.started_at)
                yield self._record(row)
        if end is not None and not self.ended and end.seq > self.seq:
            yield from self._unwritten(end.seq, end.at)
            self.ended = True
            yield self._event(end.seq, str(end.status), end.at, terminal=True)

    def _unwritten(self, before: int, at: datetime) -> Iterator[LiveEvent]:
        """The numbers up to `before` whose records the store refused."""
        while self.seq + 1 < before:
            yield self._event(self.seq + 1, self._status(), at)

    def _record(self, row: StepRow) -> LiveEvent:
        self._state.apply(_without_values(row))
        started = self._started.setdefault(row.step_key, row.started_at)
        if row.completed_at is not None:
            self._started.pop(row.step_key, None)
        at = max(row.completed_at or row.started_at, self.subject.created_at)
        node = _node(row, started, self._lines.take(row))
        return self._event(row.seq, self._status(), at, node)

    def _status(self) -> str:
        """`waiting` where nothing is left to do at the moment but to wait."""
        steps = self._state.open_steps()
        return "waiting" if steps and all(step.waiting for step in steps) else "running"

    def _event(
        self,
        seq: int,
        status: str,
        at: datetime,
        node: JsonObject | None = None,
        *,
        terminal: bool = False,
    ) -> LiveEvent:
        self.seq = seq
        subject = self.subject
        event: JsonObject = {
            "type": EVENT_TYPE,
            "execution_id": subject.execution_id,
            "workflow_id": subject.workflow_id,
            "status": status,
            "progress": self._progress(status),
            "seq": seq,
            "timestamp": rfc3339(at),
        }
        if node is not None:
            event["node"] = node
        return LiveEvent(subject, seq, status, orjson.dumps(event), terminal)

    def _progress(self, status: str) -> JsonObject:
        total = self._graph.enabled_count
        completed = status == ExecutionStatus.COMPLETED
        current = total if completed else self._state.settled_count()
        percentage = round(100 * current / total, 1) if total else 100.0
        return {"current_step": current, "total_steps": total, "percentage": percentage}


def _without_values(row: StepRow) -> Outcome:
    """What the fold needs to know who follows whom: of the values, how many items a loop has."""
    details = row.details or {}
    error = None
    if row.error is not None:
        error = outcome_of(replace(row, output=None, variables=None)).error
    return Outcome(
        step_key=row.step_key,
        kind=row.kind,
        port=row.port,
        output=[None] * step_log.item_count(row.output) if row.kind is Kind.ENTERED else None,
        error=error,
        dead_edges=tuple(details.get("dead_edges") or ()),
        attempt=row.attempt,
        wake_at=row.wake_at,
    )


def _node(row: StepRow, started: datetime, logs: list[JsonObject]) -> JsonObject:
    ended = row.completed_at
    return {
        "step_key": row.step_key,
        "node_id": row.node_id,
        "node_type": row.node_type,
        "status": row.status,
        "attempt": row.attempt,
        "port": row.port,
        "started_at": rfc3339(started),
        "completed_at": None if ended is None else rfc3339(ended),
        "duration_seconds": None if ended is None else (ended - started).total_seconds(),
        "error": row.error["message"] if row.error else None,
        "error_type": row.error_type,
        "wake_at": None if row.wake_at is None else rfc3339(row.wake_at),
        "reused": bool(row.details and "reused" in row.details),
        "logs": logs,
    }
