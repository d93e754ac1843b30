"""The names that a workflow's expressions read, and who gives which.

The one rule: names only. Whether a name can be read where it is read is `static_scope`'s question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.context import RESERVED_NAMES, JsonObject
from engine.nodes import REGISTRY
from engine.nodes.checks import keys_of
from engine.regions import LOOP_TYPES

Moment = Literal["run", "turn", "leave"]
"""When an expression is evaluated: as its node runs, before each of its loop's iterations, or as
the node leaves by a connection."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A free name in an expression: its dotted path, where it stands, the node it belongs to, the
    names only that field knows, and the name that the expression's value is given to."""

    path: tuple[str, ...]
    place: str
    node_id: str
    locals: tuple[str, ...] = ()
    target: str | None = None
    moment: Moment = "run"


def variables_set(node: JsonObject) -> tuple[str, ...]:
    """The variables a canonical node writes for the whole execution."""
    spec = REGISTRY.get(node["node_type"])
    return () if spec is None else spec.sets(node["config"])


def locals_set(node: JsonObject) -> tuple[str, ...]:
    """The variables a canonical node writes for the iteration it runs in."""
    if node["node_type"] != "data_variable_set" or node["config"].get("scope") != "local":
        return ()
    return keys_of(node["config"].get("variables"))


def iteration_names(node: JsonObject) -> tuple[str, ...]:
    """The names a loop node gives each of its iterations."""
    if node["node_type"] not in LOOP_TYPES:
        return ()
    named = ["item_variable"] if node["node_type"] == "loop_foreach" else []
    config, given = node["config"], []
    for key in (*named, "index_variable"):
        name = config.get(key)
        given.append(name if isinstance(name, str) and name else key.removesuffix("_variable"))
    return tuple(given)


class Names:
    """Who gives which name in one document."""

    def __init__(self, document: JsonObject) -> None:
        self.nodes: dict[str, JsonObject] = document["nodes"]
        self.always = frozenset([*document["global_variables"], *RESERVED_NAMES])
        self.writers: dict[str, dict[str, None]] = {}
        self.locals: dict[str, dict[str, None]] = {}
        self.loops: dict[str, dict[str, None]] = {}
        for node_id, node in self.nodes.items():
            for names, given in (
                (self.writers, variables_set(node)),
                (self.locals, locals_set(node)),
                (self.loops, iteration_names(node)),
            ):
                for name in given:
                    names.setdefault(name, {})[node_id] = None
        self.setters = {
            name: (*self.writers.get(name, ()), *self.locals.get(name, ()))
            for name in (*self.writers, *self.locals)
        }
        """The nodes that set a variable, for the execution or for their iteration."""
        self.silent = {n for n, ids in self.setters.items() if not any(map(self.enabled, ids))}
        """Variables that only disabled nodes set."""
        self.all = tuple(dict.fromkeys([*self.always, *self.setters, *self.loops]))
        self._keys: dict[str, dict[str, int]] = {}

    def enabled(self, node_id: str) -> bool:
        return self.nodes[node_id]["enabled"] is True

    def lag(self, mention: Mention) -> int:
        """Where the transformation that gives the mentioned name stands, seen from the one that
        reads it: negative before it, positive after it, 0 for itself or no such one."""
        if mention.target is None:
            return 0
        keys = self._keys.get(mention.node_id)
        if keys is None:
            given = keys_of(self.nodes[mention.node_id]["config"].get("transformations"))
            keys = self._keys[mention.node_id] = {name: i for i, name in enumerate(given)}
        here = keys[mention.target]
        return keys.get(mention.path[0], here) - here
