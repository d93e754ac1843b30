"""Busy executions take turns."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from engine.pace import SLICE_SECONDS, Pace


class CountingClock:
    """Every look at it costs a third of a slice."""

    def __init__(self) -> None:
        self.looks = 0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        self.looks += 1
        return self.looks * SLICE_SECONDS / 3


async def test_one_slice_of_work_is_done_in_a_turn_of_the_loop_however_many_are_busy() -> None:
    pace = Pace(CountingClock())
    in_this_turn: list[int] = [0]
    most: list[int] = [0]

    async def busy() -> None:
        for _ in range(20):
            while pace.used_up():
                await pace.turn()
            in_this_turn[0] += 1
            most[0] = max(most[0], in_this_turn[0])

    async def turns(done: asyncio.Event) -> None:
        while not done.is_set():
            in_this_turn[0] = 0
            await asyncio.sleep(0)

    done = asyncio.Event()
    watch = asyncio.create_task(turns(done))
    await asyncio.gather(*(busy() for _ in range(30)))
    done.set()
    await watch
    assert most[0] <= 8
