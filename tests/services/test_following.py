"""One client's stream of a single execution: what it has missed it reads, and at once."""

from __future__ import annotations

import asyncio

import pytest

from engine.telling import LiveEvent
from models.executions import ExecutionOwner
from services.caller import EVERYDAY_SCOPES, Caller
from services.live_streams import Following, Message

CALLER = Caller(user_id=456, community_id=1, scopes=EVERYDAY_SCOPES)
OWNER = ExecutionOwner("an execution", "a workflow", 1, 456, "running")


class Table:
    """What stands in the table, and how often it was asked."""

    def __init__(self) -> None:
        self.events: list[LiveEvent] = []
        self.reads = 0

    def followed(self) -> Following:
        """A client that has seen nothing yet."""

        async def proven() -> Caller:
            return CALLER

        async def following() -> list[LiveEvent]:
            self.reads += 1
            return [event for event in self.events if event.seq > stream.seen]

        stream = Following(CALLER, proven, OWNER, 100, 0)
        stream.catch_up = following
        return stream


def event(seq: int, *, terminal: bool = False) -> LiveEvent:
    return LiveEvent(seq, "running", b"{}", terminal)


async def soon(taking: asyncio.Task[list[Message]]) -> list[Message]:
    """What is taken without anybody else's doing: nothing is offered, no beat comes."""
    async with asyncio.timeout(5):
        return await taking


async def waiting(stream: Following) -> asyncio.Task[list[Message]]:
    """A reader that has read the table and waits for what comes."""
    taking = asyncio.create_task(stream.take())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not taking.done()
    return taking


async def test_a_reader_that_waits_reads_at_once_what_may_have_been_missed() -> None:
    table = Table()
    stream = table.followed()
    taking = await waiting(stream)
    table.events = [event(1), event(2, terminal=True)]
    stream.unsure()
    assert await soon(taking) == table.events
    assert (stream.ended, table.reads) == ("complete", 2)


async def test_a_reader_goes_on_waiting_where_nothing_was_missed() -> None:
    table = Table()
    stream = table.followed()
    taking = await waiting(stream)
    stream.unsure()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not taking.done()
    stream.offer([event(1)])
    assert await soon(taking) == [event(1)]
    assert table.reads == 2


@pytest.mark.parametrize("offered", [[5], [2, 3]], ids=["later ones", "later ones in a row"])
async def test_a_gap_in_what_is_offered_is_read_at_once(offered: list[int]) -> None:
    table = Table()
    stream = table.followed()
    taking = await waiting(stream)
    table.events = [event(seq) for seq in range(1, offered[-1] + 1)]
    stream.offer([event(seq) for seq in offered])
    assert await soon(taking) == table.events


async def test_a_reader_that_waits_hears_of_the_end() -> None:
    stream = Table().followed()
    taking = await waiting(stream)
    stream.end("drain")
    assert await soon(taking) == []
