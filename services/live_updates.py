"""Live updates: streams are opened here, kept honest, and ended.

Theory of operation
-------------------
*Opening.* The first stream marks this process in the database as one that watches, listens, and
waits until every worker of other processes tells what it flushes; what happens from then on is
heard of. If a worker does not answer in time, the stream begins with `resync`.

*Keeping.* One loop for all streams looks every second: heartbeats, credentials and permissions
that are proved again every `RECHECK_SECONDS`, the mark, and executions that went on without this
process having heard of it.

*Ending.* Once the process is to stop, streams end in good order; whoever does not read is cut off.

The one rule: a stream is given nothing that its caller could not ask for by a GET at that moment,
give or take `RECHECK_SECONDS`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from engine.departure import Departure
from engine.errors import WorkflowEngineException
from engine.graph_cache import GraphCache
from engine.ports import Clock, EngineLog
from engine.telling import LiveEvent, Telling
from models.live import MARK_SECONDS, LiveTable
from models.live_feed import LiveFeed
from services.caller import Caller
from services.errors import (
    Denied,
    ExecutionUnknown,
    Refusal,
    StreamsFull,
    TooManyStreams,
)
from services.live_filters import LiveFilter
from services.live_hub import RECORDS_AT_ONCE, Hub
from services.live_streams import CatchUp, Following, Prove, Stream
from services.permission_service import PermissionService

RECHECK_SECONDS = 2.0
"""How long a stream may outlive the credential or the permission that it was opened with; what
services remember of both (a second) comes on top."""
HEARTBEAT_SECONDS = 15.0
LOOK_SECONDS = 1.0
LOOKED_AT_ONCE = 1_000
"""Of how many executions it is asked whether they have gone on unheard of."""
ANSWER_SECONDS = 3.0
"""How long the first stream waits for the workers of other processes to answer."""
UNREAD_SECONDS = 10.0
"""How long a stream may be open without anybody having begun to read it."""
_ASK_SECONDS = 0.05
_PATIENCE_SECONDS = 1.0
"""How long a stream that has ended may take to say so to its client."""


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """How many streams there may be in this process and of one user, and how many messages may
    wait for one client."""

    streams: int = 5_000
    streams_per_user: int = 2_000
    buffer_events: int = 1_000


class LiveUpdates:
    """The live streams of one process."""

    def __init__(
        self,
        table: LiveTable,
        feed: LiveFeed,
        graphs: GraphCache,
        permissions: PermissionService,
        departure: Departure,
        clock: Clock,
        log: EngineLog,
        limits: LiveLimits,
    ) -> None:
        self._hub = Hub(table, graphs, permissions, log)
        self._table = table
        self._feed = feed
        self._permissions = permissions
        self._departure = departure
        self._clock = clock
        self._log = log
        self._limits = limits
        self._opening = asyncio.Lock()
        self._loops: list[asyncio.Task[None]] = []
        self._ending: dict[Stream, float] = {}
        self._listens = False
        self._certain = False
        """Whether every worker elsewhere is known to tell."""
        self._marked_at = 0.0
        self._looked_at = 0

    @property
    def open(self) -> int:
        """How many streams are open."""
        return len(self._hub.streams)

    async def watch(self, caller: Caller, prove: Prove, narrow: LiveFilter) -> Stream:
        """Opens a stream over everything that the caller may see and the filter fits.

        Raises `WorkflowNotFound`, `ExecutionUnknown`, `Denied` for a filter that names what the
        caller may not see, `TooManyStreams`, `StreamsFull`, `StoreUnavailable`.
        """
        await self.check(caller, narrow)
        stream = Stream(caller, prove, narrow, self._limits.buffer_events)
        await self._admit(stream)
        if not self._certain:
            stream.unsure()
        return stream

    async def follow(
        self, caller: Caller, prove: Prove, execution_id: str, seen: int
    ) -> Following | None:
        """Opens the stream of one execution after the number `seen`; None if nothing will follow.
        Raises `ExecutionUnknown`, `Denied`, and as `watch`."""
        owner = await self._permissions.execution(caller, execution_id, "view")
        head = (await self._table.heads([execution_id])).get(execution_id)
        if head is None:
            raise ExecutionUnknown  # retention has dropped it this moment
        if head.end is not None and seen >= head.end.seq:
            return None
        stream = Following(caller, prove, owner, self._limits.buffer_events, seen)
        telling = await self._hub.new_telling(head.subject)
        stream.catch_up = self._catching_up(stream, telling)
        await self._admit(stream)
        return stream

    async def narrow(self, stream: Stream, narrow: LiveFilter) -> None:
        """Gives a stream over everything another filter. Raises as `watch`."""
        await self.check(stream.caller, narrow)
        self._hub.remove(stream)
        stream.narrow = narrow
        self._hub.add(stream)

    async def check(self, caller: Caller, narrow: LiveFilter) -> None:
        """Passes if the filter names nothing that the caller may not see."""
        if narrow.user_id not in (None, caller.user_id) and not caller.is_admin:
            raise Denied("The filter user_id is for admins, or your own id.")
        if narrow.community_id is not None:
            await self._permissions.authorise_community(caller, narrow.community_id)
        if narrow.workflow_id is not None:
            await self._permissions.authorise(caller, narrow.workflow_id, "view")
        if narrow.execution_id is not None:
            await self._permissions.execution(caller, narrow.execution_id, "view")

    def written(self, stream: Stream) -> None:
        """What was taken from the stream has been sent."""
        stream.written_at = self._clock.monotonic()

    def close(self, stream: Stream) -> None:
        """The client has gone, or has been told that the stream has ended."""
        stream.end("gone")
        self._ending.pop(stream, None)
        self._hub.remove(stream)

    async def stop(self) -> None:
        """Ends every stream and stops looking."""
        for stream in list(self._hub.streams):
            stream.end("drain")
            self._hub.remove(stream)
        await self._rest()

    # Opening

    async def _admit(self, stream: Stream) -> None:
        streams = self._hub.streams
        if self._departure.begun:
            raise StreamsFull("The process is about to stop; connect again, to another one.")
        if len(streams) >= self._limits.streams:
            raise StreamsFull(f"{len(streams)} live streams are open here (MAX_LIVE_STREAMS).")
        mine = self._hub.streams_of(stream.caller.user_id)
        if mine >= self._limits.streams_per_user:
            raise TooManyStreams(
                f"You have {mine} live streams open here (MAX_LIVE_STREAMS_PER_USER)."
            )
        now = self._clock.monotonic()
        stream.checked_at = stream.written_at = now
        self._hub.add(stream)
        try:
            await self._begin()
        except BaseException:
            self.close(stream)
            raise

    async def _begin(self) -> None:
        """Lets this process watch, unless it does already."""
        async with self._opening:
            if self._loops:
                return
            if not self._listens:
                await self._table.listen(self._hub.heard, self._missed)
                self._listens = True
            self._feed.watcher = self._hub
            await self._table.watch(call=True)
            self._marked_at = self._clock.monotonic()
            self._certain = await self._answered()
            self._loops = [
                asyncio.create_task(self._hub.run(), name="live-hub"),
                asyncio.create_task(self._keep(), name="live-streams"),
            ]

    async def _answered(self) -> bool:
        """Whether every worker elsewhere tells by now; waits for them a little."""
        deadline = self._clock.monotonic() + ANSWER_SECONDS
        while not await self._table.all_tell(self._feed.workers):
            if self._clock.monotonic() > deadline:
                return False
            await asyncio.sleep(_ASK_SECONDS)
        return True

    def _missed(self) -> None:
        """The connection that listens was lost for a while."""
        self._hub.unsure()

    # Keeping

    async def _keep(self) -> None:
        """Background loop: looks after the streams until there are none."""
        looks = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS / 4 if self._departure.begun else LOOK_SECONDS)
            looks += 1
            now = self._clock.monotonic()
            self._see_off(now)
            try:
                await self._prove_again(now)
                await self._look(now)
                self._log.over("keep_live")
            except WorkflowEngineException as unreachable:
                self._log.trouble("keep_live", reason=str(unreachable))
            except Exception as bug:  # the edge of a background loop: it must not end
                self._log.error("keep_live", "FAILURE", reason=repr(bug))
            if not self._hub.streams and await self._unwatch():
                return

    def _see_off(self, now: float) -> None:
        """Ends what is to end, and cuts off whoever does not read that it has."""
        for stream in list(self._hub.streams):
            if self._departure.begun:
                stream.end("drain")
            elif stream.reader is None and now - stream.written_at > UNREAD_SECONDS:
                self.close(stream)
                continue
            if stream.ended is not None:
                since = self._ending.setdefault(stream, now)
                if now - since > _PATIENCE_SECONDS and stream.reader is not None:
                    stream.reader.cancel()
                    self.close(stream)
            elif now - stream.written_at > HEARTBEAT_SECONDS:
                stream.beat()

    async def _prove_again(self, now: float) -> None:
        """Asks whether callers may still see what they are given; of those with one credential,
        once."""
        proved: dict[Prove, Caller | Refusal] = {}
        found: Caller | Refusal | None
        for stream in list(self._hub.streams):
            if stream.ended is not None or now - stream.checked_at < RECHECK_SECONDS:
                continue
            stream.checked_at = now
            found = proved.get(stream.prove)
            if found is None:
                found = proved[stream.prove] = await _proved(stream.prove)
            if not isinstance(found, Refusal):
                found = await self._refusal(stream, found)
            if found is not None:
                stream.end("refused")
                self._log.system("end_stream", "DENIED", reason=str(found))

    async def _refusal(self, stream: Stream, caller: Caller) -> Refusal | None:
        """Why a stream may show nothing more to its caller, who was proved; None if it may."""
        stream.caller = caller
        if isinstance(stream, Following):
            try:
                await self._permissions.authorise_execution(caller, stream.owner, "view")
            except Refusal as refused:
                return refused
        return None

    async def _look(self, now: float) -> None:
        """Renews the mark, and finds what moved unheard of."""
        if now - self._marked_at > MARK_SECONDS / 3:
            await self._table.watch(call=False)
            self._marked_at = now
        if not self._certain:
            self._certain = await self._table.all_tell(self._feed.workers)
            if self._certain:
                self._hub.unsure()
        seen = self._in_turn(self._hub.in_flight())
        followed = [each for each in self._hub.streams if isinstance(each, Following)]
        for each in followed:
            if each.held == 0:
                key = each.owner.execution_id
                seen[key] = min(seen.get(key, each.seen), each.seen)
        ahead = await self._table.ahead(seen) if seen else set()
        for execution_id in ahead:
            self._hub.look_at(execution_id, seen[execution_id])
        for each in followed:
            if each.owner.execution_id in ahead:
                each.unsure()

    def _in_turn(self, in_flight: dict[str, int]) -> dict[str, int]:
        """All of them, or where they are many the next ones of them, so that each has its turn."""
        if len(in_flight) <= LOOKED_AT_ONCE:
            return in_flight
        first, self._looked_at = self._looked_at, self._looked_at + LOOKED_AT_ONCE
        keys = list(in_flight)
        return {
            keys[number % len(keys)]: in_flight[keys[number % len(keys)]]
            for number in range(first, first + LOOKED_AT_ONCE)
        }

    async def _unwatch(self) -> bool:
        """Stops watching, unless somebody has come meanwhile; whether it did."""
        async with self._opening:
            if self._hub.streams:
                return False
            self._feed.watcher = None
            hub, *_ = self._loops
            self._loops = []
            hub.cancel()
        with suppress(WorkflowEngineException):  # the mark runs out by itself
            await self._table.unwatch()
        return True

    async def _rest(self) -> None:
        loops, self._loops = self._loops, []
        self._feed.watcher = None
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        if loops:
            with suppress(WorkflowEngineException):
                await self._table.unwatch()

    # Catching up

    def _catching_up(self, stream: Following, telling: Telling) -> CatchUp:
        """Reads what follows what the stream has given out. How the execution stands is read
        before its records, so that its end never comes too early."""
        key = stream.owner.execution_id

        async def catch_up() -> list[LiveEvent]:
            while True:
                head = (await self._table.heads([key])).get(key)
                if head is None:
                    stream.end("gone")
                    return []
                rows = (await self._table.records({key: telling.seq}, RECORDS_AT_ONCE)).get(key, [])
                more = len(rows) >= RECORDS_AT_ONCE
                events = telling.tell(rows, None if more else head.end)
                new = [event for event in events if event.seq > stream.seen]
                if new or not more:
                    return new

        return catch_up


async def _proved(prove: Prove) -> Caller | Refusal:
    try:
        return await prove()
    except Refusal as refused:
        return refused
