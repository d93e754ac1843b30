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

*Cheap.* Values are not read: the fold needs none but the number of a loop's items. It is not even
folded where journals have gone before (`atlas`), and of a plain record only the moments are new.
The moments of what is told at once become text together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from engine.atlas import Guide, Map, is_plain, mark_of, saying
from engine.context import ExecutionContext, ExecutionStatus, JsonObject
from engine.moments import rfc3339, rfc3339_each
from engine.records import StatusChange, StepRow
from engine.step_log import Room, fitted, lines_of

EVENT_TYPE = "execution_update"

Numbered = StepRow | StatusChange
"""What stands in the tables under a number of its own."""


class Subject(NamedTuple):
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


class LiveEvent(NamedTuple):
    """One event. `body` is its JSON."""

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
    """Tells one execution, number by number. `seq` is the last one told; 0 at first. `on` is the
    map of its version from its trigger on."""

    def __init__(self, subject: Subject, on: Map) -> None:
        self.subject = subject
        self.seq = 0
        self.ended = False
        self._graph = on.graph
        self._guide = Guide(on)
        self._started: dict[str, datetime] = {}
        """When the steps that are open first appeared."""
        self._at_work = False
        """Whether a record was told that is no copy of another execution's."""
        head = {
            "type": EVENT_TYPE,
            "execution_id": subject.execution_id,
            "workflow_id": subject.workflow_id,
        }
        self._head = orjson.dumps(head)[:-1]

    def follows(self, rows: Sequence[Numbered], end: End | None) -> bool:
        """Whether these, in order, go on right after what was told, with nothing between."""
        expected = max(self.seq, 1) + 1
        for row in rows:
            if row.seq > self.seq and row.seq != expected:
                return False
            expected = max(expected, row.seq + 1)
        return end is None or end.seq <= self.seq or end.seq == expected

    def tell(self, rows: Sequence[Numbered], end: End | None) -> list[LiveEvent]:
        """The events of what was not told yet. Rows that were are passed over."""
        events: list[LiveEvent] = []
        if self.seq == 0:
            events.append(self._event("pending", self.subject.created_at))
        over = [_over(row) for row in rows]
        texts = rfc3339_each([_began(row) for row in rows] + over)
        for row, at, began_at, over_at in zip(rows, over, texts, texts[len(rows) :], strict=False):
            if row.seq <= self.seq or self.ended:
                continue
            if row.seq > self.seq + 1:
                events += self._unwritten(row.seq, at)
            if isinstance(row, StatusChange):
                events.append(self._event(str(row.status), max(row.at, self.subject.created_at)))
            else:
                events.append(self._record(row, began_at, over_at))
        if end is not None and not self.ended and end.seq > self.seq:
            events += self._unwritten(end.seq, end.at)
            self.ended = True
            events.append(self._event(str(end.status), end.at, terminal=True))
        return events

    def _unwritten(self, before: int, at: datetime) -> list[LiveEvent]:
        """The numbers up to `before` whose records the store refused."""
        status = self._guide.here.status
        return [self._event(status, at) for _ in range(self.seq + 1, before)]

    def _event(self, status: str, at: datetime, *, terminal: bool = False) -> LiveEvent:
        """The next number, without a node."""
        self.seq += 1
        said = saying(status, self._guide.here.settled, self._graph)
        body = _EVENT % (self._head, said, self.seq, rfc3339(at).encode(), b"")
        return LiveEvent(self.seq, status, body, terminal)

    def _record(self, row: StepRow, began_at: bytes, over_at: bytes) -> LiveEvent:
        """The next number: a record, and when it began and was over, as text."""
        self.seq = row.seq
        mark = mark_of(row)
        here = self._guide.follow(mark)
        started, ended = row.started_at, row.completed_at
        if not (self._at_work or row.reused):  # what is open from before begins anew (`folded`)
            self._at_work = True
            self._started = dict.fromkeys(self._started, started)
        if ended is None:
            started = self._started.setdefault(row.step_key, started)
        elif row.step_key in self._started:
            started = self._started.pop(row.step_key)
            began_at = rfc3339(started).encode()
        if here.blanks is None and self._guide.known and is_plain(mark):
            here.blanks = _blanks(row, here.saying, here.room)
        created = self.subject.created_at
        if here.blanks and ended is not None and ended >= created:
            took = orjson.dumps((ended - started).total_seconds())
            body = here.blanks % (self._head, row.seq, over_at, began_at, over_at, took, over_at)
        else:
            at = over_at if _over(row) >= created else rfc3339(created).encode()
            node = orjson.dumps(_node(row, started, fitted(row, here.room)))
            body = _EVENT % (self._head, here.saying, row.seq, at, b',"node":' + node)
        return LiveEvent(row.seq, here.status, body)


_EVENT = b'%b,%b,"seq":%d,"timestamp":"%b"%b}'
"""An event: what all of an execution begin with, status and progress, its number and moment, and
its node, if any."""

_BEGAN = datetime(1, 1, 1, tzinfo=UTC)
_ENDED = datetime(1, 1, 2, tzinfo=UTC)
_MOMENTS = (
    ("started_at", _BEGAN), ("completed_at", _ENDED),
    ("duration_seconds", (_ENDED - _BEGAN).total_seconds()), ("timestamp", _ENDED),
)  # fmt: skip
"""Where the moments stand in the JSON of a plain record's step, in their order there; the last in
its line of the log."""


def _began(row: Numbered) -> datetime:
    return row.at if isinstance(row, StatusChange) else row.started_at


def _over(row: Numbered) -> datetime:
    return row.at if isinstance(row, StatusChange) else row.completed_at or row.started_at


def _blanks(row: StepRow, said: bytes, room: Room) -> bytes:
    """What the events of all plain records have in common that come by here, with blanks for what
    `Telling._record` fills in; nothing where there was no room for a line."""
    if room is not Room.ENOUGH:
        return b""
    timeless = replace(row, started_at=_BEGAN, completed_at=_ENDED)
    node = orjson.dumps(_node(timeless, _BEGAN, lines_of(timeless))).replace(b"%", b"%%")
    for name, value in _MOMENTS:
        # No text that an author wrote holds this: its quotes would have backslashes there.
        shown = orjson.dumps({name: _shown(value)})[1:-1]
        blank = b'"%b":%b' % (name.encode(), b'"%b"' if isinstance(value, datetime) else b"%b")
        node = node.replace(shown, blank, 1)
    return b"%b," + said + b',"seq":%d,"timestamp":"%b","node":' + node + b"}"


def _shown(value: datetime | float) -> str | float:
    return rfc3339(value) if isinstance(value, datetime) else value


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
        "reused": row.reused,
        "logs": logs,
    }
