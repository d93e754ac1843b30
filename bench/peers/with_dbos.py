"""DBOS Transact: workflows of asynchronous steps in this process, recorded in PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from time import perf_counter

from dbos import DBOS

from bench.peers.conversation import PAYLOAD, Payload, at_once, converse, middles, milliseconds


@DBOS.step()
async def step(given: Payload) -> Payload:
    return dict(given)


@DBOS.workflow()
async def chain(given: Payload, steps: int) -> Payload:
    for _ in range(steps):
        given = await step(given)
    return given


@DBOS.workflow()
async def fan(given: Payload, width: int) -> int:
    return len(await asyncio.gather(*(step(given) for _ in range(width))))


async def one() -> list[float]:
    began = perf_counter()
    handle = await DBOS.start_workflow_async(chain, PAYLOAD, 1)
    accepted = perf_counter()
    await handle.get_result()
    return [1000 * (accepted - began), 1000 * (perf_counter() - began)]


async def ten() -> None:
    handle = await DBOS.start_workflow_async(chain, PAYLOAD, 10)
    await handle.get_result()


async def main(dsn: str) -> None:
    DBOS(config={"name": "bench", "system_database_url": dsn, "log_level": "ERROR"})
    DBOS.launch()
    workloads = {
        "w1": lambda number: middles(number, one),
        "w2": lambda number: at_once(number, ten),
        "w3": lambda steps: milliseconds(chain(PAYLOAD, steps)),
        "w4": lambda width: milliseconds(fan(PAYLOAD, width)),
    }
    await converse(workloads, {"dbos": version("dbos")})
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
