"""G6: the dead are replaced, and the living are not taken for dead."""

from __future__ import annotations

from chaos.database import Database
from engine.context import ExecutionStatus
from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore
from tests.guarantees.stage import Stage
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


BEFORE_THE_LEASE = """
SELECT lease_until > clock_timestamp() FROM engine_workers WHERE name LIKE $1
"""
ROW = "SELECT status, error_code, recoveries FROM workflow_executions WHERE execution_id = $1"
ENDED = "SELECT end_time IS NOT NULL FROM workflow_executions WHERE execution_id = $1"

MOST_TAKEOVERS = 5


async def test_g06_who_was_killed_is_replaced_long_before_its_lease_runs_out(stage: Stage) -> None:
    first, second = await stage.start_several(2, LEASE_SECONDS="60")
    workflow_id = await stage.calls(first, "/held")
    execution_id = await stage.begun(first, workflow_id)
    await stage.peer.called("/held")
    await first.kill()

    await stage.peer.called("/held", 2)
    assert await stage.value(BEFORE_THE_LEASE, f"%:{first.port}")
    assert await stage.holder(execution_id) is second


async def test_g06_an_execution_that_kills_its_workers_is_given_up_and_harms_no_neighbour(
    stage: Stage,
) -> None:
    processes = await stage.start_several(MOST_TAKEOVERS + 2)
    workflow_id = await stage.calls(processes[0], "/held/poison")
    neighbour_id = await stage.calls(processes[0], "/quick/one", "/held/neighbour", "/quick/two")
    poison = await stage.begun(processes[0], workflow_id)
    neighbours = []
    for victims in range(1, MOST_TAKEOVERS + 2):
        await stage.peer.called("/held/poison", victims)
        holder = await stage.holder(poison)
        neighbours.append(await stage.begun(holder, neighbour_id))
        await stage.peer.called("/held/neighbour", 2 * victims - 1)
        assert await stage.holder(neighbours[-1]) is holder
        await holder.kill()  # That is what the poison does to whoever runs it.
        *_, repeated = await stage.peer.called("/held/neighbour", 2 * victims)
        repeated.freed.set()

    await stage.comes_true(ENDED, poison)
    (row,) = await stage.fetch(ROW, poison)
    assert tuple(row) == ("failed", "WORKER_LOST", MOST_TAKEOVERS)
    (survivor,) = (each for each in processes if each.member.process.returncode is None)
    for execution_id in neighbours:
        assert (await stage.ends(survivor, execution_id))["status"] == "completed"
    assert len(stage.peer.to("/held/poison")) == MOST_TAKEOVERS + 1
