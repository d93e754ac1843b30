"""The hub of one process: from what flushes wrote to the streams of those who may see it.

Theory of operation
-------------------
Hints come from two sides: this process's own flushes, with the records themselves, and
notifications of other processes, which only name executions. They are collected while the hub is
at work and handled together: whose identity is unknown is asked for in one query, and so are the
records that did not come along. Each execution that any stream shows has a `Telling`, which turns
records into events once, however many streams they go to.

The one rule: what the hub cannot keep or does not know it says: `unsure` to the streams it
concerns.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from engine.atlas import Atlas
from engine.errors import OutcomeUnknown, StoreUnavailable, WorkflowEngineException
from engine.graph_cache import GraphCache
from engine.ports import EngineLog
from engine.records import Batch, Progress, StepRow
from engine.telling import End, LiveEvent, Subject, Telling, subject_of
from models.live import Head, Hint, LiveTable
from services.errors import Refusal
from services.live_filters import value_in
from services.live_streams import Stream
from services.permission_service import PermissionService

MOST_TOLD = 5_000
"""Executions whose telling is kept. One that was dropped is read from the table again."""
MOST_HINTS = 20_000
"""Executions that may wait to be told. With more the hub says that it does not know."""
RECORDS_AT_ONCE = 1_000
GATHER_SECONDS = 0.05
"""How long what happens after something was told is gathered. What happens after a pause of this
length is told at once; of a busy process, each client gets many events with one write."""
_TURN = 50
"""How many executions are told before others get a turn."""


@dataclass(slots=True)
class _Moved:
    """What is known of an execution's newest numbers, from `first` on."""

    first: int
    subject: Subject | None = None
    rows: list[StepRow] = field(default_factory=list)
    end: End | None = None
    complete: bool = True
    """Whether the records came along."""


class Hub:
    """The streams of this process and what they are fed with."""

    def __init__(
        self,
        table: LiveTable,
        graphs: GraphCache,
        permissions: PermissionService,
        log: EngineLog,
    ) -> None:
        self.streams: set[Stream] = set()
        self._table = table
        self._graphs = graphs
        self._atlas = Atlas()
        self._permissions = permissions
        self._log = log
        self._found_by: dict[str, dict[object, set[Stream]]] = {}
        """The streams by the field, and its value, that their filter is found by."""
        self._of_user: Counter[int] = Counter()
        self._moved: dict[str, _Moved] = {}
        self._told: OrderedDict[str, Telling] = OrderedDict()
        self._subjects: OrderedDict[str, Subject] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        """Those whose end was told: what is still heard of them is old."""
        self._unborn: set[str] = set()
        """Those that a flush of this process, which is on its way, creates."""
        self._called = asyncio.Event()

    def add(self, stream: Stream) -> None:
        """From now on the stream is fed."""
        self.streams.add(stream)
        self._of_user[stream.caller.user_id] += 1
        name, value = stream.narrow.key()
        self._found_by.setdefault(name, {}).setdefault(value, set()).add(stream)

    def remove(self, stream: Stream) -> None:
        """The stream is fed no more."""
        if stream not in self.streams:
            return
        self.streams.remove(stream)
        user_id, (name, value) = stream.caller.user_id, stream.narrow.key()
        self._of_user[user_id] -= 1
        if not self._of_user[user_id]:
            del self._of_user[user_id]
        by_value = self._found_by[name]
        by_value[value].discard(stream)
        if not by_value[value]:
            del by_value[value]
        if not by_value:
            del self._found_by[name]
        if not self.streams:
            self._moved.clear()
            self._told.clear()
            self._subjects.clear()

    def streams_of(self, user_id: int) -> int:
        """How many streams a user has open."""
        return self._of_user[user_id]

    # What is heard

    def flushed(self, batch: Batch) -> None:
        """A flush of this process is durable."""
        if not self.streams:
            return
        for execution_id, (context, progress) in batch.created.items():
            moved = self._moved.get(execution_id)
            if moved is None:
                self._moved[execution_id] = _Moved(1, subject_of(context), end=_end(progress))
            else:
                moved.first = 1
        for row in batch.steps:
            moved = self._moved.get(row.execution_id) or self._moving(row.execution_id, row.seq)
            moved.rows.append(row)
        for execution_id, progress in batch.updates.items():
            if progress.status.terminal:
                self._moving(execution_id, progress.last_seq).end = _end(progress)
        self._call()

    def flushing(self, batch: Batch) -> None:
        """A flush of this process is on its way."""
        self._unborn |= batch.created.keys()

    def left_off(self, batch: Batch) -> None:
        """It is on its way no more."""
        self._unborn -= batch.created.keys()

    def heard(self, hint: Hint) -> None:
        """Another process has flushed. What is being created here has no number before that."""
        if not self.streams:
            return
        if hint.moved is None:
            self.unsure()
            return
        for execution_id, first in hint.moved.items():
            first = 1 if execution_id in self._unborn else first
            self._moving(execution_id, first).complete = False
        self._call()

    def unsure(self) -> None:
        """Something may have been written that was not heard of."""
        self._moved.clear()
        for stream in self.streams:
            stream.unsure()

    def look_at(self, execution_id: str, seen: int) -> None:
        """An execution has gone on beyond a number, and nobody has said so, unless somebody has
        since."""
        telling = self._told.get(execution_id)
        if telling is not None and telling.seq == seen:
            self._moving(execution_id, seen + 1).complete = False
            self._call()

    def in_flight(self) -> dict[str, int]:
        """The executions that are told and have not ended, and the last number told of each."""
        return {key: telling.seq for key, telling in self._told.items() if not telling.ended}

    def _moving(self, execution_id: str, first: int) -> _Moved:
        moved = self._moved.get(execution_id)
        if moved is None:
            moved = self._moved[execution_id] = _Moved(first)
        return moved

    def _call(self) -> None:
        if len(self._moved) > MOST_HINTS:
            self.unsure()
        self._called.set()

    # What is told

    async def run(self) -> None:
        """Background loop: tells what was heard of."""
        while True:
            await self._called.wait()
            self._called.clear()
            moved, self._moved = self._moved, {}
            try:
                await self._tell_all(moved)
                self._log.over("tell_live")
            except WorkflowEngineException as unreachable:
                self._log.trouble("tell_live", reason=str(unreachable))
                self._told.clear()
                self.unsure()
            except Exception as bug:  # the edge of a background loop: it must not end
                self._log.error("tell_live", "FAILURE", reason=repr(bug))
                self._told.clear()
                self.unsure()
            await asyncio.sleep(GATHER_SECONDS)

    async def _tell_all(self, moved: dict[str, _Moved]) -> None:
        heads = await self._identify(moved)
        unread: dict[str, _Moved] = {}
        for number, (execution_id, each) in enumerate(moved.items()):
            if number % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            subject = each.subject
            if subject is None or execution_id in self._ended:
                continue  # retention has dropped it, or all of it was told
            streams = self._interested(subject)
            if not streams:
                self._told.pop(execution_id, None)
                continue
            telling = await self._telling(subject)
            if telling is None:
                continue
            if telling.seq > 0:
                each.first = min(each.first, telling.seq + 1)
            begun = telling.seq > 0 or each.first == 1
            if each.complete and begun and telling.follows(each.rows, each.end):
                await self._give(streams, subject, telling.tell(each.rows, each.end), each.first)
                self._settled(telling)
            else:
                unread[execution_id] = each
        if unread:
            await self._read(unread, heads)

    async def _identify(self, moved: dict[str, _Moved]) -> dict[str, Head]:
        """Finds out whose the executions are that came without their identity."""
        unknown: list[str] = []
        for execution_id, each in moved.items():
            if each.subject is None:
                each.subject = self._subjects.get(execution_id)
            if each.subject is None:
                unknown.append(execution_id)
            else:
                self._remember(each.subject)
        if not unknown:
            return {}
        heads = await self._table.heads(unknown)
        for execution_id, head in heads.items():
            moved[execution_id].subject = head.subject
            self._remember(head.subject)
        return heads

    async def _read(self, unread: dict[str, _Moved], heads: dict[str, Head]) -> None:
        """Tells executions from the table, where records did not come along or some are missing.
        How they stand is read before their records, so that an end never comes too early."""
        heads = heads | await self._table.heads([key for key in unread if key not in heads])
        waiting = {key for key in unread if key in heads}
        while waiting:
            after = {key: self._told[key].seq for key in waiting if key in self._told}
            found = await self._table.records(after, RECORDS_AT_ONCE)
            for execution_id in after:
                rows, telling = found.get(execution_id, []), self._told.get(execution_id)
                if telling is None:
                    continue  # meanwhile nobody watched
                more = len(rows) >= RECORDS_AT_ONCE
                events = telling.tell(rows, None if more else heads[execution_id].end)
                streams = self._interested(telling.subject)
                await self._give(streams, telling.subject, events, unread[execution_id].first)
                if not more:
                    waiting.discard(execution_id)
                    self._settled(telling)
            waiting &= after.keys()

    async def _telling(self, subject: Subject) -> Telling | None:
        """What tells this execution; None for one whose version cannot be compiled."""
        telling = self._told.get(subject.execution_id)
        if telling is not None:
            return telling
        try:
            telling = await self.new_telling(subject)
        except (StoreUnavailable, OutcomeUnknown):
            raise
        except Exception as bug:  # the edge of an execution: the others' events must go on
            self._log.error(
                "tell_live", "FAILURE", execution=subject.execution_id, reason=repr(bug)
            )
            return None
        self._told[subject.execution_id] = telling
        while len(self._told) > MOST_TOLD:
            self._told.popitem(last=False)
        return telling

    async def new_telling(self, subject: Subject) -> Telling:
        """A telling from the beginning. Raises `StoreUnavailable`, and what is wrong with a
        version that cannot be compiled."""
        graph = await self._graphs.get(subject.workflow_id, subject.workflow_version)
        return Telling(subject, self._atlas.map(graph, subject.trigger_node_id))

    def _settled(self, telling: Telling) -> None:
        if telling.ended:
            execution_id = telling.subject.execution_id
            self._told.pop(execution_id, None)
            self._subjects.pop(execution_id, None)
            self._ended[execution_id] = None
            while len(self._ended) > MOST_TOLD:
                self._ended.popitem(last=False)

    def _remember(self, subject: Subject) -> None:
        self._subjects[subject.execution_id] = subject
        while len(self._subjects) > MOST_TOLD:
            self._subjects.popitem(last=False)

    def _interested(self, subject: Subject) -> list[Stream]:
        """The streams whose filter shows this execution."""
        found: list[Stream] = []
        for name, by_value in self._found_by.items():
            streams = by_value.get(value_in(subject, name), ())
            found += [stream for stream in streams if stream.narrow.fits(subject)]
        return found

    async def _give(
        self, streams: list[Stream], subject: Subject, events: list[LiveEvent], first: int
    ) -> None:
        """Gives an execution's events from number `first` on to those streams whose caller may see
        them."""
        new = events if events and events[0].seq >= first else [e for e in events if e.seq >= first]
        if not new:
            return
        for stream in streams:
            try:
                await self._permissions.authorise_execution(stream.caller, subject, "view")
            except Refusal:
                continue
            stream.offer(new)


def _end(progress: Progress) -> End | None:
    if progress.end_time is None:
        return None
    return End(progress.last_seq, progress.status, progress.end_time)
