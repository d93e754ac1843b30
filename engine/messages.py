"""What a running execution is told, where that waits for it, and what it says when it stops."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum

from engine.context import ExecutionContext, JsonObject
from engine.effects import Finished
from engine.graph import Graph
from engine.records import Letter
from engine.scopes import Step


class Exit(Enum):
    """Why a runner stopped. `DROPPED`: the process gave the execution up without a word, because
    its lease is lost or it shuts down. `LEFT`: it handed it over, between two steps."""

    ENDED = "ended"
    PARKED = "parked"
    DROPPED = "dropped"
    LEFT = "left"


class Request(Enum):
    """What somebody may ask of a running execution. `LEAVE`: let what runs finish, start nothing
    more, and go; another process goes on with it. `PAUSE`: the same, and nobody goes on with it
    until somebody resumes it; `RESUME` takes a pause back."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    TIME_OUT = "time_out"
    DROP = "drop"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Wake:
    """A step's wait is over."""

    step: Step


@dataclass(frozen=True, slots=True)
class Delivery:
    """Letters have come; some of them may be known."""

    letters: list[Letter]


@dataclass(frozen=True, slots=True)
class Called:
    """Which execution a sub-workflow's step may start: `context` on `graph`."""

    step: Step
    given: JsonObject
    context: ExecutionContext
    graph: Graph


Message = Request | Wake | Finished | Delivery | Called


class Inbox:
    """What tasks, timers and callers have to say to one execution, in order. One reader."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._awake: asyncio.Future[None] | None = None

    def __bool__(self) -> bool:
        return bool(self._messages)

    def post(self, message: Message) -> None:
        """Leaves a message and wakes the reader."""
        self._messages.append(message)
        if self._awake is not None and not self._awake.done():
            self._awake.set_result(None)

    def take(self) -> Message:
        """The oldest message. Raises `IndexError` if there is none."""
        return self._messages.pop(0)

    async def filled(self) -> None:
        """Returns when there is something to take."""
        if not self._messages:
            self._awake = asyncio.get_running_loop().create_future()
            await self._awake
            self._awake = None
