"""W9: a service with nothing to do: what it uses, and how often it asks the database.

The service is a real one, `python -m app` in a process of its own, and its statements are counted
on their way to PostgreSQL.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

from bench.measure import Figure
from bench.relay import relay
from bench.service import service
from bench.w6_parked import FULL, MIB, QUICK, Size, database
from bench.world import World

MINUTE = replace(FULL, watch_seconds=60)
SHORT = replace(QUICK, watch_seconds=10)


async def run(world: World, size: Size) -> list[Figure]:
    """CPU, memory and statements a second of a service that was left alone."""
    await database(world, "w9_idle")
    async with relay(world.dsn) as between, service(between.dsn("w9_idle")) as idle:
        await idle.cost(size.settle_seconds, 0.01)  # until the start has settled
        began, before = perf_counter(), between.statements
        cost = await idle.cost(0, size.watch_seconds)
        asked = (between.statements - before) / (perf_counter() - began)
    what = f"{size.watch_seconds:g} s of nothing"
    return [
        Figure("W9", f"{what}, CPU", " %", [cost.share * 100], "<= 0.5 %"),
        Figure("W9", f"{what}, memory", " MiB", [cost.resident / MIB], "<= 120 MiB"),
        Figure("W9", f"{what}, statements a second", "", [asked], "<= 2"),
    ]
