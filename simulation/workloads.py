"""The workflows whose every crash point is tried."""

from __future__ import annotations

from typing import Any

from engine.context import JsonObject
from simulation.authors import CHILDREN, ERROR_WORKFLOW, Draft


def _node(node_type: str, **fields: Any) -> JsonObject:
    config = fields.pop("config", {})
    return {"node_type": node_type, "config": config, **fields}


def _call(name: str, **fields: Any) -> JsonObject:
    config = {"module_name": name, "action": "go", "input": {"seen": "{{ input }}"}}
    return _node("action_module", config=config, **fields)


def _rest(seconds: float) -> JsonObject:
    return _node("action_delay", config={"delay_seconds": seconds})


def _child(which: int, **config: Any) -> JsonObject:
    return _node("flow_subworkflow", config={"workflow_id": CHILDREN[which], **config})


def _draft(nodes: dict[str, JsonObject], *edges: str, signals: tuple[str, ...] = ()) -> Draft:
    """An edge is `"a -> b"` or `"a.port -> b"`, perhaps with ` if condition` after it."""
    connections = []
    for edge in edges:
        path, _, conditional = edge.partition(" if ")
        source, _, target = path.partition(" -> ")
        name, _, port = source.partition(".")
        connection = {"from_node_id": name, "to_node_id": target}
        connection |= {"from_port_name": port} if port else {}
        connections.append(connection | ({"conditional": conditional} if conditional else {}))
    start = _node("trigger_command", config={"command": "!go"})
    document = {
        "name": "a workload",
        "community_id": 1,
        "nodes": {"start": start, **nodes},
        "connections": connections,
        "global_variables": {"n": 1},
        "max_execution_time_seconds": 86_400,
    }
    return Draft(document, list(signals))


def _answered(draft: Draft) -> Draft:
    draft.document["error_workflow_id"] = ERROR_WORKFLOW
    return draft


_RETRY = {"max_attempts": 4, "initial_seconds": 2, "backoff": "fixed", "jitter": False}
_EACH = _node("loop_foreach", config={"items": "{{ range(3) }}", "concurrency": 2})
_RACE = _node("flow_parallel", config={"execution_type": "any_first"})
_ANY = _node("flow_merge", config={"mode": "any"})

WORKLOADS = {
    "a chain of calls": _draft(
        {"a": _call("good-a"), "b": _call("good-b"), "c": _call("slow-c")},
        *("start -> a", "a -> b", "b -> c"),
    ),
    "a diamond": _draft(
        {
            "a": _call("slow-a"),
            "b": _call("good-b"),
            "join": _node("flow_merge"),
            "end": _node("flow_end"),
        },
        *("start -> a", "start -> b", "a -> join", "b -> join", "join -> end"),
    ),
    "a loop side by side": _draft(
        {"each": _EACH, "a": _call("slow-a"), "b": _call("good-b")},
        *("start -> each", "each.loop -> a", "each -> b"),
    ),
    "a while with a rest": _draft(
        {"while": _node("loop_while", config={"condition": "index < 2"}), "rest": _rest(2)},
        *("start -> while", "while.loop -> rest"),
    ),
    "an error caught": _draft(
        {"a": _call("bad-a"), "b": _call("good-b"), "c": _call("down-c", continue_on_error=True)},
        *("start -> a", "a.error -> b", "b -> c"),
    ),
    "an error refused": _draft(
        {
            "a": _call("bad-a", continue_on_error=True),
            "b": _call("good-b"),
            "c": _call("bad-c"),
            "d": _call("good-d"),
        },
        *("start -> a", "a.error -> d if false", "a -> b if has(input.error)"),
        *("b -> c", "c.error -> d if input.type == 'TIMEOUT'"),
    ),
    "retries": _draft({"a": _call("flaky-2-a", retry=_RETRY)}, "start -> a"),
    "a race": _draft(
        {"race": _RACE, "a": _call("good-a"), "rest": _rest(600), "join": _ANY},
        *("start -> race", "race -> a", "race -> rest", "a -> join", "rest -> join"),
    ),
    "a signal": _draft(
        {"wait": _node("flow_wait", config={"signal": "go"}), "a": _call("good-a")},
        *("start -> wait", "wait -> a"),
        signals=("go",),
    ),
    "children": _draft(
        {
            "sub": _child(0, variables={"n": 2}),
            "lost": _child(2, variables={"n": 3}) | {"continue_on_error": True},
            "orphan": _child(1, wait=False),
        },
        *("start -> sub", "sub -> lost", "lost -> orphan"),
    ),
    "at most once": _draft(
        {
            "a": _call("good-a"),
            "once": _call("slow-b", effect="at_most_once", continue_on_error=True),
        },
        *("start -> a", "a -> once"),
    ),
    "a failure answered": _answered(
        _draft({"a": _call("good-a"), "b": _call("bad-b")}, "start -> a", "a -> b")
    ),
}
