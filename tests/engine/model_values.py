"""What the model speaks of: scopes, loops that run, what became of a node, how it all ended.

Plain values, shared with none of the engine's; see `model.py`, which acts on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.engine.model_expressions import Nodes

Json = Any
JsonObject = dict[str, Any]

Effect = Callable[[str, str, int], Json]
"""What an attempt of an action gives, by node id, step key and number. Raises `Failing`."""


class Failing(Exception):
    """A step cannot do its work."""

    def __init__(self, kind: str, *, fatal: bool = False, retryable: bool = False) -> None:
        super().__init__(kind)
        self.kind = kind
        self.fatal = fatal
        self.retryable = retryable


class Disagreement(AssertionError):
    """What happened is not what the rules say."""


@dataclass(frozen=True)
class Failure:
    """Why a step failed."""

    kind: str
    node_id: str
    step_key: str
    attempts: int = 1
    fatal: bool = False

    def payload(self) -> JsonObject:
        """What an `error` port hands on; the words are the engine's own."""
        return {
            "message": "?",
            "type": self.kind,
            "node_id": self.node_id,
            "step_key": self.step_key,
            "attempts": self.attempts,
        }


@dataclass
class Ran:
    """What a node gave that ran to its end, and when: `moment` numbers what happened. Without a
    port its connections stay open: it broke its loop, or nobody took its failure."""

    moment: int
    output: Json = None
    port: str | None = "output"
    variables: JsonObject = field(default_factory=dict)
    local: JsonObject = field(default_factory=dict)
    failure: Failure | None = None
    dead: set[int] = field(default_factory=set)
    """The connections whose `conditional` was false."""
    broke: bool = False
    attempt: int = 1


@dataclass(eq=False)
class Scope:
    """One iteration of a loop, or the whole execution (no loop)."""

    nodes: list[str]
    prefix: str = ""
    run: LoopRun | None = None
    index: int = -1
    entry: Json = None
    locals: JsonObject = field(default_factory=dict)
    ran: dict[str, Ran] = field(default_factory=dict)
    loops: dict[str, LoopRun] = field(default_factory=dict)
    shown: dict[str, JsonObject] = field(default_factory=dict)
    """What `nodes` shows of each node, those in the bodies of loops that are over included."""
    dead: set[int] = field(default_factory=set)
    """The connections into this iteration whose `conditional` was false."""
    over: bool = False

    def chain(self) -> Iterator[Scope]:
        """This scope and those around it, from the inside out."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.run.scope if scope.run is not None else None


@dataclass(eq=False)
class LoopRun:
    """A loop that has been entered, in one scope. `items` is None for `loop_while`."""

    node_id: str
    scope: Scope
    items: list[Json] | None
    iterations: list[Scope] = field(default_factory=list)
    results: dict[int, Json] = field(default_factory=dict)
    broken: bool = False

    def running(self) -> list[Scope]:
        """The iterations that are not over."""
        return [iteration for iteration in self.iterations if not iteration.over]

    def last_shown(self) -> JsonObject:
        """What `nodes` shows of the body: of each node, its last iteration that came to its end."""
        shown: JsonObject = {}
        for iteration in self.iterations:
            if iteration.over and iteration.index in self.results:
                shown.update(iteration.shown)
        return shown

    def result(self) -> Json:
        """What the loop gives once it is over."""
        ordered = [self.results[index] for index in sorted(self.results)]
        if self.items is not None:
            return ordered
        return {"iterations": len(ordered), "last": ordered[-1] if ordered else None}


@dataclass(frozen=True)
class Ended:
    """How the execution ended."""

    status: str
    output: Json = None
    failure: Failure | None = None


class Sight:
    """What an expression of a step sees: what it was given, iteration variables from the inside
    out, the execution's variables. `own` is what it sees besides, before all else."""

    def __init__(self, scope: Scope, variables: JsonObject, own: JsonObject) -> None:
        self._scope = scope
        self._variables = variables
        self._own = own

    def with_own(self, **names: Json) -> Sight:
        """The same with more of its own."""
        return Sight(self._scope, self._variables, {**self._own, **names})

    def lookup(self, name: str) -> Json:
        if name in self._own:
            return self._own[name]
        if name == "nodes":
            return Nodes(self.node)
        for scope in self._scope.chain():
            if name in scope.locals:
                return scope.locals[name]
        return self._variables[name]

    def node(self, node_id: str) -> Json:
        """What `nodes.<node_id>` shows. Raises `KeyError`."""
        if node_id == self._own.get("  node"):
            return self._own["  shown"]
        if node_id in self._own.get("  body", {}):
            return self._own["  body"][node_id]
        for scope in self._scope.chain():
            if node_id in scope.shown:
                return scope.shown[node_id]
        raise KeyError(node_id)


def wordless(value: Any) -> Any:
    """The value without the words of each error in it: they are the engine's own."""
    if isinstance(value, dict):
        if {"node_id", "step_key", "message", "type"} <= value.keys():
            value = {name: part for name, part in value.items() if name != "details"}
            value["message"] = "?"
        return {name: wordless(one) for name, one in value.items()}
    if isinstance(value, list):
        return [wordless(one) for one in value]
    return value
