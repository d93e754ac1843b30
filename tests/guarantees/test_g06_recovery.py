"""G6: the dead are replaced, and the living are not taken for dead."""

from __future__ import annotations

from chaos.database import Database
from engine.context import ExecutionStatus
from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore
from tests.store_contract import FIRST, SECOND, a_context, created, progress_of


async def test_g06_a_living_worker_whose_lock_went_with_the_database_is_not_replaced(
    crashable: Database,
) -> None:
    context = a_context()
    async with AsyncDAL(crashable.server.dsn, min_size=1, max_size=3) as dal:
        living = PostgresExecutionStore(dal)
        await living.register(FIRST, "first", 3600)
        await living.flush(FIRST, created((context, progress_of(context))))
        await crashable.restart()
        await living.close()

    async with AsyncDAL(crashable.server.dsn, min_size=1, max_size=3) as dal:
        other = PostgresExecutionStore(dal)
        await other.register(SECOND, "second", 3600)
        freed = await other.reap(SECOND, 5)
        status = await other.status(context.execution_id)
        await other.close()
    assert freed == 0
    assert status is ExecutionStatus.RUNNING
