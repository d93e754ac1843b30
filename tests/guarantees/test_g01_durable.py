"""G1: what was confirmed is there and gets done, whoever crashes at once afterwards."""

from __future__ import annotations

import asyncio

from chaos.database import Database
from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore
from tests.guarantees.stage import Stage
from tests.store_contract import FIRST, a_context, a_step, created, progress_of

CALLERS = 12
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


async def test_g01_nothing_is_accepted_before_it_is_committed(stage: Stage) -> None:
    first = await stage.start()
    workflow_id = await stage.calls(first, "/quick")
    async with stage.holding("LOCK TABLE workflow_executions IN SHARE MODE"):
        asking = asyncio.create_task(stage.execute(first, workflow_id, Idempotency_Key="once"))
        await stage.blocked()
        await stage.heard_out(first)
        await first.kill()
        answer = await asking
        await stage.end_blocked()
    assert answer.status != 202
    assert await stage.value("SELECT count(*) FROM workflow_executions") == 0

    second = await stage.start()
    again = await stage.execute(second, workflow_id, Idempotency_Key="once")
    assert again.status == 202
    assert (await stage.ends(second, again.data["execution_id"]))["status"] == "completed"
    assert len(stage.peer.calls) == 1


async def test_g01_what_was_accepted_is_run_by_the_next_start(stage: Stage) -> None:
    first = await stage.start()
    workflow_id = await stage.calls(first, "/quick/a", "/quick/b")
    asking = [asyncio.create_task(stage.execute(first, workflow_id)) for _ in range(CALLERS)]
    await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    await first.kill()
    answers = await asyncio.gather(*asking)
    accepted = [each.data["execution_id"] for each in answers if each.status == 202]
    assert accepted

    second = await stage.start()
    for execution_id in accepted:
        assert (await stage.ends(second, execution_id))["status"] == "completed"
        for node in ("n0", "n1"):
            assert stage.peer.keys[f"{execution_id}:{node}"] >= 1
