"""G1: what was confirmed survives a crash of PostgreSQL at once afterwards."""

from __future__ import annotations

from chaos.database import Database
from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore
from tests.store_contract import FIRST, a_context, a_step, created, progress_of

SETTING = "SELECT current_setting('synchronous_commit')"


async def test_g01_every_kind_of_connection_commits_synchronously(dal: AsyncDAL) -> None:
    own = await dal.connect()
    try:
        assert await own.fetchval(SETTING) == "on"
    finally:
        await own.close()
    assert await dal.fetchval(SETTING) == "on"


async def test_g01_what_was_flushed_survives_a_crash_of_the_database_at_once(
    crashable: Database,
) -> None:
    context = a_context()
    batch = created((context, progress_of(context)))
    batch.steps.append(a_step(context))
    async with AsyncDAL(crashable.server.dsn, min_size=1, max_size=3) as dal:
        store = PostgresExecutionStore(dal)
        await store.register(FIRST, "first", 60)
        await store.flush(FIRST, batch)
        await crashable.restart()
        await store.close()

    async with AsyncDAL(crashable.server.dsn, min_size=1, max_size=3) as dal:
        stored = await PostgresExecutionStore(dal).load(context.execution_id)
    assert stored is not None
    assert stored.context == context
    assert [row.seq for row in stored.steps] == [2]
