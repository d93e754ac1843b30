"""One client's live stream: a bounded buffer between the hub that fills it and its client.

Its one rule: nothing is left out without a word. A stream over everything that is too slow gets
`resync` in the place of what was dropped; one of a single execution reads again from the table
what it could not keep, so that it has every number once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.errors import OutcomeUnknown, StoreUnavailable
from engine.telling import LiveEvent
from models.executions import ExecutionOwner
from services.caller import Caller
from services.live_filters import LiveFilter

EndReason = Literal["complete", "drain", "refused", "gone", "unavailable"]
"""Why a stream ended: everything was told; the process is to stop; the caller may not see it any
more; the client has gone away; the database does not answer."""

Prove = Callable[[], Awaitable[Caller]]
"""Proves once more who is calling; those that are equal prove the same. Raises what says that the
credential is no longer good."""

CatchUp = Callable[[], Awaitable[list[LiveEvent]]]
"""Reads the next events of an execution from the table; none: there are none yet."""


@dataclass(frozen=True, slots=True)
class Note:
    """A message that is no event: `resync` or `heartbeat`."""

    kind: Literal["resync", "heartbeat"]


Message = LiveEvent | Note

RESYNC = Note("resync")
HEARTBEAT = Note("heartbeat")


class Stream:
    """A stream over everything that its caller may see and its filter fits."""

    def __init__(self, caller: Caller, prove: Prove, narrow: LiveFilter, capacity: int) -> None:
        self.caller = caller
        self.prove = prove
        self.narrow = narrow
        self.reader: asyncio.Task[object] | None = None
        """The task that takes from it: told to stop when it does not by itself."""
        self.ended: EndReason | None = None
        self.checked_at = 0.0
        self.written_at = 0.0
        self.dropped = 0
        self._capacity = capacity
        self._buffer: list[Message] = []
        self._filled: asyncio.Future[None] | None = None

    @property
    def held(self) -> int:
        """How many messages wait for the client."""
        return len(self._buffer)

    def offer(self, events: Sequence[LiveEvent]) -> None:
        """Gives the client events, those that the filter shows and there is room for."""
        statuses = self.narrow.statuses
        self._put([event for event in events if event.status in statuses] if statuses else events)

    def unsure(self) -> None:
        """Something may have happened that the stream has not heard of."""
        if not self._buffer or self._buffer[-1] is not RESYNC:
            self._put([RESYNC])

    def beat(self) -> None:
        """Sends a sign of life, if nothing else is about to be sent."""
        if not self._buffer:
            self._put([HEARTBEAT])

    def end(self, reason: EndReason) -> None:
        """Ends the stream; what it holds is still given out, unless the caller must not have it."""
        if self.ended is None:
            self.ended = reason
            if reason == "refused":
                self._buffer.clear()
            self._wake()

    async def take(self) -> list[Message]:
        """What there is for the client, waiting for it; nothing: the stream has ended."""
        while not self._buffer and self.ended is None:
            await self._woken()
        return self._emptied()

    async def _woken(self) -> None:
        """Returns once something about the stream is different."""
        self._filled = asyncio.get_running_loop().create_future()
        await self._filled

    def _emptied(self) -> list[Message]:
        taken, self._buffer = self._buffer, []
        return taken

    def _put(self, messages: Sequence[Message]) -> None:
        """Keeps all of them, or gives up what it holds and them."""
        if self.ended is not None or not messages:
            return
        if len(self._buffer) + len(messages) > self._capacity:
            self.dropped += len(self._buffer) + len(messages)
            self._buffer, messages = [], [RESYNC]
        self._buffer += messages
        self._wake()

    def _wake(self) -> None:
        if self._filled is not None and not self._filled.done():
            self._filled.set_result(None)


class Following(Stream):
    """The stream of one execution: every number after `seen` once, in order, then its end."""

    def __init__(
        self, caller: Caller, prove: Prove, owner: ExecutionOwner, capacity: int, seen: int
    ) -> None:
        super().__init__(caller, prove, LiveFilter(execution_id=owner.execution_id), capacity)
        self.owner = owner
        self.seen = seen
        """The last number that was given out."""
        self.catch_up: CatchUp | None = None
        self._next = seen + 1
        self._behind = True

    def offer(self, events: Sequence[LiveEvent]) -> None:
        """Keeps the events, whose numbers follow one another, from the next one on. Where they
        begin later, or are too many, the stream reads from the table."""
        new = [event for event in events if event.seq >= self._next]
        if self._behind or not new:
            return
        if new[0].seq > self._next or len(self._buffer) + len(new) > self._capacity:
            self.unsure()
            return
        self._next += len(new)
        self._put(new)

    def unsure(self) -> None:
        """Forgets what it holds and reads from the table what follows what was given out."""
        self._buffer.clear()
        self._behind = True
        self._wake()

    async def take(self) -> list[Message]:
        """As for any stream; the terminal event is the last one."""
        while self.ended is None or self._buffer:
            taken: list[Message] = []
            if self._behind and self.ended is None:
                taken = list(await self._read())
            elif self._buffer:
                taken = self._emptied()
            else:
                await self._woken()
            self._give(taken)
            if taken:
                return taken
        return []

    async def _read(self) -> list[LiveEvent]:
        """What the table has. `offer` may only be trusted again from a moment on that the table
        was read after: so it is from before the read that proved to be the last."""
        assert self.catch_up is not None
        self._behind = False
        self._next = self.seen + 1
        try:
            events = await self.catch_up()
        except (StoreUnavailable, OutcomeUnknown):
            self.end("unavailable")
            return []
        if events:
            self._buffer.clear()
            self._behind = True  # there may be more, and what was offered meanwhile is known
        return events

    def _give(self, taken: list[Message]) -> None:
        """Notes what is given out; the terminal event ends the stream."""
        for message in taken:
            if isinstance(message, LiveEvent):
                self.seen = message.seq
                if message.terminal:
                    self.end("complete")
