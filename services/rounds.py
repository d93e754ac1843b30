"""The loop of a background service: one round after another, until it is told to stop.

Its one rule: nothing ends it but `stop`. A database that is away is said once and when it is over,
a bug with its traceback, and the next round comes after `retry_seconds`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from engine.errors import OutcomeUnknown, StoreUnavailable
from services.aaa_log import AaaLog

Round = Callable[[], Awaitable[float]]
"""Does what is to be done now; how many seconds may pass until the next round."""


class Rounds:
    """Rounds that begin with `start`; `action` is what the log calls them. `awake` ends the pause
    between two of them; it is cleared when a round begins."""

    def __init__(self, lines: AaaLog, action: str, round_: Round, *, retry_seconds: float) -> None:
        self.awake = asyncio.Event()
        self._lines = lines
        self._action = action
        self._round = round_
        self._retry_seconds = retry_seconds
        self._stopping = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    @property
    def stopping(self) -> bool:
        """Whether a round should come to its end."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Begins, with a round at once."""
        self._loop = asyncio.create_task(self._run(), name=self._action)

    async def stop(self, timeout_seconds: float, besides: Iterable[asyncio.Task[Any]] = ()) -> None:
        """Ends after the round under way and then the tasks `besides`, also those that the round
        has still begun, waiting at most `timeout_seconds`; what is left is cancelled."""
        self._stopping.set()
        self.awake.set()
        loop, self._loop = self._loop, None
        if loop is None:
            return
        clock = asyncio.get_running_loop().time
        until = clock() + timeout_seconds
        # Before those besides: the round under way may still begin some.
        await asyncio.wait({loop}, timeout=timeout_seconds)
        _, pending = await asyncio.wait({loop, *besides}, timeout=max(until - clock(), 0.0))
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)

    async def pause(self, seconds: float) -> None:
        """Waits in the middle of a round, but not once told to stop."""
        await elapse(self._stopping, seconds)

    async def _run(self) -> None:
        while not self.stopping:
            self.awake.clear()
            try:
                seconds = await self._round()
                self._lines.over(self._action)
            except (StoreUnavailable, OutcomeUnknown) as error:
                self._lines.trouble(self._action, cause=error)
                seconds = self._retry_seconds
            except Exception as error:  # the edge of a background loop: it must not end
                self._lines.error(self._action, cause=error)
                seconds = self._retry_seconds
            await elapse(self.awake, seconds)


async def elapse(event: asyncio.Event, seconds: float) -> None:
    """Waits so long, or until the event is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
