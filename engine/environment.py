"""What the expressions of a step can see.

Names resolve in this order: the reserved ones, iteration variables from the innermost scope
outwards, the execution's variables. Time, randomness and ids are functions handed in, so that the
fold and its users stay free of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from engine.context import ExecutionContext, Json, JsonObject
from engine.moments import rfc3339
from engine.scopes import Scope, Step
from engine.state import ExecutionState


@dataclass(frozen=True, slots=True)
class Impure:
    """What a pure engine must be given: the time (aware, UTC), a float in [0, 1), a new UUID."""

    now: Callable[[], datetime]
    random: Callable[[], float]
    uuid: Callable[[], str]


def execution_object(context: ExecutionContext, started_at: datetime) -> JsonObject:
    """The reserved name `execution`."""
    return {
        "id": context.execution_id,
        "workflow_id": context.workflow_id,
        "workflow_version": context.workflow_version,
        "community_id": context.community_id,
        "entity_id": context.entity_id,
        "user_id": context.user_id,
        "session_id": context.session_id,
        "platform": context.platform,
        "trigger_source": context.trigger_source,
        "started_at": rfc3339(started_at),
    }


def trigger_object(context: ExecutionContext) -> JsonObject:
    """The reserved name `trigger`: the payload's fields overlaid with the metadata's, and both
    whole as `payload` and `metadata`."""
    payload = context.metadata.get("payload", context.variables)
    fields = payload if isinstance(payload, dict) else {}
    return {**fields, **context.metadata, "payload": payload, "metadata": context.metadata}


class StepEnv:
    """An `Env` for one step. `after` overlays what the step itself gave, and `own` its entry in
    `nodes`, for the `conditional` of its outgoing edges; `body` is what the nodes of a loop's body
    gave last, for the conditions of the loop itself."""

    __slots__ = (
        "_impure", "_reserved", "_state", "_step", "after", "body", "now", "own", "random", "uuid",
    )  # fmt: skip

    def __init__(
        self, state: ExecutionState, step: Step, reserved: JsonObject, impure: Impure
    ) -> None:
        self._state = state
        self._step = step
        self._reserved = reserved
        self._impure = impure
        self.after: JsonObject | None = None
        self.own: JsonObject | None = None
        self.body: dict[str, JsonObject] | None = None
        self.now = impure.now
        self.random = impure.random
        self.uuid = impure.uuid

    def lookup(self, name: str) -> Json:
        """The value of a root name. Raises `KeyError`."""
        if self.after is not None and name in self.after:
            return self.after[name]
        if name == "input":
            return self._state.input_of(self._step)
        if name in self._reserved:
            return self._reserved[name]
        if name == "nodes":
            return {node_id: self.node(node_id) for node_id in self.node_ids()}
        scope: Scope | None = self._step.scope
        while scope is not None:
            if name in scope.locals:
                return scope.locals[name]
            scope = scope.parent
        return self._state.variables[name]

    def names(self) -> Iterable[str]:
        """Every root name, for hints."""
        yield from ("input", "nodes", *self._reserved)
        for scope in self._scopes():
            yield from scope.locals
        yield from self._state.variables

    def node(self, node_id: str) -> Json:
        """`{"output", "port", "error"}` of a node that ran, the current iteration first. Raises
        `KeyError`."""
        if self.own is not None and node_id == self._step.node.node_id:
            return self.own
        if self.body is not None and node_id in self.body:
            return self.body[node_id]
        for scope in self._scopes():
            if node_id in scope.results:
                return scope.results[node_id]
        raise KeyError(node_id)

    def node_ids(self) -> Iterable[str]:
        """The nodes that ran, as seen from here."""
        seen: dict[str, None] = {}
        if self.own is not None:
            seen[self._step.node.node_id] = None
        seen.update(dict.fromkeys(self.body or ()))
        for scope in self._scopes():
            seen.update(dict.fromkeys(scope.results))
        return seen

    def arms(self) -> JsonObject:
        """`{node_id: output}` of the live predecessors, for `flow_merge`."""
        return self._state.arms_of(self._step)

    def _scopes(self) -> Iterator[Scope]:
        scope: Scope | None = self._step.scope
        while scope is not None:
            yield scope
            scope = scope.parent
