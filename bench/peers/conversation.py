"""How a peer's program is asked for figures: a line in names a workload, a line out is its value.

Only the standard library, for it runs where nothing of ours is installed. What a peer prints
itself goes to standard error, so that no line of it is taken for an answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

IN_FLIGHT = 64
PAYLOAD = {"user": "ada_lovelace", "text": "x" * 130, "tier": "gold", "count": 12, "vip": True}
"""What goes in and out of every step: the same as `bench.world.PAYLOAD`."""

Payload = dict[str, Any]
Workload = Callable[[int], Awaitable[list[float]]]


async def converse(workloads: Mapping[str, Workload], versions: dict[str, str]) -> None:
    """Says what versions it has, then answers until the input ends: a line holds the name of a
    workload and how much of it to do, the answer is a list of numbers or why there is none."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps(versions), file=out)
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, number = line.split()
        try:
            values = await workloads[name](int(number))
        except Exception as error:
            traceback.print_exc()
            print(json.dumps(f"{type(error).__name__}: {error}"), file=out)
        else:
            print(json.dumps(values), file=out)


async def at_once(
    number: int, one: Callable[[], Awaitable[object]], in_flight: int = IN_FLIGHT
) -> list[float]:
    """How many a second, of so many, some at a time."""
    remaining = iter(range(number))

    async def client() -> None:
        for _ in remaining:
            await one()

    began = perf_counter()
    await asyncio.gather(*(client() for _ in range(in_flight)))
    return [number / (perf_counter() - began)]


async def milliseconds(work: Awaitable[object]) -> list[float]:
    """How long awaiting takes."""
    began = perf_counter()
    await work
    return [1000 * (perf_counter() - began)]


async def middles(number: int, one: Callable[[], Awaitable[list[float]]]) -> list[float]:
    """The median of each of the numbers that doing it so often gives."""
    taken = [await one() for _ in range(number)]
    return [median(column) for column in zip(*taken, strict=True)]
