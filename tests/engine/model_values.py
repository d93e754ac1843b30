"""What the model speaks of: scopes, what became of a node, what came of it all.

Plain values, shared with none of the engine's; see `model.py`, which acts on them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from engine.context import Json, JsonObject

Effect = Callable[[str, str], Json]
"""What an action gives, by its node id and step key. Raises `Failing`."""


class Failing(Exception):
    """A step cannot do its work."""

    def __init__(self, kind: str, *, fatal: bool = False) -> None:
        super().__init__(kind)
        self.kind = kind
        self.fatal = fatal


class Unclear(Exception):
    """What happens next depends on who is faster."""


@dataclass(frozen=True)
class Failure:
    """A failure that no node around it took. It is `alone` if no order of steps could have had
    anything else run, or not run, beside it."""

    node_id: str
    step_key: str
    fatal: bool
    alone: bool = True


@dataclass
class Ran:
    """What became of a node that was not skipped. An `open` one never chose a port: it failed,
    broke its loop or terminated, or (not `started`) waits for ever behind one that did."""

    output: Json = None
    port: str = "output"
    failed: bool = False
    open: bool = False
    started: bool = True


@dataclass
class Scope:
    """One iteration of a loop, or the whole execution (no parent)."""

    nodes: list[str]
    prefix: str = ""
    parent: Scope | None = None
    locals: JsonObject = field(default_factory=dict)
    entry_input: Json = None
    settled: dict[str, Ran | None] = field(default_factory=dict)
    shown: dict[str, JsonObject] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    broke: str | None = None


@dataclass
class Meaning:
    """What the page says must come of an execution. After a failure `steps` is what may have run,
    `certain` what must have; otherwise they are the same."""

    status: str = "completed"
    final_output: Json = None
    variables: JsonObject = field(default_factory=dict)
    racy: set[str] = field(default_factory=set)
    """Variables that concurrent iterations write: who was last is anybody's guess."""
    steps: dict[str, Ran] = field(default_factory=dict)
    certain: set[str] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    inputs: JsonObject = field(default_factory=dict)
    """What each action was given, by step key."""
    unclear: bool = False


class Names:
    """What an expression sees: iteration variables from the inside out, then the rest."""

    def __init__(self, variables: JsonObject, scope: Scope, reserved: JsonObject) -> None:
        self._variables = variables
        self._scope = scope
        self._reserved = reserved

    def _chain(self) -> Iterator[Scope]:
        scope: Scope | None = self._scope
        while scope is not None:
            yield scope
            scope = scope.parent

    def lookup(self, name: str) -> Json:
        if name in self._reserved:
            return self._reserved[name]
        for scope in self._chain():
            if name in scope.locals:
                return scope.locals[name]
        return self._variables[name]

    def names(self) -> Iterable[str]:
        return self._variables

    def node(self, node_id: str) -> Json:
        for scope in self._chain():
            if node_id in scope.shown:
                return scope.shown[node_id]
        raise KeyError(node_id)

    def node_ids(self) -> Iterable[str]:
        return [node_id for scope in self._chain() for node_id in scope.shown]

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def random(self) -> float:
        return random.random()

    def uuid(self) -> str:
        raise NotImplementedError


def chooses(port: str, edge: JsonObject) -> bool:
    """Whether this port, or `*`, which is every port for a result, is the one of the edge."""
    return edge["from_port_name"] == port or (port == "*" and edge["from_port_name"] != "error")


def canonical_errors(value: Any) -> Any:
    """The value with only the place of each error in it: its words are the engine's own."""
    if isinstance(value, dict):
        if {"node_id", "step_key", "message", "type"} <= value.keys():
            return {"node_id": value["node_id"], "step_key": value["step_key"]}
        return {name: canonical_errors(one) for name, one in value.items()}
    if isinstance(value, list):
        return [canonical_errors(one) for one in value]
    return value
