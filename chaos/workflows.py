"""The workflows under load: together they use every way in which an execution can wait.

Their one rule: what they compute depends on the variable `n` alone, so that a run among faults
can be compared with one without. An effect tells the sink who it believes to be.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.context import JsonObject

COMMUNITY_ID = 1
NUMBERS = (1, 2, 3)
"""The values of `n` under load."""

SIGNAL = "go"
"""The name of every signal."""

CHILD = "id of "
"""Before the name of a workload: what stands in a document until that workload has an id."""

Nodes = Mapping[str, JsonObject]

_WAITING = frozenset({"flow_wait", "action_delay", "flow_subworkflow"})


@dataclass(frozen=True, slots=True)
class Workload:
    """A workflow and what may become of it. `weight` is its share of the load; an execution may
    also fail with one of `excused`, if faults are about, and waits for so many `signals`."""

    name: str
    document: JsonObject
    weight: int = 2
    excused: frozenset[str] = field(default_factory=frozenset)
    at_most_once: bool = False
    signals: int = 0

    @property
    def waits(self) -> bool:
        """Whether it may rest with nothing to record while a process holds it: for a signal, a
        timer or a child."""
        return any(node["node_type"] in _WAITING for node in self.document["nodes"].values())


def workloads(sink: str) -> list[Workload]:
    """All workflows, with their effects on the sink at the URL `sink`."""
    return [
        Workload("chain", _chain(20)),
        Workload("effects", _effects(sink)),
        Workload("delays", _delays(sink)),
        Workload("loop", _loop(sink)),
        Workload("branches", _branches(sink)),
        Workload("limited", _limited(sink), weight=1),
        Workload("family", _family(sink)),
        Workload("once", _once(sink), 1, frozenset({"OUTCOME_UNKNOWN"}), at_most_once=True),
        Workload("signalled", _signalled(sink), weight=0, signals=2),
    ]


def _chain(length: int) -> JsonObject:
    """Pure steps only: nothing of it is durable before its end."""
    nodes = {f"add{i}": _compute(total=f"default(total, n) + {i}") for i in range(length)}
    nodes["odd"] = {"node_type": "condition_if", "config": {"condition": "total % 2 == 1"}}
    nodes["end"] = _end("{{ total }}")
    edges = [f"{a} -> {b}" for a, b in zip(nodes, list(nodes)[1:-1], strict=False)]
    return _document("chain", nodes, "start -> add0", *edges, "odd:true -> end", "odd:false -> end")


def _effects(sink: str) -> JsonObject:
    """Effects in a row; the second answers 503 at first."""
    nodes = {
        "first": _call(sink, "first"),
        "grow": _compute(grown="nodes.first.output.body.value + n"),
        "second": _call(f"{sink}/flaky", "second", retry={"max_attempts": 50, **_BRIEFLY}),
        "end": _end("{{ [grown, nodes.second.output.body.value] }}"),
    }
    return _document("effects", nodes, "start -> first -> grow -> second -> end")


def _delays(sink: str) -> JsonObject:
    """A delay that is a timer and one that is parked."""
    nodes = {
        "before": _call(sink, "before"),
        "short": {"node_type": "action_delay", "config": {"delay_ms": 300}},
        "between": _compute(sum="nodes.before.output.body.value + n"),
        "long": {"node_type": "action_delay", "config": {"delay_seconds": 1.2}},
        "after": _call(sink, "after"),
        "end": _end("{{ sum + nodes.after.output.body.value }}"),
    }
    return _document("delays", nodes, "start -> before -> short -> between -> long -> after -> end")


def _loop(sink: str) -> JsonObject:
    """A loop with an effect and a pure step in each iteration, two iterations at a time."""
    each = {"items": "range(n + 1)", "item_variable": "item", "concurrency": 2}
    nodes = {
        "each": {"node_type": "loop_foreach", "config": each},
        "send": _call(sink, "each[{{ index }}].send"),
        "double": _compute(doubled="nodes.send.output.body.value * 2 + item"),
        "end": _end("{{ nodes.each.output }}"),
    }
    edges = ("start -> each", "each:loop -> send", "send -> double", "each -> end")
    return _document("loop", nodes, *edges)


def _branches(sink: str) -> JsonObject:
    """Parallel branches, one of them delayed, and the merge behind them."""
    nodes = {
        "fork": {"node_type": "flow_parallel"},
        "left": _call(sink, "left"),
        "nap": {"node_type": "action_delay", "config": {"delay_ms": 200}},
        "middle": _call(sink, "middle"),
        "right": _compute(side="n * 7"),
        "join": {"node_type": "flow_merge", "config": {"mode": "wait_all"}},
        "sum": _compute(sum="nodes.left.output.body.value + nodes.middle.output.body.value + side"),
        "last": _call(sink, "last"),
        "end": _end("{{ sum + nodes.last.output.body.value }}"),
    }
    edges = ("fork -> left -> join", "fork -> nap -> middle -> join", "fork -> right -> join")
    return _document("branches", nodes, "start -> fork", *edges, "join -> sum -> last -> end")


def _family(sink: str) -> JsonObject:
    """Children of another workload: one alone, then two side by side."""
    nodes = {
        "alone": _child("effects", "n"),
        "between": _call(sink, "between"),
        "each": {"node_type": "loop_foreach", "config": {"items": "[1, 2]", "concurrency": 2}},
        "one": _child("delays", "item"),
        "end": _end("{{ [nodes.alone.output, nodes.each.output] }}"),
    }
    edges = ("start -> alone -> between -> each", "each:loop -> one", "each -> end")
    return _document("family", nodes, *edges)


def _limited(sink: str) -> JsonObject:
    """At most four at a time over all processes; the others are pending."""
    nodes = {"send": _call(sink, "send"), "end": _end("{{ nodes.send.output.body.value }}")}
    document = _document("limited", nodes, "start -> send -> end")
    return {**document, "max_parallel_executions": 4}


def _once(sink: str) -> JsonObject:
    """An effect that may not be repeated."""
    nodes = {
        "send": {**_call(sink, "send"), "effect": "at_most_once"},
        "end": _end("{{ nodes.send.output.body.value }}"),
    }
    return _document("once", nodes, "start -> send -> end")


def _signalled(sink: str) -> JsonObject:
    """Two signals of one name: which of them came first is in the output, and so is one that
    counted twice."""
    wait = {"node_type": "flow_wait", "config": {"signal": SIGNAL}}
    nodes = {
        "first": wait,
        "between": _call(sink, "between"),
        "second": wait,
        "end": _end("{{ [nodes.first.output, nodes.second.output] }}"),
    }
    return _document("signalled", nodes, "start -> first -> between -> second -> end")


def payload(n: int, number: int) -> JsonObject:
    """What the signal with this number (from 0) says to an execution with `n`."""
    return {"n": n, "number": number}


_BRIEFLY = {"backoff": "fixed", "initial_seconds": 0.2}


def _call(url: str, step: str, **settings: JsonObject) -> JsonObject:
    body = {"execution": "{{ execution.id }}", "step": step, "n": "{{ n }}"}
    return {"node_type": "action_webhook", "config": {"url": url, "body": body}, **settings}


def _child(workload: str, n: str) -> JsonObject:
    config = {"workflow_id": f"{CHILD}{workload}", "variables": {"n": f"{{{{ {n} }}}}"}}
    return {"node_type": "flow_subworkflow", "config": config}


def with_ids(document: JsonObject, ids: Mapping[str, str]) -> JsonObject:
    """The document with the ids of the workloads whose names it holds."""
    text = json.dumps(document)
    for name, workflow_id in ids.items():
        text = text.replace(f'"{CHILD}{name}"', f'"{workflow_id}"')
    resolved: JsonObject = json.loads(text)
    return resolved


def _compute(**transformations: str) -> JsonObject:
    return {"node_type": "data_transform", "config": {"transformations": transformations}}


def _end(output: str) -> JsonObject:
    return {"node_type": "flow_end", "config": {"output": output}}


def _document(name: str, nodes: Nodes, *paths: str) -> JsonObject:
    """A path is `a -> b:port -> c`."""
    start = {"node_type": "trigger_command", "config": {"command": "!go"}}
    connections = []
    for path in paths:
        stops = [stop.partition(":") for stop in path.split(" -> ")]
        for (source, _, port), (target, _, _) in itertools.pairwise(stops):
            connections.append(
                {
                    "from_node_id": source,
                    "from_port_name": port or "output",
                    "to_node_id": target,
                }
            )
    return {
        "name": name,
        "community_id": COMMUNITY_ID,
        "nodes": {"start": start, **nodes},
        "connections": connections,
    }
