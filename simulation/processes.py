"""Operating-system processes, on one event loop: frozen and killed as the kernel would do it.

Everything that a process does is a callback of the loop, and every callback carries the context in
which it was scheduled; the context says whose it is. So a frozen process' callbacks can be held
back until it thaws, its timers among them, and a killed one's never run again: no `finally`, no
`except`, no good-bye.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, TypeVar, TypeVarTuple

from simulation.virtual_time import VirtualTimeLoop

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_OWNER: contextvars.ContextVar[Process] = contextvars.ContextVar("owner")


class Lost(Exception):
    """The process that was asked died, or did not answer in time."""


class Life(Enum):
    """Whether a process' callbacks run, are held back, or are dropped."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


class Process:
    """One process. `strike_after(n, do)` lets `do` happen to it just before its n-th callback
    from now, which is to say at any of its awaits."""

    def __init__(self, name: str, loop: ProcessLoop) -> None:
        self.name = name
        self.life = Life.RUNNING
        self.died: asyncio.Future[None] = loop.create_future()
        self.outside = contextvars.copy_context()
        """The context of whatever goes on without the process."""
        self.context = contextvars.copy_context()
        self.context.run(_OWNER.set, self)
        self._loop = loop
        self._held: list[_Gate] = []
        self._left = 0
        self._strike: Callable[[], None] | None = None

    def freeze(self) -> None:
        """Stops it, as SIGSTOP does."""
        if self.life is Life.RUNNING:
            self.life = Life.FROZEN

    def thaw(self) -> None:
        """Lets it go on where it was stopped."""
        if self.life is Life.FROZEN:
            self.life = Life.RUNNING
            held, self._held = self._held, []
            for gate in held:
                gate.again()

    def kill(self) -> None:
        """Ends it, as SIGKILL does."""
        if self.life is not Life.DEAD:
            self.life = Life.DEAD
            self.died.set_result(None)

    def strike_after(self, callbacks: int, do: Callable[[], None]) -> None:
        """See the class."""
        self._left, self._strike = callbacks, do

    def release(self) -> None:
        """Lets even a dead process' callbacks run, so that what is left of it can be cleared
        away."""
        self._strike = None
        if self.life is not Life.RUNNING:
            self.life = Life.FROZEN
            self.thaw()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Starts a task of this process."""
        task = self._loop.create_task(work, context=self.context.copy())
        task.add_done_callback(_forgive)
        return task

    async def ask(self, work: Coroutine[Any, Any, T], patience: float = 30.0) -> T:
        """Lets the process do something, on behalf of somebody outside. Raises `Lost`."""
        if self.life is Life.DEAD:
            work.close()
            raise Lost
        task = self.spawn(work)
        either: list[asyncio.Future[Any]] = [task, self.died]
        await asyncio.wait(either, timeout=patience, return_when="FIRST_COMPLETED")
        if not task.done():
            raise Lost
        return task.result()

    def reached(self, gate: _Gate) -> bool:
        """Whether a callback of this process may run now; keeps it if that is for later."""
        if self._strike is not None and self.life is Life.RUNNING:
            self._left -= 1
            if self._left <= 0:
                strike, self._strike = self._strike, None
                strike()
        if self.life is not Life.RUNNING:
            self._held.append(gate)
        return self.life is Life.RUNNING


class _Gate:
    """A callback of a process."""

    __slots__ = ("arguments", "callback", "context", "handle", "loop", "owner")

    def __init__(
        self, owner: Process, loop: ProcessLoop, callback: Any, context: contextvars.Context
    ) -> None:
        self.owner = owner
        self.loop = loop
        self.callback = callback
        self.context = context
        self.arguments: tuple[Any, ...] = ()
        self.handle: asyncio.Handle

    def __call__(self, *arguments: Any) -> None:
        self.arguments = arguments
        if self.owner.reached(self):
            self.callback(*arguments)

    def again(self) -> None:
        """Runs it in the next turn of the loop, unless it was cancelled meanwhile."""
        self.loop.call_soon(self._unless_cancelled, context=self.context)

    def _unless_cancelled(self) -> None:
        if not self.handle.cancelled():
            self.callback(*self.arguments)


def _forgive(task: asyncio.Task[Any]) -> None:
    """Whoever asked may be gone when the answer is an exception."""
    if not task.cancelled():
        task.exception()


class ProcessLoop(VirtualTimeLoop):
    """A virtual-time loop that knows whose callback is whose. What has no owner is the outside:
    the database, the network, the users."""

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        gate, context = self._gate(callback, context)
        handle = super().call_soon(gate, *args, context=context)
        if isinstance(gate, _Gate):
            gate.handle = handle
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        gate, context = self._gate(callback, context)
        handle = super().call_at(when, gate, *args, context=context)
        if isinstance(gate, _Gate):
            gate.handle = handle
        return handle

    def _gate(
        self, callback: Callable[..., object], context: contextvars.Context | None
    ) -> tuple[Any, contextvars.Context]:
        context = contextvars.copy_context() if context is None else context
        owner = context.get(_OWNER)
        return (callback if owner is None else _Gate(owner, self, callback, context)), context
