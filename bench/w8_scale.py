"""W8: W2a by one, two and four engine processes on one database.

Each is a process of the operating system with an engine of its own; together they have as many
executions in flight as W2. Whether more of them do more depends on the cores there are, so it is
reported and not required; that no execution ran twice is checked after every run.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter

from bench.measure import Figure, Measured, in_turn, ratios
from bench.w2_throughput import IN_FLIGHT, STEPS, run_all
from bench.world import World, chain, engine_on
from engine.context import ExecutionContext
from models.dal import AsyncDAL
from services import collector

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = (1, 2, 4)

AMISS = """
SELECT count(*) FROM (
    SELECT e.execution_id FROM workflow_executions e
      LEFT JOIN workflow_steps s USING (execution_id)
     WHERE e.workflow_id = $1
     GROUP BY e.execution_id
    HAVING e.status <> 'completed' OR e.claims <> 0
        OR count(s.seq) <> $2 OR count(DISTINCT s.step_key) <> $2) amiss
"""


async def run(world: World, rounds: int, executions: int) -> list[Figure]:
    """Executions a second by each number of processes, and over those of one."""

    def by(processes: int) -> Measured:
        async def measured() -> float:
            template = await world.publish(chain(STEPS, "data_variable_set"))
            took = await _together(world, template, executions, processes)
            await check_each_ran_once(world.dal, template.workflow_id, executions)
            return executions / took

        return measured

    values = await in_turn(rounds, **{f"by{n}": by(n) for n in PROCESSES})
    rates = [Figure("W8", f"{_name(n)}, executions", "/s", values[f"by{n}"]) for n in PROCESSES]
    over = [
        Figure("W8", f"{_name(n)} over one", " x", ratios(values[f"by{n}"], values["by1"]))
        for n in PROCESSES[1:]
    ]
    return [*rates, *over]


def _name(processes: int) -> str:
    return f"{processes} process" + ("es" if processes > 1 else "")


async def check_each_ran_once(dal: AsyncDAL, workflow_id: str, executions: int) -> None:
    """Raises `AssertionError` unless every execution is there and completed, was never taken
    over, and has each of its steps once: the trigger and those of the chain."""
    found = await dal.fetchval(
        "SELECT count(*) FROM workflow_executions WHERE workflow_id = $1", workflow_id
    )
    amiss = await dal.fetchval(AMISS, workflow_id, STEPS + 1)
    assert (found, amiss) == (executions, 0), f"{found} executions, of which {amiss} are amiss"


async def _together(
    world: World, template: ExecutionContext, executions: int, processes: int
) -> float:
    """Seconds from the word to start until the last process is done."""
    share, flight = executions // processes, IN_FLIGHT // processes
    arguments = (world.dsn, template.workflow_id, str(share), str(flight))
    async with AsyncExitStack() as stack:
        them = [await stack.enter_async_context(_process(arguments)) for _ in range(processes)]
        for one in them:
            await _hear(one, b"ready")
        began = perf_counter()
        for one in them:
            assert one.stdin is not None
            one.stdin.write(b"go\n")
        await asyncio.gather(*(_hear(one, b"done") for one in them))
        return perf_counter() - began


@asynccontextmanager
async def _process(arguments: tuple[str, ...]) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.w8_scale", *arguments, cwd=ROOT, stdin=pipe, stdout=pipe
    )
    try:
        yield process
        await asyncio.wait_for(process.wait(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _hear(process: asyncio.subprocess.Process, word: bytes) -> None:
    assert process.stdout is not None
    said = await asyncio.wait_for(process.stdout.readline(), 120)
    assert said.strip() == word, f"a process said {said!r} instead of {word!r}"


async def _work(dsn: str, workflow_id: str, executions: int, in_flight: int) -> None:
    """One of the processes: waits for the word, then runs its share."""
    async with AsyncDAL(dsn) as dal, engine_on(dal) as (engine, clock):
        world = World(dal, dsn, engine, clock)
        template = world.template(workflow_id)
        await engine.graphs.get(workflow_id, 1)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await run_all(world, template, executions, in_flight)
        print("done", flush=True)


if __name__ == "__main__":
    collector.settle()
    asyncio.run(_work(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
