"""Who watches, who tells, and what a notification holds."""

from __future__ import annotations

import asyncio

from engine.context import ExecutionStatus
from engine.records import Batch
from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore
from models.live import LONGEST_PAYLOAD, Hint, LiveTable, hint_payload, moves, read_hint
from models.live_feed import LiveFeed
from services.clock import new_id
from tests.store_contract import FIRST, a_context, a_step, created, progress_of


def many(count: int) -> Batch:
    contexts = [a_context(execution_id=new_id()) for _ in range(count)]
    return created(*((context, progress_of(context)) for context in contexts))


def test_a_notification_names_what_moved_and_from_where() -> None:
    context = a_context()
    batch = Batch(steps=[a_step(context, 7), a_step(context, 8)])
    payload = hint_payload("p", batch)
    assert payload is not None
    assert read_hint(payload, "q") == Hint({context.execution_id: 7})
    assert read_hint(payload, "p") is None


def test_progress_that_is_no_end_is_told_to_nobody() -> None:
    context = a_context()
    parked = progress_of(context, ExecutionStatus.WAITING)
    assert hint_payload("p", Batch(updates={context.execution_id: parked})) is None
    ended = progress_of(context, ExecutionStatus.COMPLETED, end_time=parked.start_time, last_seq=9)
    assert moves(Batch(updates={context.execution_id: ended})) == {context.execution_id: 9}


def test_a_notification_that_would_be_too_long_says_that_something_moved() -> None:
    payload = hint_payload(new_id(), many(1_000))
    assert payload is not None
    assert len(payload) < LONGEST_PAYLOAD
    assert read_hint(payload, "other") == Hint(None)


async def test_flushes_tell_only_while_another_process_watches(dal: AsyncDAL) -> None:
    feed = LiveFeed(dal, new_id())
    store = PostgresExecutionStore(dal, live=feed)
    own, other = LiveTable(dal, feed.process_id), LiveTable(dal, new_id())
    heard: asyncio.Queue[Hint] = asyncio.Queue()
    await other.listen(heard.put_nowait, lambda: None)
    await store.register(FIRST, "first", 60)
    await own.watch(call=True)
    await store.look(FIRST)
    assert not await other.all_tell([])
    await store.flush(FIRST, many(1))
    await other.watch(call=True)
    await store.look(FIRST)
    assert await other.all_tell([])
    batch = many(2)
    await store.flush(FIRST, batch)
    async with asyncio.timeout(10):
        assert await heard.get() == Hint(dict.fromkeys(batch.created, 1))
    await other.unwatch()
    await store.look(FIRST)
    await store.flush(FIRST, many(1))
    await own.unwatch()
    await store.close()
    assert heard.empty()


async def test_the_end_of_what_nobody_holds_is_told(dal: AsyncDAL) -> None:
    store = PostgresExecutionStore(dal)
    table = LiveTable(dal, new_id())
    heard: asyncio.Queue[Hint] = asyncio.Queue()
    await table.listen(heard.put_nowait, lambda: None)
    context = a_context(execution_id=new_id())
    await store.register(FIRST, "first", 60)
    await store.look(FIRST)
    await store.flush(FIRST, created((context, progress_of(context, ExecutionStatus.PENDING))))
    await store.request_cancel(context.execution_id)
    async with asyncio.timeout(10):
        assert await heard.get() == Hint({context.execution_id: 2})
    head = (await table.heads([context.execution_id]))[context.execution_id]
    assert head.end is not None
    assert (head.end.seq, head.end.status) == (2, "cancelled")
    await store.close()


async def test_a_pause_and_its_end_are_told_to_everybody(dal: AsyncDAL) -> None:
    """Also to the process whose flush it was: whether the pause was called off, the table says."""
    feed = LiveFeed(dal, new_id())
    store = PostgresExecutionStore(dal, live=feed)
    table = LiveTable(dal, feed.process_id)
    heard: asyncio.Queue[Hint] = asyncio.Queue()
    await table.listen(heard.put_nowait, lambda: None)
    context = a_context(execution_id=new_id())
    key = context.execution_id
    batch = created((context, progress_of(context)))
    batch.steps.append(a_step(context, 2))
    await store.register(FIRST, "first", 60)
    await store.look(FIRST)
    await store.flush(FIRST, batch)
    await store.request_pause(key)
    paused = progress_of(context, ExecutionStatus.PAUSED, last_seq=2)
    await store.flush(FIRST, Batch(updates={key: paused}))
    await store.request_resume(key)
    async with asyncio.timeout(10):
        assert [await heard.get() for _ in "12"] == [Hint({key: 3}), Hint({key: 4})]
    numbered = (await table.records({key: 1}, 1000))[key]
    assert [(each.seq, str(each.status)) for each in numbered] == [
        (2, "completed"), (3, "paused"), (4, "waiting"),
    ]  # fmt: skip
    assert [each.seq for each in (await table.records({key: 1}, 2))[key]] == [2, 3]
    assert await table.ahead({key: 3}) == {key}
    assert await table.ahead({key: 4}) == set()
    await store.close()


async def test_who_listens_hears_that_it_did_not_for_a_while(dal: AsyncDAL) -> None:
    lost = asyncio.Event()
    await LiveTable(dal, new_id()).listen(lambda _: None, lost.set)
    assert not lost.is_set()
    await dal.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'workflow_core listen' AND datname = current_database()"
    )
    async with asyncio.timeout(20):
        await lost.wait()
