"""G5: a worker that was frozen until others took its executions over writes, starts and says
nothing when it wakes.

On waking a zombie hears of its death with its next heartbeat, and might have nothing left to try.
So the table of workers is locked against heartbeats, and not against the fence of a flush: it must
try, and be refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from chaos.watch import install
from models.execution_rows import CHANNEL
from tests.guarantees.stage import Process, Stage
from tests.peer import calling
from tests.processes import graph
from tests.waiting import until

LEASE_IS_OVER = """
UPDATE engine_workers SET lease_until = clock_timestamp() WHERE name LIKE ANY ($1::text[])
"""
NO_HEARTBEAT = "LOCK TABLE engine_workers IN SHARE MODE"
NOBODY_IS_CALLED_BY_ITS_NAME = "LOCK TABLE workflows IN ACCESS EXCLUSIVE MODE"
TABLES = ("workflow_executions", "workflow_steps", "workflow_letters")

PURE = {"node_type": "data_transform", "config": {"transformations": {"x": "1"}}}
LATE = """
SELECT process, count(*) AS attempted, count(*) FILTER (WHERE wrote = 0) AS refused
  FROM chaos_late_writes GROUP BY process
"""
RECORDED = """
SELECT count(*) = 1 FROM workflow_steps
 WHERE execution_id = $1 AND node_id = 'held' AND kind = 'finished'
"""
PARKED = "SELECT status = 'waiting' FROM workflow_executions WHERE execution_id = $1"


async def test_g05_whatever_a_zombie_tries_to_write_is_refused(stage: Stage) -> None:
    await install(stage.database)
    ending, parking, calling_child = zombies = await asyncio.gather(
        stage.start(),
        stage.start(),
        stage.start(MAX_CONCURRENT_EXECUTIONS="1"),
    )
    parent = await about_to_end_a_child(stage, ending)
    sleeper = await about_to_park(stage, parking)
    caller = await frozen_while_it_starts_a_child(stage, calling_child)
    for zombie in (ending, parking):
        zombie.member.freeze()
    await stage.fetch(LEASE_IS_OVER, [f"%:{zombie.port}" for zombie in zombies])
    stage.peer.let_go()  # What they called has answered, and they do not know it yet.

    other = await stage.start()
    assert (await stage.ends(other, parent))["final_output"] == 2  # the second call's answer
    assert (await stage.ends(other, caller))["status"] == "completed"
    await stage.comes_true(PARKED, sleeper)
    before, calls = await written(stage), len(stage.peer.calls)

    async with notifications(stage) as heard:
        async with stage.holding(NO_HEARTBEAT):
            for zombie in zombies:
                zombie.member.thaw()
            await until(lambda: all_have_tried(stage, zombies))
        for zombie in zombies:
            await zombie.member.says("action=lease result=FAILURE")
            await zombie.member.says("action=start_worker", times=2)
            await stage.heard_out(zombie)
    assert await written(stage) == before
    late = await stage.fetch(LATE)
    assert [row["attempted"] - row["refused"] for row in late] == [0, 0, 0]
    assert len(stage.peer.calls) == calls
    assert heard == []


async def about_to_end_a_child(stage: Stage, process: Process) -> str:
    """An execution whose child runs here, and will record some steps and its end, and thereby
    post a letter, once the peer answers. It will record less if it was called for the second time.
    """
    once = {"node_type": "condition_if", "config": {"condition": "nodes.held.output.body.turn < 2"}}
    end = {"node_type": "flow_end", "config": {"output": "{{ nodes.held.output.body.turn }}"}}
    nodes = {
        "held": calling(stage.peer.url + "/held/end"),
        "once": once,
        "a": PURE,
        "b": PURE,
        "end": end,
    }
    document = graph(nodes, "start -> held -> once:true -> a -> b -> end", "once:false -> end")
    execution_id = await stage.begun(process, await stage.parent(process, document))
    await stage.peer.called("/held/end")
    await stage.comes_true(PARKED, execution_id)
    return execution_id


async def about_to_park(stage: Stage, process: Process) -> str:
    """An execution that will record a step and park for an hour once the peer answers."""
    hour = {"node_type": "action_delay", "config": {"delay_seconds": 3600}}
    nodes = {"held": calling(f"{stage.peer.url}/held/park"), "hour": hour}
    document = graph(nodes, "start -> held -> hour", max_execution_time_seconds=7200)
    execution_id = await stage.begun(process, await stage.publish(process, document))
    await stage.peer.called("/held/park")
    return execution_id


async def frozen_while_it_starts_a_child(stage: Stage, process: Process) -> str:
    """An execution that will start a child, record that, and call the other processes to run it,
    once it reads the database's answer. Its process is frozen."""
    publisher = stage.processes[0] if stage.processes[0] is not process else stage.processes[1]
    nodes = {"held": calling(f"{stage.peer.url}/held/call")}
    workflow_id = await stage.parent(publisher, graph({"a": PURE}, "start -> a"), **nodes)
    execution_id = await stage.begun(process, workflow_id)
    *_, call = await stage.peer.called("/held/call")
    async with stage.holding(NOBODY_IS_CALLED_BY_ITS_NAME):
        call.freed.set()
        await stage.comes_true(RECORDED, execution_id)
        await stage.blocked()
        process.member.freeze()
    return execution_id


async def written(stage: Stage) -> dict[str, list[str]]:
    """Every row of what executions leave behind."""
    query = "SELECT array_agg(t::text ORDER BY t::text) FROM {} t"
    return {table: await stage.value(query.format(table)) for table in TABLES}


async def all_have_tried(stage: Stage, zombies: Sequence[Process]) -> bool:
    """Whether each of them has tried to write something."""
    tried = {row["process"] for row in await stage.fetch(LATE)}
    return tried == {str(zombie.port) for zombie in zombies}


@asynccontextmanager
async def notifications(stage: Stage) -> AsyncIterator[list[str]]:
    """What the processes say to each other meanwhile."""
    heard: list[str] = []
    connection = await asyncpg.connect(stage.database.server.dsn)
    try:
        await connection.add_listener(CHANNEL, lambda *said: heard.append(said[-1]))
        yield heard
        await connection.fetchval("SELECT 1")  # What was said before this has arrived.
    finally:
        connection.terminate()


DUE_SOON = """
SELECT coalesce((SELECT kind = 'retrying' AND wake_at > clock_timestamp() FROM workflow_steps
                  WHERE execution_id = $1 AND node_id = 'again' ORDER BY seq DESC LIMIT 1), false)
"""
OVERSLEPT = """
SELECT (SELECT max(lease_until) FROM engine_workers) < clock_timestamp()
   AND (SELECT max(wake_at) FROM workflow_steps WHERE kind = 'retrying') < clock_timestamp()
"""


async def test_g05_who_slept_longer_than_its_lease_starts_no_effect_by_its_own_clock(
    stage: Stage,
) -> None:
    process = await stage.start(LEASE_SECONDS="2")
    retry = {"max_attempts": 100, "backoff": "fixed", "initial_seconds": 2, "jitter": False}
    nodes = {
        "fork": {"node_type": "flow_parallel"},
        "busy": calling(f"{stage.peer.url}/held"),  # so that the execution stays in memory
        "again": calling(f"{stage.peer.url}/refused", retry=retry),
    }
    document = graph(nodes, "start -> fork -> busy", "fork -> again")
    execution_id = await stage.begun(process, await stage.publish(process, document))
    await stage.peer.called("/held")
    await until(lambda: falls_asleep_between_two_attempts(stage, process, execution_id))
    await stage.comes_true(OVERSLEPT)
    calls = len(stage.peer.calls)

    async with stage.holding(NO_HEARTBEAT):
        process.member.thaw()

        async def decided() -> bool:
            stopped = "action=lease result=FAILURE" in process.member.printed()
            return stopped or len(stage.peer.calls) > calls

        await until(decided)
        called_meanwhile = stage.peer.calls[calls:]
    assert called_meanwhile == []
    stage.peer.let_go()
    assert (await stage.ends(process, execution_id))["status"] == "completed"


async def falls_asleep_between_two_attempts(
    stage: Stage, process: Process, execution_id: str
) -> bool:
    """Whether the process is frozen now, and the next attempt is due later than now."""
    if not await stage.value(DUE_SOON, execution_id):
        return False
    process.member.freeze()
    if await stage.value(DUE_SOON, execution_id):
        return True
    process.member.thaw()
    return False
