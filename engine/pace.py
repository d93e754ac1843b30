"""Sharing the event loop: executions with much to compute take turns, one slice each.

Pure steps run inline, so without this a process with many busy executions would answer nobody
until all of them were through. A slice is a few milliseconds for all executions of one turn of the
loop together; whoever finds it used up queues for a turn of its own.
"""

from __future__ import annotations

import asyncio

from engine.ports import Clock

SLICE_SECONDS = 0.005


class Pace:
    """One process's slices. In virtual time, which computing does not move, nobody ever waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began: float | None = None
        self._line = asyncio.Lock()

    def used_up(self) -> bool:
        """Whether the executions that ran in this turn of the loop have used its slice up."""
        now = self._clock.monotonic()
        if self._began is None:
            self._began = now
            asyncio.get_running_loop().call_soon(self._new_turn)
            return False
        return now - self._began > SLICE_SECONDS

    async def turn(self) -> None:
        """Waits for a turn of the loop that no other waiting execution has."""
        async with self._line:
            await asyncio.sleep(0)

    def _new_turn(self) -> None:
        self._began = None
