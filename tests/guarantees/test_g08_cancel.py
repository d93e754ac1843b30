"""G8: after an acknowledged cancel nothing new starts and what ran is aborted; an execution ends
completed or cancelled, never both."""

from __future__ import annotations

import asyncio

from tests.guarantees.stage import Answer, Process, Stage
from tests.peer import calling
from tests.processes import graph
from tests.waiting import PATIENCE_SECONDS

STATUS = "SELECT status FROM workflow_executions WHERE execution_id = $1"
KINDS = """
SELECT coalesce(array_agg(node_id || ' ' || kind ORDER BY seq), '{}') FROM workflow_steps
 WHERE execution_id = $1 AND node_id <> 'start'
"""
PARKED = "SELECT status = 'waiting' FROM workflow_executions WHERE execution_id = $1"
NO_FLUSH = "LOCK TABLE engine_workers IN EXCLUSIVE MODE"
HOLD = "SELECT FROM workflow_executions WHERE execution_id = $1::uuid FOR UPDATE"


async def test_g08_a_cancel_through_another_process_aborts_the_call_and_starts_nothing(
    stage: Stage,
) -> None:
    first, second = await stage.start_several(2)
    workflow_id = await stage.calls(first, "/quick", "/held", "/after")
    execution_id = await stage.begun(first, workflow_id)
    (running,) = await stage.peer.called("/held")
    assert await stage.holder(execution_id) is first

    async with stage.holding(NO_FLUSH):
        cancelling = asyncio.create_task(stage.cancel(second, execution_id))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await running.cut.wait()
        await stage.blocked()  # The call is aborted, and that is not committed.
        await stage.heard_out(second)
        answered_before = cancelling.done()
    answer = await cancelling

    assert not answered_before
    assert (answer.status, answer.data["status"]) == (200, "cancelled")
    assert await stage.value(STATUS, execution_id) == "cancelled"
    running.freed.set()
    await one_more_is_done(stage, first)
    assert stage.peer.to("/after") == []
    assert await stage.value(KINDS, execution_id) == ["n0 finished"]
    assert (await stage.cancel(second, execution_id)).status == 409


async def one_more_is_done(stage: Stage, process: Process) -> None:
    """Returns once the process has started another execution and ended it."""
    workflow_id = await stage.calls(process, "/quick/more")
    await stage.ends(process, await stage.begun(process, workflow_id))


async def test_g08_a_cancel_of_a_parent_aborts_what_its_child_has_under_way_elsewhere(
    stage: Stage,
) -> None:
    first, second = await stage.start_several(2)
    nodes = {path: calling(f"{stage.peer.url}/{path}") for path in ("held", "after")}
    child = graph(nodes, "start -> held -> after")
    parent = await stage.begun(first, await stage.parent(first, child))
    (running,) = await stage.peer.called("/held")
    await stage.comes_true(PARKED, parent)
    assert await stage.holder(running.execution_id) is first

    answer = await stage.cancel(second, parent)
    assert (answer.status, answer.data["status"]) == (200, "cancelled")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await running.cut.wait()
    for execution_id in (parent, running.execution_id):
        assert (await stage.ends(second, execution_id))["status"] == "cancelled"
    await one_more_is_done(stage, first)
    assert stage.peer.to("/after") == []


async def test_g08_an_end_that_meets_a_cancel_is_one_of_the_two(stage: Stage) -> None:
    first, second = await stage.start_several(2)
    workflow_id = await stage.calls(first, "/held")

    ending = await stage.begun(first, workflow_id)
    async with stage.holding(HOLD, ending):
        (call,) = await stage.peer.called("/held")
        call.freed.set()
        await stage.blocked()  # The end is on its way, and the cancel comes after it.
        cancelling = asyncio.create_task(stage.cancel(second, ending))
        await stage.blocked(2)
    assert await verdict(stage, ending, await cancelling) == "completed"

    asked = await stage.begun(first, workflow_id)
    async with stage.holding(HOLD, asked):
        *_, call = await stage.peer.called("/held", 2)
        cancelling = asyncio.create_task(stage.cancel(second, asked))
        await stage.blocked()  # The cancel is on its way, and the end comes after it.
        call.freed.set()
        await stage.blocked(2)
    await verdict(stage, asked, await cancelling)


async def verdict(stage: Stage, execution_id: str, answer: Answer) -> str:
    """How an execution has ended. Whoever cancelled it was told the same, and so is who asks
    now."""
    status = str(await stage.value(STATUS, execution_id))
    expected = (200, "cancelled") if answer.status == 200 else (409, "completed")
    assert (answer.status, status) == expected
    assert (await stage.ends(stage.processes[0], execution_id))["status"] == status
    return status
