"""What the executions of communities keep, in bytes: whatever adds to it or removes it counts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from engine.context import ExecutionStatus
from engine.records import ROW_BYTES, Batch, json_bytes
from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore
from models.retention import History, Place, Policy
from models.stored_bytes import StoredBytes
from tests.family_contract import a_letter
from tests.models.aged import WORKFLOW, aged
from tests.store_contract import FIRST, NOW, a_context, a_step, created, progress_of

SUMMED = """
SELECT community_id, sum(bytes)::bigint AS bytes FROM (
    SELECT community_id, recorded_bytes + $1 * (1 + last_seq) AS bytes FROM workflow_executions
     WHERE recorded_bytes IS NOT NULL
     UNION ALL
    SELECT community_id, $1 + octet_length(payload::text)
      FROM workflow_letters JOIN workflow_executions USING (execution_id)) kept
 GROUP BY 1
"""
COUNTED = """
SELECT community_id, sum(bytes)::bigint AS bytes FROM community_history
 GROUP BY 1 HAVING sum(bytes) <> 0
"""


@pytest.fixture
async def store(dal: AsyncDAL) -> AsyncIterator[PostgresExecutionStore]:
    store = PostgresExecutionStore(dal)
    await store.register(FIRST, "first", 60)
    yield store
    await store.close()


@pytest.fixture
def kept(dal: AsyncDAL) -> StoredBytes:
    return StoredBytes(dal)


async def ended(store: PostgresExecutionStore, community_id: int, size: int) -> str:
    context = a_context(community_id=community_id)
    progress = progress_of(
        context, ExecutionStatus.COMPLETED, end_time=NOW, last_seq=2, recorded_bytes=size
    )
    await store.flush(FIRST, created((context, progress)))
    return context.execution_id


async def summed(dal: AsyncDAL) -> dict[int, int]:
    return {r["community_id"]: r["bytes"] for r in await dal.fetch(SUMMED, ROW_BYTES)}


async def counted(dal: AsyncDAL) -> dict[int, int]:
    return {r["community_id"]: r["bytes"] for r in await dal.fetch(COUNTED)}


async def measured(kept: StoredBytes) -> int:
    return sum([number async for number in kept.measure()])


async def test_what_is_removed_makes_room_whoever_removes_it(
    store: PostgresExecutionStore, dal: AsyncDAL
) -> None:
    for community_id in (1, 1, 2, 3):
        gone = await ended(store, community_id, 100)
    await dal.execute("DELETE FROM workflow_executions WHERE execution_id = $1", gone)
    assert await counted(dal) == {1: 2 * (100 + 3 * ROW_BYTES), 2: 100 + 3 * ROW_BYTES}

    await dal.execute("UPDATE workflow_executions SET end_time = now() - interval '9 days',"
                      " created = now() - interval '9 days' WHERE community_id = 1")  # fmt: skip
    assert (await History(dal).drop(Policy(WORKFLOW, 7), Place())).dropped == 2
    assert await counted(dal) == await summed(dal) == {2: 100 + 3 * ROW_BYTES}

    await dal.execute("TRUNCATE workflow_executions")
    assert await counted(dal) == {}


async def test_many_at_once_are_counted_and_wait_for_nobody(
    store: PostgresExecutionStore, dal: AsyncDAL, kept: StoredBytes
) -> None:
    """Each in a transaction that stays open until all have counted."""
    everybody = asyncio.Barrier(6)

    async def one(number: int) -> None:
        chance = random.Random(number)
        async with dal.transaction() as tx:
            for community_id in chance.sample(range(1, 6), 5):
                await tx.execute(
                    "INSERT INTO workflow_executions (execution_id, workflow_id, workflow_version,"
                    " workflow_name, community_id, user_id, trigger_source, trigger_node_id,"
                    " status, max_execution_seconds, end_time, recorded_bytes) VALUES"
                    " (gen_random_uuid(), gen_random_uuid(), 1, 'w', $1, 1, 'api', 's',"
                    " 'completed', 1, now(), $2)",
                    community_id, chance.randrange(1000),
                )  # fmt: skip
            await asyncio.wait_for(everybody.wait(), 30)

    await asyncio.gather(*map(one, range(6)))
    found = await counted(dal)
    assert found == await summed(dal)
    assert set(found) == set(range(1, 6))
    assert await kept.recount() == 0


async def test_a_recount_mends_what_is_wrong_and_leaves_the_rest(
    store: PostgresExecutionStore, dal: AsyncDAL, kept: StoredBytes
) -> None:
    for community_id in (1, 2, 3):
        await ended(store, community_id, 100 * community_id)
    right = await counted(dal)
    await dal.execute("UPDATE community_history SET bytes = 7 WHERE community_id = 1")
    await dal.execute("DELETE FROM community_history WHERE community_id = 2")
    await dal.execute("INSERT INTO community_history VALUES (9, 3, 1000)")

    assert await kept.recount() == 3
    assert await counted(dal) == right == await summed(dal)
    assert await kept.recount() == 0


async def test_what_ended_before_anything_was_measured_is_measured_and_counted(
    store: PostgresExecutionStore, dal: AsyncDAL, kept: StoredBytes
) -> None:
    """As an upgrade finds them; others are left alone, also those that have not ended."""
    await aged(dal, count=600, steps=1)
    await aged(dal, status="waiting")
    known = await ended(store, 2, 123)
    context = a_context()
    value = {"x": "é" * 50}
    steps = [a_step(context, 2, input=value, output=value, variables=value)]
    await store.flush(FIRST, created((context, progress_of(context))))
    end = progress_of(
        context, ExecutionStatus.FAILED, end_time=NOW, last_seq=3, recorded_bytes=1,
        final_variables=value, final_output=[1],
    )  # fmt: skip
    await store.flush(FIRST, Batch(steps=steps, updates={context.execution_id: end}))
    await dal.execute(
        "UPDATE workflow_executions SET recorded_bytes = NULL WHERE execution_id <> $1", known
    )
    assert set(await counted(dal)) == {2}

    assert await measured(kept) == 601
    found = await store.load(context.execution_id)
    assert found is not None
    assert found.progress.recorded_bytes == json_bytes(
        *(context.variables, context.metadata), *[value] * 4, [1]
    )
    assert await counted(dal) == await summed(dal)
    assert (await counted(dal))[2] == 123 + 3 * ROW_BYTES
    assert await measured(kept) == 0
    assert await kept.recount() == 0


async def test_what_a_process_of_the_release_before_recorded_is_measured_by_the_next(
    store: PostgresExecutionStore, dal: AsyncDAL
) -> None:
    """It parks without a figure, as every version did that had none."""
    context = a_context()
    value = {"x": "y" * 1_000}
    given = json_bytes(context.variables, context.metadata)
    await store.flush(FIRST, created((context, progress_of(context))))
    rest = progress_of(context, ExecutionStatus.WAITING, last_seq=2, recorded_bytes=500)
    await store.flush(FIRST, Batch(updates={context.execution_id: rest}))
    assert await counted(dal) == {1: 500 + 3 * ROW_BYTES}

    await store.flush(FIRST, Batch(steps=[a_step(context, 3, output=value)]))
    await dal.execute("UPDATE workflow_executions SET status = 'waiting', last_seq = 3")
    assert await counted(dal) == {}
    await store.request_pause(context.execution_id)
    await store.request_cancel(context.execution_id)

    found = await store.load(context.execution_id)
    assert found is not None
    assert found.progress.recorded_bytes == given + json_bytes(value)
    assert await counted(dal) == await summed(dal)


async def test_letters_are_counted_whoever_writes_them_and_gone_with_their_execution(
    store: PostgresExecutionStore, dal: AsyncDAL
) -> None:
    """Signals, and what children say: of one that ends later and of one that ends as it is born."""
    parent = a_context()
    await store.flush(FIRST, created((parent, progress_of(parent, ExecutionStatus.WAITING))))
    alone = await counted(dal)
    await store.post(parent.execution_id, a_letter(payload={"x": "é" * 100}))
    for status in (ExecutionStatus.PENDING, ExecutionStatus.COMPLETED):
        child = a_context(
            community_id=2, parent_execution_id=parent.execution_id, parent_step_key=status
        )
        end = progress_of(
            child, ExecutionStatus.COMPLETED, end_time=NOW, recorded_bytes=50,
            final_output={"said": "é" * 500},
        )  # fmt: skip
        if status is ExecutionStatus.PENDING:
            born = progress_of(child)
            await store.flush(FIRST, created((child, born)))
            await store.flush(FIRST, Batch(updates={child.execution_id: end}))
        else:
            await store.flush(FIRST, created((child, end)))
    assert len(await store.letters(parent.execution_id)) == 3
    found = await counted(dal)
    assert found == await summed(dal)
    assert found[1] > alone.get(1, 0) + 3 * ROW_BYTES + 200 + 2 * 1_000
    await dal.execute("DELETE FROM workflow_executions WHERE community_id = 1")
    assert set(await counted(dal)) == {2}


async def test_letters_of_a_process_that_did_not_measure_are_measured_and_counted(
    store: PostgresExecutionStore, dal: AsyncDAL, kept: StoredBytes
) -> None:
    """Whether all of an execution's letters are from it or some, and whether it has ended."""
    waiting = a_context()
    rest = progress_of(waiting, ExecutionStatus.WAITING, recorded_bytes=9)
    await store.flush(FIRST, created((waiting, rest)))
    over = a_context()
    await store.flush(FIRST, created((over, progress_of(over))))
    for number in range(3):
        for context in (waiting, over):
            await store.post(context.execution_id, a_letter(number, payload="é" * 40))
    end = progress_of(over, ExecutionStatus.COMPLETED, end_time=NOW, recorded_bytes=9)
    await store.flush(FIRST, Batch(updates={over.execution_id: end}))
    right = await counted(dal)
    await dal.execute("UPDATE workflow_executions SET letter_bytes = 0")
    await dal.execute("UPDATE workflow_executions SET letter_bytes = 82 WHERE execution_id = $1",
                      over.execution_id)  # fmt: skip
    assert await counted(dal) != right

    assert await measured(kept) == 2
    assert await counted(dal) == right == await summed(dal)
    assert await measured(kept) == await kept.recount() == 0


async def test_a_pause_takes_a_number_and_no_measure(
    store: PostgresExecutionStore, dal: AsyncDAL
) -> None:
    context = a_context()
    await store.flush(FIRST, created((context, progress_of(context))))
    rest = progress_of(context, ExecutionStatus.WAITING, last_seq=2, recorded_bytes=500)
    await store.flush(FIRST, Batch(updates={context.execution_id: rest}))
    await store.request_pause(context.execution_id)
    await store.request_resume(context.execution_id)
    assert await counted(dal) == {1: 500 + 5 * ROW_BYTES}
