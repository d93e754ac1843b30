"""A process's leaving: when it was told to, and how much of its grace time is left.

Its one rule: there is one departure, and everything that leaves goes by it: the HTTP server, which
goes first, and the engine. So the grace time is one stretch of time from the first word on, however
many parts share it; a second word ends it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from engine.ports import Clock


class Departure:
    """Begins once. `grace_seconds` is how long what is on its way may go on."""

    def __init__(self, clock: Clock, grace_seconds: float) -> None:
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._over_at: float | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def begun(self) -> bool:
        """Whether the process was told to stop."""
        return self._over_at is not None

    def begin(self) -> None:
        """The process was told to stop. Said again it changes nothing."""
        if self._over_at is None:
            self._over_at = self._clock.monotonic() + self._grace_seconds
            self._wake()

    def hurry(self) -> None:
        """The grace time is over."""
        self._over_at = self._clock.monotonic()
        self._wake()

    def left(self) -> float:
        """How many seconds of the grace time are left: all of them, until it has begun."""
        if self._over_at is None:
            return self._grace_seconds
        return max(0.0, self._over_at - self._clock.monotonic())

    async def wait(self, *awaited: asyncio.Future[Any], seconds: float | None = None) -> None:
        """Returns when one of the awaited is done, when the departure begins or is hurried, or
        after `seconds`. Cancels nothing."""
        word: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(word)
        try:
            await asyncio.wait(
                [word, *awaited], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self._waiting.discard(word)

    async def settle(self, *awaited: asyncio.Future[Any]) -> None:
        """Returns when all of the awaited are done, or the grace time is over."""
        everything = asyncio.gather(*awaited, return_exceptions=True)
        while not everything.done() and (left := self.left()) > 0:
            await self.wait(everything, seconds=left)

    def _wake(self) -> None:
        for word in self._waiting:
            if not word.done():
                word.set_result(None)


async def end(tasks: list[asyncio.Task[None]], seconds: float) -> None:
    """Waits for tasks that were told to end; cancels those that do not within `seconds`."""
    if not tasks:
        return
    _, stuck = await asyncio.wait(tasks, timeout=seconds)
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
