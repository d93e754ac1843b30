"""PgQueuer: a queue on PostgreSQL without steps, as the yardstick of how fast rows go through one.

W1 is one job, from enqueueing to the commit and to its run; W2 are jobs enqueued together, and
the rate at which one worker takes, runs and logs them until the queue is empty.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from importlib.metadata import version
from time import perf_counter

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from bench.peers.conversation import PAYLOAD, converse, middles

BODY = json.dumps(PAYLOAD).encode()
TOGETHER = 100


async def single(dsn: str, queries: Queries, number: int) -> list[float]:
    """Jobs one by one, with a worker that waits for them."""
    ran = asyncio.Event()
    worker = PgQueuer(AsyncpgDriver(await asyncpg.connect(dsn)))

    @worker.entrypoint("single")
    async def run(job: Job) -> None:
        ran.set()

    async def one() -> list[float]:
        ran.clear()
        began = perf_counter()
        await queries.enqueue("single", BODY)
        accepted = perf_counter()
        await ran.wait()
        return [1000 * (accepted - began), 1000 * (perf_counter() - began)]

    working = asyncio.create_task(worker.run(batch_size=1))
    try:
        return await middles(number, one)
    finally:
        worker.shutdown.set()
        await working


async def many(dsn: str, queries: Queries, number: int) -> list[float]:
    """Jobs a second."""
    await queries.enqueue(["many"] * number, [BODY] * number, [0] * number)
    worker = PgQueuer(AsyncpgDriver(await asyncpg.connect(dsn)))

    @worker.entrypoint("many")
    async def run(job: Job) -> None:
        json.loads(job.payload or b"")

    began = perf_counter()
    await worker.qm.run(timedelta(seconds=1), batch_size=TOGETHER, mode=QueueExecutionMode.drain)
    return [number / (perf_counter() - began)]


async def main(dsn: str) -> None:
    queries = Queries(AsyncpgDriver(await asyncpg.connect(dsn)))
    await queries.install()
    workloads = {
        "w1": lambda number: single(dsn, queries, number),
        "w2": lambda number: many(dsn, queries, number),
    }
    await converse(workloads, {"pgqueuer": version("pgqueuer")})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
