"""Rows of the store in memory, and who of those that wait is taken next.

Its one rule: the same order and limits as the SQL of `models/claim_sql.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import TypeVar

import orjson

from engine.context import ExecutionContext, ExecutionStatus, Json
from engine.ports import Room
from engine.records import Progress, StatusChange, StepRow

T = TypeVar("T", Progress, StepRow)


@dataclass(slots=True)
class Worker:
    """A worker's lease."""

    lease_until: datetime
    alive: bool = True


@dataclass(slots=True)
class Row:
    """One execution."""

    context: ExecutionContext
    progress: Progress
    worker_id: str | None
    recoveries: int = 0
    cancel_requested: bool = False
    pause_requested: bool = False
    paused_at: datetime | None = None
    error_answered: bool = False
    changes: list[StatusChange] = field(default_factory=list)
    """Its numbers that are no records: pauses, and their ends."""

    def pause(self, now: datetime, seq: int) -> None:
        """Is paused from now on, unless it is already: that is its number `seq`."""
        self.paused_at = now
        self._change(seq, ExecutionStatus.PAUSED, now, wake_at=None)

    def unpause(self, now: datetime, seq: int | None) -> None:
        """May go on: its number `seq`, if the pause had one. One that had started is due rather
        than pending, as it keeps its place among the live executions of a workflow that has a
        limit."""
        progress, since = self.progress, self.paused_at or now
        self.paused_at = None
        if progress.start_time is None:
            self._change(seq, ExecutionStatus.PENDING, now)
            return
        paused = progress.paused_seconds + (now - since).total_seconds()
        self._change(seq, ExecutionStatus.WAITING, now, wake_at=now, paused_seconds=paused)

    def _change(
        self, seq: int | None, status: ExecutionStatus, now: datetime, **columns: Json
    ) -> None:
        if seq is not None:
            columns["last_seq"] = seq
            self.changes.append(StatusChange(self.context.execution_id, seq, status, now))
        self.progress = replace(self.progress, status=status, **columns)

    @property
    def parked(self) -> bool:
        """Whether it waits out of memory."""
        return self.progress.status is ExecutionStatus.WAITING

    @property
    def pending(self) -> bool:
        """Whether it waits to be claimed."""
        return self.progress.status is ExecutionStatus.PENDING

    @property
    def limited(self) -> bool:
        """Whether its workflow has a limit."""
        return self.context.max_parallel_executions is not None

    @property
    def live(self) -> bool:
        """Whether it counts against that limit."""
        status = self.progress.status
        if status is ExecutionStatus.PAUSED:
            return self.progress.start_time is not None
        return status in (ExecutionStatus.RUNNING, ExecutionStatus.WAITING)

    def due(self, now: datetime) -> bool:
        """Whether it is parked and its time has come."""
        wake_at = self.progress.wake_at
        return self.parked and wake_at is not None and wake_at <= now


def claimable(rows: Iterable[Row], now: datetime, *, limited: bool = True) -> list[Row]:
    """The rows that may run now, each community's in their order."""
    everything = list(rows)
    live = Counter(row.context.workflow_id for row in everything if row.limited and row.live)
    found: list[Row] = []
    for row in sorted(everything, key=_since):
        workflow_id = row.context.workflow_id
        if row.due(now) or (row.pending and not row.limited):
            found.append(row)
        elif row.pending and limited:
            live[workflow_id] += 1
            if live[workflow_id] <= (row.context.max_parallel_executions or 0):
                found.append(row)
    return found


def next_in_line(rows: Iterable[Row], now: datetime, room: Room, *, limited: bool) -> list[Row]:
    """Who is claimed: communities take turns, the one with fewest running here first."""
    everything = list(rows)
    anywhere = Counter(row.context.community_id for row in everything if row.worker_id)
    turns: Counter[int] = Counter()
    placed: list[tuple[int, datetime, int, Row]] = []
    for number, row in enumerate(claimable(everything, now, limited=limited)):
        community = row.context.community_id
        turns[community] += 1
        place = turns[community] + room.running.get(community, 0)
        most = room.everywhere
        if place <= room.each and (most is None or turns[community] + anywhere[community] <= most):
            placed.append((place, _since(row), number, row))
    return [row for *_, row in sorted(placed)[: room.free]]


def _since(row: Row) -> datetime:
    wake_at = row.progress.wake_at
    return wake_at if row.parked and wake_at is not None else row.context.created_at


def stored(record: T) -> T:
    """A copy with values of its own, as a database would give it back."""
    copies = {f.name: _value(getattr(record, f.name)) for f in fields(record)}
    return type(record)(**copies)


def _value(value: Json) -> Json:
    return orjson.loads(value) if isinstance(value, bytes) else deepcopy(value)
