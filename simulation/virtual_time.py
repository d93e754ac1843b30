"""An event loop whose time is virtual: waiting costs nothing, and nothing is ever waited for.

Whenever the loop would block until a timer, its clock jumps there instead. A loop that would wait
for ever (no timer, nothing ready) is a deadlock and says so. For code without real I/O.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class _JumpingSelector(selectors.DefaultSelector):
    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("deadlock: nothing is ready and no timer is set")
        if timeout > 0:
            self.loop.virtual_now += timeout
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, from 0."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self.virtual_now = 0.0
        super().__init__(selector)

    def time(self) -> float:
        return self.virtual_now


class VirtualClock:
    """The `Clock` of the running virtual-time loop."""

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def hear(self, told: datetime, asked: float) -> None:
        """There is one time for everybody."""


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
