"""G7: the records of an execution are numbered without a gap, whoever writes the last one."""

from __future__ import annotations

from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore
from tests.store_contract import FIRST, SECOND, a_context, a_step, created, progress_of


async def test_g07_the_end_of_what_was_released_is_numbered_after_its_last_record(
    dal: AsyncDAL,
) -> None:
    store = PostgresExecutionStore(dal)
    context = a_context()
    batch = created((context, progress_of(context)))
    batch.steps.extend([a_step(context, 2), a_step(context, 3)])
    await store.register(FIRST, "first", 60)
    await store.register(SECOND, "second", 60)
    await store.flush(FIRST, batch)
    await store.release(FIRST)

    await store.request_cancel(context.execution_id)

    stored = await store.load(context.execution_id)
    await store.close()
    assert stored is not None
    assert stored.progress.last_seq == 4
