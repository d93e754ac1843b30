"""A compiled workflow version: nodes with their edges, loop bodies, races and handlers.

Compiled once per version and shared by every execution of it, so nothing in here ever changes.
Nodes are numbered; edges hold numbers, so the fold's work is list and dict look-ups. The graph
knows structure only: what has happened is the state's business (`state.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.context import Json, JsonObject, Limits
from engine.errors import AmbiguousTrigger, InvalidDefinition
from engine.expressions import Expression, compile_expression
from engine.nodes import REGISTRY
from engine.nodes.base import NodeSpec
from engine.regions import LOOP_PORT, Edge, analyse
from engine.retry import RetryPolicy, parse_retry

ERROR_PORT = "error"


@dataclass(frozen=True, slots=True)
class OutEdge:
    """One enabled connection, seen from its source."""

    connection_id: str
    port: str
    target: int
    conditional: Expression | None


@dataclass(slots=True)
class Race:
    """An `any_first` parallel: the first branch to reach `join` wins.

    `losers[i]` are the nodes to cancel when a member of branch `i` delivers the winning edge:
    those that only the other branches lead to, before the join.
    """

    parallel: int
    join: int
    members: tuple[frozenset[int], ...]
    losers: tuple[tuple[int, ...], ...]
    all_losers: tuple[int, ...]
    """Those that lose when the parallel itself leads straight to the join."""

    def beaten_by(self, source: int) -> tuple[int, ...] | None:
        """The nodes that lose when `source` reaches the join; None if it is not in the race."""
        if source == self.parallel:
            return self.all_losers
        for branch, members in enumerate(self.members):
            if source in members:
                return self.losers[branch]
        return None


@dataclass(slots=True)
class Node:
    """One node, compiled. `loop_index` is the innermost loop whose body holds it (-1: none)."""

    index: int
    node_id: str
    node_type: str
    label: str
    spec: NodeSpec
    config: JsonObject
    handler: Any
    enabled: bool
    loop_index: int
    continue_on_error: bool
    at_most_once: bool
    retry: RetryPolicy | None
    timeout_seconds: float | None
    fallback_port: str
    all_out: tuple[OutEdge, ...] = ()
    body_out: tuple[OutEdge, ...] = ()
    """A loop's edges from its port `loop`; they live in the iteration's scope."""
    indegree: int = 0
    catches: tuple[OutEdge, ...] = ()
    """The enabled edges from port `error`; one that goes straight back to its loop is among
    them, though its only meaning is that the iteration ends there."""
    guarded: bool = False
    """Whether any outgoing edge has a `conditional`."""
    body_guarded: bool = False
    """The same for a loop's edges into its body."""
    quorum: int = 0
    """Live arms after which a `flow_merge` need not wait for the rest (0: it waits)."""
    terminates: bool = False
    races: tuple[Race, ...] = ()
    """The races that this node, a join, decides."""
    lanes: tuple[tuple[str, int], ...] = ()
    """`(parallel's id, max_parallel)` of each limited `flow_parallel` whose branches hold it."""

    @property
    def family(self) -> str:
        return self.spec.family


@dataclass(slots=True)
class Graph:
    """A compiled version. `roots` are the nodes nothing leads to, triggers included."""

    workflow_id: str
    version: int
    document: JsonObject
    nodes: tuple[Node, ...]
    by_id: Mapping[str, Node]
    triggers: tuple[Node, ...]
    roots: tuple[int, ...]
    global_variables: JsonObject
    limits: Limits
    enabled_count: int
    bodies: Mapping[int, tuple[int, ...]]
    """A loop's number -> the numbers of all nodes inside it, at any depth."""
    order: tuple[int, ...] = field(default=())
    """A topological order of the nodes, back edges aside."""


def choose_trigger(graph: Graph, trigger_node_id: str | None, trigger_source: str | None) -> str:
    """The id of the trigger node that starts: the one named, else the one whose type matches
    `trigger_source` (`command`, `event`, `webhook`, `schedule`), else the only one.

    Raises `ValueError` if the named node is not an enabled trigger, `AmbiguousTrigger` (with
    `details["triggers"]`) if several remain, `InvalidDefinition` if there is none.
    """
    enabled = [node for node in graph.triggers if node.enabled]
    names = [node.node_id for node in enabled]
    if trigger_node_id is not None:
        if trigger_node_id not in names:
            raise ValueError(
                f"trigger_node_id: {trigger_node_id!r} is not an enabled trigger of this workflow; "
                f"its triggers are {', '.join(names) or 'none'}"
            )
        return trigger_node_id
    matching = [n.node_id for n in enabled if n.node_type == f"trigger_{trigger_source}"]
    candidates = matching or names
    if not candidates:
        raise InvalidDefinition("This workflow has no enabled trigger node.")
    if len(candidates) > 1:
        raise AmbiguousTrigger(
            f"Several triggers could start this workflow ({', '.join(candidates)}); "
            "name one in trigger_node_id.",
            triggers=candidates,
        )
    return candidates[0]


def compile_graph(
    document: JsonObject, limits: Limits, *, workflow_id: str = "", version: int = 0
) -> Graph:
    """Compiles a canonical, valid document. Raises what the expression compiler raises for one
    that is not; callers validate first."""
    edges = _enabled_edges(document)
    types = {node_id: node["node_type"] for node_id, node in document["nodes"].items()}
    regions = analyse(types, edges)
    index = {node_id: number for number, node_id in enumerate(types)}
    nodes = [
        _compile_node(number, node_id, document, index, regions.owner.get(node_id))
        for node_id, number in index.items()
    ]
    trigger_ids = {n.node_id for n in nodes if n.family == "trigger"}
    kept = [
        e
        for e in edges
        if e.connection_id not in regions.back_edges and e.target not in trigger_ids
    ]
    _link(nodes, kept, index)
    for edge in edges:  # An error that goes straight back to its loop is taken as well.
        if edge.connection_id in regions.back_edges and edge.port == ERROR_PORT:
            nodes[index[edge.source]].catches += (_out_edge(edge, index),)
    order = _topological(nodes)
    _find_races(nodes, order)
    _find_lanes(nodes)
    return Graph(
        workflow_id=workflow_id,
        version=version,
        document=document,
        nodes=tuple(nodes),
        by_id={n.node_id: n for n in nodes},
        triggers=tuple(n for n in nodes if n.family == "trigger"),
        roots=tuple(n.index for n in nodes if n.indegree == 0 and n.loop_index < 0),
        global_variables=document.get("global_variables") or {},
        limits=limits,
        enabled_count=sum(1 for n in nodes if n.enabled),
        bodies=_bodies(nodes),
        order=tuple(order),
    )


def _enabled_edges(document: JsonObject) -> list[Edge]:
    return [
        Edge(
            connection_id=c["connection_id"],
            source=c["from_node_id"],
            port=c.get("from_port_name") or "output",
            target=c["to_node_id"],
            conditional=c.get("conditional"),
        )
        for c in document.get("connections") or ()
        if c.get("enabled", True)
    ]


def _compile_node(
    number: int, node_id: str, document: JsonObject, index: Mapping[str, int], owner: str | None
) -> Node:
    raw = document["nodes"][node_id]
    spec = REGISTRY[raw["node_type"]]
    config = raw.get("config") or {}
    return Node(
        index=number,
        node_id=node_id,
        node_type=raw["node_type"],
        label=raw.get("label") or node_id,
        spec=spec,
        config=config,
        handler=spec.compile(config),
        enabled=raw.get("enabled", True),
        loop_index=index[owner] if owner is not None else -1,
        continue_on_error=bool(raw.get("continue_on_error")),
        at_most_once=raw.get("effect") == "at_most_once",
        retry=_retry_policy(raw, document, spec),
        timeout_seconds=_timeout(raw, config, spec),
        fallback_port=spec.fallback_port(config),
        quorum=_quorum(raw["node_type"], config),
        terminates=raw["node_type"] == "flow_end" and config.get("terminate") is True,
    )


def _retry_policy(raw: JsonObject, document: JsonObject, spec: NodeSpec) -> RetryPolicy | None:
    if not spec.has_attempts:
        return None
    if raw.get("retry") is not None:
        return parse_retry(raw["retry"])
    retries = int(document.get("max_retries") or 0) if spec.family == "effect" else 0
    if document.get("retry_failed_nodes") and retries > 0:
        return parse_retry({"max_attempts": retries + 1})
    return None


def _timeout(raw: JsonObject, config: JsonObject, spec: NodeSpec) -> float | None:
    if not spec.has_attempts:
        return None
    for value in (raw.get("timeout_seconds"), config.get("timeout_seconds")):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return spec.default_timeout_seconds


def _quorum(node_type: str, config: JsonObject) -> int:
    if node_type != "flow_merge":
        return 0
    mode: Json = config.get("mode", "wait_all")
    if mode == "any":
        return 1
    return mode if isinstance(mode, int) and not isinstance(mode, bool) and mode > 0 else 0


def _link(nodes: Sequence[Node], edges: Sequence[Edge], index: Mapping[str, int]) -> None:
    outgoing: list[list[OutEdge]] = [[] for _ in nodes]
    for edge in edges:
        outgoing[index[edge.source]].append(_out_edge(edge, index))
        nodes[index[edge.target]].indegree += 1
    for node, out in zip(nodes, outgoing, strict=True):
        is_loop = node.family == "loop"
        node.all_out = tuple(e for e in out if not (is_loop and e.port == LOOP_PORT))
        node.body_out = tuple(e for e in out if is_loop and e.port == LOOP_PORT)
        node.catches = tuple(e for e in node.all_out if e.port == ERROR_PORT)
        node.guarded = any(e.conditional is not None for e in node.all_out)
        node.body_guarded = any(e.conditional is not None for e in node.body_out)


def _out_edge(edge: Edge, index: Mapping[str, int]) -> OutEdge:
    conditional = compile_expression(edge.conditional) if edge.conditional else None
    return OutEdge(edge.connection_id, edge.port, index[edge.target], conditional)


def _bodies(nodes: Sequence[Node]) -> dict[int, tuple[int, ...]]:
    bodies: dict[int, list[int]] = {}
    for node in nodes:
        owner = node.loop_index
        while owner >= 0:
            bodies.setdefault(owner, []).append(node.index)
            owner = nodes[owner].loop_index
    return {loop: tuple(members) for loop, members in bodies.items()}


def _topological(nodes: Sequence[Node]) -> list[int]:
    waiting = [node.indegree for node in nodes]
    order = [n.index for n in nodes if n.indegree == 0]
    for number in order:
        for edge in (*nodes[number].all_out, *nodes[number].body_out):
            waiting[edge.target] -= 1
            if waiting[edge.target] == 0:
                order.append(edge.target)
    return order


def _reach(nodes: Sequence[Node], start: int, stop: Callable[[int], bool]) -> set[int]:
    """Everything reachable from `start`, itself included, not going past nodes that stop."""
    seen: set[int] = set()
    stack = [start]
    while stack:
        number = stack.pop()
        if number in seen or stop(number):
            continue
        seen.add(number)
        stack.extend(e.target for e in nodes[number].all_out)
        stack.extend(e.target for e in nodes[number].body_out)
    return seen


def _never(number: int) -> bool:
    return False


def _branches(node: Node) -> list[OutEdge]:
    return [e for e in node.all_out if e.port != ERROR_PORT]


def _find_races(nodes: Sequence[Node], order: Sequence[int]) -> None:
    rank = {number: position for position, number in enumerate(order)}
    racing = [
        node
        for node in nodes
        if node.node_type == "flow_parallel" and node.config.get("execution_type") == "any_first"
    ]
    if not racing:
        return
    sources: list[set[int]] = [set() for _ in nodes]
    for node in nodes:
        for edge in (*node.all_out, *node.body_out):
            sources[edge.target].add(node.index)
    for node in racing:
        race = _race_of(nodes, node, rank, sources)
        if race is not None:
            nodes[race.join].races += (race,)


def _race_of(
    nodes: Sequence[Node],
    parallel: Node,
    rank: Mapping[int, int],
    sources: Sequence[set[int]],
) -> Race | None:
    reached = [_reach(nodes, e.target, _never) for e in _branches(parallel)]
    counts: dict[int, int] = {}
    for reach in reached:
        for number in reach:
            counts[number] = counts.get(number, 0) + 1
    joins = [n for n, c in counts.items() if c > 1 and nodes[n].node_type == "flow_merge"]
    if not joins:
        return None
    join = min(joins, key=lambda n: rank.get(n, len(nodes)))
    after = _reach(nodes, join, _never)
    members = [
        frozenset(_reach(nodes, e.target, lambda n: n == join) - after) for e in _branches(parallel)
    ]
    racing = sorted(set().union(*members), key=lambda n: rank.get(n, 0))
    losers = tuple(
        _only_from(parallel.index, [n for n in racing if n not in own], sources) for own in members
    )
    everyone = _only_from(parallel.index, racing, sources)
    return Race(parallel.index, join, tuple(members), losers, everyone)


def _only_from(start: int, ranked: Sequence[int], sources: Sequence[set[int]]) -> tuple[int, ...]:
    """Those of these nodes, in topological order, that every way leads to through `start` and
    others of them."""
    inside = {start}
    for number in ranked:
        if sources[number] <= inside:
            inside.add(number)
    return tuple(number for number in ranked if number in inside)


def _find_lanes(nodes: Sequence[Node]) -> None:
    for node in nodes:
        limit = node.config.get("max_parallel")
        if node.node_type != "flow_parallel" or not isinstance(limit, int) or limit < 1:
            continue
        for number in _lane_members(nodes, node):
            nodes[number].lanes += ((node.node_id, limit),)


def _lane_members(nodes: Sequence[Node], parallel: Node) -> set[int]:
    """The nodes of a parallel's branches, up to the first merge of each."""
    members: set[int] = set()
    for edge in _branches(parallel):
        members |= _reach(nodes, edge.target, lambda n: nodes[n].node_type == "flow_merge")
    return members
