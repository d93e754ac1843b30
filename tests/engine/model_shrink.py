"""Makes a document that fails smaller, as long as it fails.

Its one rule: a smaller document counts only if it is valid and the engine and the model still
disagree about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import replace

from engine.context import JsonObject
from tests.engine.model_harness import Case
from tests.engine.model_values import Disagreement
from tests.engine.model_ways import examine

Fails = Callable[[Case], bool]
EXTRAS = ("retry", "continue_on_error", "effect", "enabled", "timeout_seconds")


def disagrees(case: Case, ways: Iterable[str]) -> bool:
    """Whether the engine and the model disagree about this case."""
    try:
        examine(case, ways)
    except Disagreement:
        return True
    return False


def shrink(case: Case, fails: Fails) -> Case:
    """The smallest case found that still fails."""
    going_on = True
    while going_on:
        going_on = False
        for raw in _smaller(case.raw, case.trigger):
            smaller = _attempt(case, raw)
            if smaller is not None and fails(smaller):
                case, going_on = smaller, True
                break
    return case


def _attempt(case: Case, raw: JsonObject) -> Case | None:
    try:
        return replace(case, raw=raw)
    except AssertionError:
        return None  # It is not valid any more.


def _smaller(raw: JsonObject, trigger: str) -> Iterator[JsonObject]:
    """Documents with one thing less."""
    for node_id in raw["nodes"]:
        if node_id != trigger:
            yield _without_node(raw, node_id)
    for number in range(len(raw["connections"])):
        smaller = deepcopy(raw)
        del smaller["connections"][number]
        yield smaller
    for number, edge in enumerate(raw["connections"]):
        for name in edge.keys() & {"conditional", "enabled"}:
            smaller = deepcopy(raw)
            del smaller["connections"][number][name]
            yield smaller
    for node_id, node in raw["nodes"].items():
        for name in node.keys() & set(EXTRAS):
            smaller = deepcopy(raw)
            del smaller["nodes"][node_id][name]
            yield smaller
        for name in node["config"]:
            smaller = deepcopy(raw)
            del smaller["nodes"][node_id]["config"][name]
            yield smaller


def _without_node(raw: JsonObject, node_id: str) -> JsonObject:
    smaller = deepcopy(raw)
    del smaller["nodes"][node_id]
    smaller["connections"] = [
        edge
        for edge in smaller["connections"]
        if node_id not in (edge["from_node_id"], edge["to_node_id"])
    ]
    return smaller
