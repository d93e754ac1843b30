"""The values the fold works on: scopes, steps, loops in progress, and what an outcome changed.

`state.py` has the theory. These are plain records: whoever holds the fold may change them, and
nobody else does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from engine.context import Json, JsonObject, StepError
from engine.graph import Node

Phase = Literal["run", "enter", "test", "finish"]

BREAK_PORT = "break"
"""The port recorded for a `loop_break` that broke; no edge leaves from it."""


class Scope:
    """The root of an execution, or one iteration of a loop."""

    __slots__ = (
        "active", "arms", "entry", "gone", "index", "locals", "loop", "parent",
        "prefix", "results", "settled", "tails",
    )  # fmt: skip

    def __init__(
        self, prefix: str, parent: Scope | None, loop: LoopRun | None, index: int, entry: Json
    ) -> None:
        self.prefix = prefix
        self.parent = parent
        self.loop = loop
        self.index = index
        self.entry = entry
        self.locals: JsonObject = {}
        self.settled: dict[int, int] = {}
        self.arms: dict[int, list[int]] = {}
        self.gone: set[int] = set()
        """Nodes that ran, run, or never will in this scope: nothing makes them ready again."""
        self.results: dict[str, JsonObject] = {}
        self.tails: dict[str, Json] = {}
        self.active = 0

    def within(self, outer: Scope) -> bool:
        """Whether this scope is `outer` or lies inside it."""
        scope: Scope | None = self
        while scope is not None:
            if scope is outer:
                return True
            scope = scope.parent
        return False


@dataclass(slots=True, eq=False)
class Step:
    """One node run once in one scope, from ready to settled."""

    key: str
    node: Node
    scope: Scope
    phase: Phase = "run"
    attempt: int = 1
    waiting: bool = False
    wake_at: datetime | None = None
    signal: str | None = None
    intended: bool = False
    """An `at_most_once` effect whose intent is recorded: it must not be tried again."""
    loop: LoopRun | None = None
    parked: JsonObject | None = None
    """What the WAITING record said about the wait."""


def lane_is_full(step: Step, busy: Iterable[Step]) -> bool:
    """Whether a limited `flow_parallel` has as many busy steps as it may beside this one."""
    if not step.node.lanes:
        return False
    taken = [lane for other in busy for lane in other.node.lanes]
    return any(taken.count(lane) >= lane[1] for lane in step.node.lanes)


@dataclass(slots=True, eq=False)
class LoopRun:
    """A loop step between `enter` and `finish`. `items` is None for `loop_while`."""

    step: Step
    items: list[Json] | None
    started: int = 0
    running: int = 0
    broken: bool = False
    testing: bool = False
    """Whether the loop's step is being asked for its next iteration."""
    outputs: dict[int, Json] = field(default_factory=dict)
    last_ran: dict[str, tuple[int, JsonObject]] = field(default_factory=dict)
    """The last iteration in which each node of the body ran, and what it gave there."""

    def keep(self, index: int, results: dict[str, JsonObject]) -> None:
        """Remembers what the nodes of an iteration gave, unless a later one's did already."""
        for node_id, given in results.items():
            held = self.last_ran.get(node_id)
            if held is None or held[0] < index:
                self.last_ran[node_id] = (index, given)

    def last_results(self) -> dict[str, JsonObject]:
        """What `nodes` shows of the body once the loop is over."""
        return {node_id: given for node_id, (_, given) in self.last_ran.items()}

    def result(self) -> Json:
        """What the loop gives: `loop_foreach` its results in item order, `loop_while` a summary."""
        ordered = [self.outputs[i] for i in sorted(self.outputs)]
        if self.items is not None:
            return ordered
        return {"iterations": len(ordered), "last": ordered[-1] if ordered else None}


@dataclass(slots=True)
class Ended:
    """How the execution ended."""

    status: Literal["completed", "failed"]
    output: Json = None
    error: StepError | None = None
    cut_off: frozenset[int] = frozenset()
    """The nodes with a step that a failure cut off."""


@dataclass(slots=True)
class Transition:
    """What one outcome changed: steps now ready, steps made pointless, and perhaps the end."""

    ready: list[Step] = field(default_factory=list)
    cancelled: list[Step] = field(default_factory=list)
    ended: Ended | None = None


def inside(scope: Scope | None, loop: LoopRun) -> bool:
    """Whether the scope is an iteration of this run of the loop, or lies within one."""
    while scope is not None:
        if scope.loop is loop:
            return True
        scope = scope.parent
    return False
