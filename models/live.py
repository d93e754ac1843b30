"""Live updates, as the database sees them: reads for events, and the marks of who watches.

Theory of operation
-------------------
*The table is the truth.* Events are told from `workflow_executions`, `workflow_steps` and, where it
was paused, `workflow_events`; a notification only says where to look (`[execution_id, first new
number]`), so a lost one costs a poll.

*Nobody watches, nobody pays.* A process with open streams keeps a row in `live_watchers`. Workers
read with their regular look whether another process has one; only then do their flushes notify,
once each. `watch` says so in the database and calls the workers; `all_tell` is true once every
other worker has answered by its own row. What happens after that is heard of.

The one rule: nothing here is part of a step; it costs a flush, and only while somebody watches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from engine.context import ExecutionStatus, Kind
from engine.records import Batch, StatusChange, StepRow
from engine.telling import End, Numbered, Subject
from models import live_sql as sql
from models.dal import AsyncDAL
from models.execution_rows import CHANNEL as ENGINES

LONGEST_PAYLOAD = 7_900
"""Bytes: PostgreSQL takes less than 8,000 in one notification."""
MARK_SECONDS = 30.0
"""How long a mark is good for. A process that dies leaves it behind for so long at most."""


@dataclass(frozen=True, slots=True)
class Head:
    """An execution's identity and, if it has ended, its end."""

    subject: Subject
    end: End | None


@dataclass(frozen=True, slots=True)
class Hint:
    """That executions have moved: from which number on. None: nobody knows which."""

    moved: Mapping[str, int] | None


class LiveTable:
    """The reads and marks of one process, `process_id`."""

    def __init__(self, dal: AsyncDAL, process_id: str) -> None:
        self._dal = dal
        self.process_id = process_id

    async def heads(self, execution_ids: list[str]) -> dict[str, Head]:
        """Those of these executions that there are."""
        rows = await self._dal.fetch(sql.HEADS, execution_ids)
        return {row["execution_id"]: _head(row) for row in rows}

    async def records(self, after: Mapping[str, int], most: int) -> dict[str, list[Numbered]]:
        """What each execution has under its next numbers after this one, at most so many of
        each."""
        found: dict[str, list[Numbered]] = {}
        rows = await self._dal.fetch(sql.RECORDS, list(after), list(after.values()), most)
        for row in rows:
            found.setdefault(row["execution_id"], []).append(_record(row))
        return found

    async def ahead(self, seen: Mapping[str, int]) -> set[str]:
        """Those of these executions that have gone on beyond the number seen, or are gone."""
        rows = await self._dal.fetch(sql.AHEAD, list(seen), list(seen.values()))
        return {row["execution_id"] for row in rows}

    async def watch(self, *, call: bool) -> None:
        """Marks this process as one that watches; with `call`, calls every worker to see it."""
        await self._dal.fetchval(sql.WATCH, self.process_id, MARK_SECONDS, ENGINES, call)

    async def unwatch(self) -> None:
        """Takes the mark away, and those of processes that have died."""
        await self._dal.execute(sql.UNWATCH, self.process_id)

    async def all_tell(self, but: list[str]) -> bool:
        """Whether every living worker, `but` this process's own, tells what it flushes."""
        return bool(await self._dal.fetchval(sql.ALL_TELL, but))

    async def listen(self, heard: Callable[[Hint], None], lost: Callable[[], None]) -> None:
        """Calls `heard` for what other processes have flushed. `lost` is called when it listens
        again after it did not, for what was said meanwhile nobody has heard."""

        def notified(payload: str) -> None:
            hint = read_hint(payload, self.process_id)
            if hint is not None:
                heard(hint)

        await self._dal.listen(sql.CHANNEL, notified, lost)


def moves(batch: Batch) -> dict[str, int]:
    """What a flush has written, as the first new number of each execution. Progress that is not
    an end has no number, but for a pause, which tells by itself."""
    moved = dict.fromkeys(batch.created, 1)
    for row in batch.steps:
        moved.setdefault(row.execution_id, row.seq)
    for execution_id, progress in batch.updates.items():
        if progress.status.terminal:
            moved.setdefault(execution_id, progress.last_seq)
    return moved


def hint_payload(process_id: str, batch: Batch) -> str | None:
    """The notification of a flush: what moved, or, where that is too much, only that much did.
    None if nothing did."""
    moved = [[execution_id, seq] for execution_id, seq in moves(batch).items()]
    if not moved:
        return None
    payload = orjson.dumps({"p": process_id, "x": moved})
    if len(payload) > LONGEST_PAYLOAD:
        payload = orjson.dumps({"p": process_id})
    return payload.decode()


def read_hint(payload: str, process_id: str) -> Hint | None:
    """What a notification says; None if it is this process's own."""
    said = orjson.loads(payload)
    if said.get("p") == process_id:
        return None
    moved = said.get("x")
    return Hint(None if moved is None else dict(moved))


def _head(row: asyncpg.Record) -> Head:
    subject = Subject(
        execution_id=row["execution_id"],
        workflow_id=row["workflow_id"],
        workflow_version=row["workflow_version"],
        community_id=row["community_id"],
        user_id=row["user_id"],
        trigger_source=row["trigger_source"],
        trigger_node_id=row["trigger_node_id"],
        session_id=row["session_id"],
        created_at=row["created"],
    )
    if row["end_time"] is None:
        return Head(subject, None)
    return Head(subject, End(row["last_seq"], ExecutionStatus(row["status"]), row["end_time"]))


def _record(row: asyncpg.Record) -> Numbered:
    if row["kind"] is None:
        status = ExecutionStatus(row["status"])
        return StatusChange(row["execution_id"], row["seq"], status, row["started_at"])
    values: dict[str, Any] = dict(row)
    values["kind"] = Kind(values["kind"])
    values["output"] = values.pop("output_data")
    return StepRow(**values)
