"""G7: the events of an execution are numbered without a gap, whoever writes the last one, and
whoever pauses it and lets it go on."""

from __future__ import annotations

import asyncio
from typing import Any

from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore
from tests.guarantees.stage import Process, Stage
from tests.processes import graph
from tests.sse import sse
from tests.store_contract import FIRST, SECOND, a_context, a_step, created, progress_of
from tests.waiting import PATIENCE_SECONDS

STANDS = "SELECT status = $2 FROM workflow_executions WHERE execution_id = $1"
PAUSE_ASKED = """
SELECT pause_requested_at IS NOT NULL AND status = 'running' FROM workflow_executions
 WHERE execution_id = $1
"""
FULL = {"MAX_CONCURRENT_EXECUTIONS": "1"}
WAIT = {"node_type": "flow_wait", "config": {"signal": "go"}}


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


async def everything(stage: Stage, process: Process, execution_id: str) -> list[dict[str, Any]]:
    """The events of an execution that has ended, read anew; resumed behind any of them, they are
    the same."""
    url = f"{process.url}/api/v1/workflows/executions/{execution_id}/events"
    async with asyncio.timeout(PATIENCE_SECONDS), sse(stage.http, url) as stream:
        events = await stream.all()
    for seen in range(1, len(events)):
        async with sse(stage.http, url, Last_Event_ID=str(seen)) as stream:
            assert await stream.all() == events[seen:]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return events


async def asked(stage: Stage, process: Process, execution_id: str, what: str) -> str:
    """The status that a request to pause or to resume was answered with."""
    answer = await stage.post(process, f"executions/{execution_id}/{what}")
    assert answer.status == 202, answer
    return str(answer.data["status"])


async def test_g07_a_pause_is_told_across_processes_also_when_its_worker_dies_on_the_way(
    stage: Stage,
) -> None:
    first, second = await stage.start_several(2)
    workflow_id = await stage.calls(first, "/held", "/after")
    execution_id = await stage.begun(first, workflow_id)
    await stage.peer.called("/held")
    holder = await stage.holder(execution_id)
    other = second if holder is first else first
    url = f"{other.url}/api/v1/workflows/executions/{execution_id}/events"
    streams = f"{other.url}/api/v1/workflow-management/executions/stream?status=paused,completed"
    async with sse(stage.http, url) as one, sse(stage.http, streams) as all_of_them:
        following = asyncio.create_task(one.all())
        assert await asked(stage, other, execution_id, "pause") == "running"
        assert await stage.value(PAUSE_ASKED, execution_id)
        await holder.kill()  # It is asked to, and has not paused.
        await stage.comes_true(STANDS, execution_id, "paused")
        assert await asked(stage, other, execution_id, "pause") == "paused"
        stage.peer.let_go()
        assert await asked(stage, other, execution_id, "resume") == "waiting"
        async with asyncio.timeout(PATIENCE_SECONDS):
            events = await following
            shown = []
            async for event in all_of_them.events():
                shown.append(event)
                if event["status"] == "completed":
                    break
    assert events == await everything(stage, other, execution_id)
    assert [event["status"] for event in events] == [
        "pending", "running", "paused", "waiting", "running", "running", "completed",
    ]  # fmt: skip
    assert shown == [events[2], events[-1]]


async def test_g07_a_worker_that_finishes_what_ran_tells_of_the_pause_after_it(
    stage: Stage,
) -> None:
    first, second = await stage.start_several(2)
    workflow_id = await stage.calls(first, "/held", "/after")
    execution_id = await stage.begun(first, workflow_id)
    (running,) = await stage.peer.called("/held")
    holder = await stage.holder(execution_id)
    other = second if holder is first else first
    streams = [
        f"{process.url}/api/v1/workflows/executions/{execution_id}/events"
        for process in (holder, other)
    ]
    async with sse(stage.http, streams[0]) as here, sse(stage.http, streams[1]) as there:
        following = asyncio.gather(here.all(), there.all())
        assert await asked(stage, other, execution_id, "pause") == "running"
        running.freed.set()
        await stage.comes_true(STANDS, execution_id, "paused")
        assert stage.peer.to("/after") == []
        await asked(stage, other, execution_id, "resume")
        async with asyncio.timeout(PATIENCE_SECONDS):
            told = await following
    events = await everything(stage, other, execution_id)
    assert told == [events, events]
    assert [event["status"] for event in events] == [
        "pending", "running", "running", "paused", "waiting", "running", "completed",
    ]  # fmt: skip


async def test_g07_a_pause_of_what_nobody_holds_is_told_whether_it_waits_or_has_not_begun(
    stage: Stage,
) -> None:
    process = await stage.start(**FULL)
    parked = await stage.begun(
        process, await stage.publish(process, graph({"w": WAIT}, "start -> w"))
    )
    await stage.comes_true(STANDS, parked, "waiting")
    await stage.begun(process, await stage.calls(process, "/held"))
    await stage.peer.called("/held")
    pending = await stage.begun(process, await stage.calls(process, "/quick"))
    for execution_id in (parked, pending):
        for what in ("pause", "resume", "pause", "cancel"):
            await stage.post(process, f"executions/{execution_id}/{what}")
    told = [await everything(stage, process, each) for each in (parked, pending)]
    assert [[event["status"] for event in events] for events in told] == [
        ["pending", "running", "waiting", "paused", "waiting", "paused", "cancelled"],
        ["pending", "paused", "pending", "paused", "cancelled"],
    ]
