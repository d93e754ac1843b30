"""What all executions of one dry run share: virtual time, real time, and how much there may be.

Its one rule: the clock never waits, it jumps. Whatever will happen is heaped by its time, and when
nobody on the stage has anything left to do, it is the time of the next.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from engine.context import ExecutionContext, JsonObject, Limits
from engine.environment import Impure
from engine.errors import WorkflowTimeoutException
from engine.graph import Graph
from engine.pace import Pace
from engine.ports import Clock

REAL_SECONDS = 20.0
"""How long a dry run may take its callers and the process."""

EXECUTIONS_WORTH = 10
"""How many times `MAX_TOTAL_OPERATIONS` an execution and its sub-workflows may run together."""

Call = Callable[[ExecutionContext, str, JsonObject], Awaitable[tuple[ExecutionContext, Graph]]]
"""Finds the execution that a sub-workflow's step starts: `Callees.call`."""


class Player(Protocol):
    """An execution on the stage."""

    async def advance(self) -> None:
        """Does everything that can be done at this moment."""
        ...

    def cancel(self) -> None:
        """Ends as cancelled."""
        ...


class Stage:
    """The world of one dry run. `now` is virtual; `overdrawn` says why there is too much."""

    def __init__(
        self, impure: Impure, clock: Clock, pace: Pace, call: Call, limits: Limits
    ) -> None:
        self.now = impure.now()
        self.impure = Impure(lambda: self.now, impure.random, impure.uuid)
        self.call = call
        self.overdrawn: tuple[str, str] | None = None
        """The error's type, and its message."""
        self._clock = clock
        self._pace = pace
        self._real_deadline = clock.monotonic() + REAL_SECONDS
        self._limits = limits
        self._operations = 0
        self._bytes = 0
        self._due: list[tuple[datetime, int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._playing: dict[Player, None] = {}
        self._awake: deque[Player] = deque()

    @property
    def empty(self) -> bool:
        """Whether everybody has left."""
        return not self._playing

    def enter(self, player: Player) -> None:
        """Somebody begins."""
        self._playing[player] = None
        self.wake(player)

    def leave(self, player: Player) -> None:
        """Somebody is through."""
        self._playing.pop(player, None)

    def clear(self) -> None:
        """Everybody has to leave, those who came last first."""
        for player in reversed(list(self._playing)):
            player.cancel()

    def wake(self, player: Player) -> None:
        """Somebody has something to do now."""
        if player in self._playing and player not in self._awake:
            self._awake.append(player)

    def at(self, moment: datetime, happens: Callable[[], None], *, last: bool = False) -> None:
        """Something happens at a moment, in the order in which it was said; `last`: after
        everything else of that moment."""
        heapq.heappush(self._due, (moment, int(last), next(self._order), happens))

    async def play(self) -> None:
        """Everybody does what can be done at this moment."""
        while self._awake and self.overdrawn is None:
            await self._awake.popleft().advance()

    def jump(self) -> None:
        """Moves the clock to the next thing that is due, and lets it happen."""
        self.now, _, _, happens = heapq.heappop(self._due)
        happens()

    async def breathe(self) -> None:
        """Lets the rest of the process have its turn. Raises `WorkflowTimeoutException` when the
        dry run has taken too long in real time."""
        if not self._pace.used_up():
            return
        await self._pace.turn()
        if self._clock.monotonic() > self._real_deadline:
            raise WorkflowTimeoutException(
                f"Trying the workflow took longer than {REAL_SECONDS:g} s of real time."
            )

    def spend(self, operations: int, recorded: int) -> None:
        """Counts steps that are to run and bytes that were recorded, of whatever execution."""
        self._operations += operations
        self._bytes += recorded
        most, most_bytes = self._limits.max_total_operations, self._limits.max_execution_bytes
        if self._operations > EXECUTIONS_WORTH * most:
            self.overdrawn = (
                "OPERATION_LIMIT_EXCEEDED",
                f"The workflow and its sub-workflows would run more than "
                f"{EXECUTIONS_WORTH * most} steps ({EXECUTIONS_WORTH} times MAX_TOTAL_OPERATIONS), "
                "the most a dry run may; mock a sub-workflow.",
            )
        elif self._bytes > most_bytes:
            self.overdrawn = (
                "EXECUTION_TOO_LARGE",
                f"The steps of the workflow and its sub-workflows recorded more than {most_bytes} "
                "bytes of JSON in all (MAX_EXECUTION_BYTES); mock a sub-workflow.",
            )
