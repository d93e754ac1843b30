"""What an execution costs in memory: one in flight, beside its data, and one that is parked.

A process of its own holds executions in the middle of an action that does not answer, each without
any data; then it parks as many on a delay. What is counted are the resident bytes of
that process, beyond those that it takes when fewer are in flight, or were parked before.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import uuid_utils

from bench.measure import Figure
from bench.w6_parked import SLEEPER, database
from bench.world import PAYLOAD, Quiet, World, engine_on
from engine.context import ExecutionContext, JsonObject
from models.dal import AsyncDAL
from services import collector

ROOT = Path(__file__).resolve().parent.parent
EXECUTIONS = 1_500
TOGETHER = 50
PATIENCE_SECONDS = 120
WAITING = "SELECT count(*) FROM workflow_executions WHERE status = 'waiting'"


MODULE: JsonObject = {
    "name": "an action",
    "community_id": 1,
    "nodes": {
        "start": {"node_type": "trigger_command", "config": {"command": "!go"}},
        "act": {"node_type": "action_module", "config": {"module_name": "m", "action": "a"}},
    },
    "connections": [{"from_node_id": "start", "to_node_id": "act"}],
}


class Mute(Quiet):
    """An outside world whose modules answer only once it is told so."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def execute_module(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> JsonObject:
        self.asked += 1
        await self.may_answer.wait()
        return PAYLOAD


async def run(world: World, rounds: int, executions: int = EXECUTIONS) -> list[Figure]:
    """KiB an execution, in flight and parked; each round is a process of its own."""
    flying, parked = [], []
    for _ in range(rounds):
        name = f"memory_{uuid_utils.uuid7().hex}"
        measured = await _measured(await database(world, name), executions)
        flying.append(measured["flying"])
        parked.append(measured["parked"])
        await world.dal.execute(f"DROP DATABASE {name} WITH (FORCE)")
    return [
        Figure("memory", f"one of {executions:,} in flight", " KiB", flying, "<= 12"),
        Figure("memory", f"one of {executions:,} parked", " KiB", parked, "0"),
    ]


async def _measured(dsn: str, executions: int) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.memory", dsn, str(executions),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 0, "the process that is measured has failed"
    measured: dict[str, float] = json.loads(said)
    return measured


async def _measure(dsn: str, executions: int) -> None:
    """The process that is measured."""
    collector.settle()  # as the service does
    mute = Mute()
    async with AsyncDAL(dsn) as dal, engine_on(dal, outside=mute) as (engine, clock):
        world = World(dal, dsn, engine, clock)
        action, sleeper = [await world.publish(each) for each in (MODULE, SLEEPER)]
        flying = await _fly(world, mute, action, executions)
        # The room that those in flight have left is taken first.
        await _park(world, sleeper, 2 * executions)
        parked = await _park(world, sleeper, executions)
    print(json.dumps({"flying": flying, "parked": parked}))


async def _fly(world: World, mute: Mute, template: ExecutionContext, executions: int) -> float:
    """KiB that each further one takes, once a third of so many wait for their first action: by
    then the room is there that setting out takes for a moment."""
    contexts = [_context(world, template) for _ in range(executions)]
    third = executions // 3
    await _set_out(world, mute, contexts[:third])
    before = _resident()
    await _set_out(world, mute, contexts[third:])
    used = (_resident() - before) / 1024 / (executions - third)
    mute.may_answer.set()
    for context in contexts:
        assert await world.engine.wait(context.execution_id, PATIENCE_SECONDS)
    return used


async def _set_out(world: World, mute: Mute, contexts: list[ExecutionContext]) -> None:
    for first in range(0, len(contexts), TOGETHER):
        some, asked = contexts[first : first + TOGETHER], mute.asked
        await asyncio.gather(*map(world.engine.execute_workflow, some))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while mute.asked < asked + len(some):  # noqa: ASYNC110
                await asyncio.sleep(0.001)


async def _park(world: World, template: ExecutionContext, executions: int) -> float:
    """KiB for each of so many once all of them sleep in the database."""
    before, waiting = _resident(), await world.dal.fetchval(WAITING)
    for _ in range(executions):
        await world.engine.execute_workflow(
            replace(_context(world, template), max_execution_seconds=30 * 86_400)
        )
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await world.dal.fetchval(WAITING) < waiting + executions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return (_resident() - before) / 1024 / executions


def _context(world: World, template: ExecutionContext) -> ExecutionContext:
    return replace(
        template,
        execution_id=str(uuid_utils.uuid7()),
        created_at=world.clock.now(),
        variables={},
    )


def _resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    asyncio.run(_measure(sys.argv[1], int(sys.argv[2])))
