"""What a workflow's variables look like before it runs: names nobody sets, and races.

Request variables are unknown until an execution starts, so a name that nothing sets is no mistake
by itself; only one that looks like a slip of the pen is reported. The one rule: warnings only,
and no more work than the graph is large.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.context import RESERVED_NAMES, JsonObject
from engine.issues import Findings
from engine.nodes import REGISTRY
from engine.nodes.checks import keys_of
from engine.regions import LOOP_PORT, LOOP_TYPES, Edge, Regions, is_trigger

_CLOSE = 0.86
_MAX_PAIRS = 20_000
_MAX_ARMS = 64
_MAX_SCOPES = 64


@dataclass(frozen=True, slots=True)
class Mention:
    """A free name in an expression: its dotted path, where it stands, the node it belongs to and
    the names only that field knows."""

    path: tuple[str, ...]
    place: str
    node_id: str
    locals: tuple[str, ...] = ()


def variables_set(node: JsonObject) -> tuple[str, ...]:
    """The variables a canonical node writes for the whole execution."""
    spec = REGISTRY.get(node["node_type"])
    return () if spec is None else spec.sets(node["config"])


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


def report_unknown_variables(
    document: JsonObject, regions: Regions, mentions: Iterable[Mention], findings: Findings
) -> None:
    """Warns of names that are a known name misspelt, of iteration variables outside their loop
    and of `nodes.<id>` where no such node is."""
    scope = _Scope(document, regions, findings)
    for mention in mentions:
        scope.judge(mention)


@dataclass(slots=True)
class _Scope:
    """The names a document knows, and whom it knows them in."""

    document: JsonObject
    regions: Regions
    findings: Findings
    known: dict[str, None] = field(default_factory=dict)
    loops: dict[str, list[str]] = field(default_factory=dict)
    """An iteration variable -> the loops that give it."""
    nearest: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known.update(dict.fromkeys([*self.document["global_variables"], *RESERVED_NAMES]))
        for node_id, node in self.document["nodes"].items():
            self.known.update(dict.fromkeys(variables_set(node)))
            if node["node_type"] == "data_variable_set":
                # Also those of its scope "local", which `sets` leaves out.
                self.known.update(dict.fromkeys(keys_of(node["config"].get("variables"))))
            for name in iteration_names(node):
                self.loops.setdefault(name, []).append(node_id)

    def judge(self, mention: Mention) -> None:
        root = mention.path[0]
        if root == "nodes":
            self._judge_node(mention)
            return
        if root in self.known or root in mention.locals or self._iterates(root, mention.node_id):
            return
        if root in self.loops:
            loop = self.loops[root][0]
            self.findings.warn(
                "UNKNOWN_VARIABLE",
                f"'{root}' is known only in the body of loop '{loop}'.",
                mention.place,
                node=mention.node_id,
                hint=f"After the loop, its results are in nodes['{loop}'].output.",
            )
            return
        if root not in self.nearest:
            # `players` beside `player` is a list and its item, no slip of the pen.
            names = (name for name in self.known if name.rstrip("s") != root.rstrip("s"))
            self.nearest[root] = self.findings.nearest.to(root, names, _CLOSE)
        close = self.nearest[root]
        if close is not None:
            self.findings.warn(
                "UNKNOWN_VARIABLE",
                f"Nothing in this workflow sets '{root}'; the request would have to.",
                mention.place,
                node=mention.node_id,
                hint=f"Did you mean '{close}'?",
            )

    def _judge_node(self, mention: Mention) -> None:
        nodes = self.document["nodes"]
        if len(mention.path) < 2 or mention.path[1] in nodes:
            return
        self.findings.warn(
            "UNKNOWN_VARIABLE",
            f"'nodes.{mention.path[1]}' names no node of this workflow.",
            mention.place,
            node=mention.node_id,
            hint=self.findings.nearest.hint(mention.path[1], nodes),
        )

    def _iterates(self, name: str, node_id: str) -> bool:
        loops = self.loops.get(name)
        if loops is None:
            return False
        owner = self.regions.owner.get(node_id)
        for _ in range(_MAX_SCOPES):
            if owner is None:
                return False
            if owner in loops:
                return True
            owner = self.regions.owner.get(owner)
        return True


@dataclass(frozen=True, slots=True)
class Clash:
    """Two nodes that may run side by side set one variable."""

    variable: str
    earlier: str
    later: str


def parallel_writes(
    nodes: Mapping[str, JsonObject], edges: Sequence[Edge], regions: Regions
) -> Iterator[Clash]:
    """Finds variables set on concurrent branches, in a graph whose regions are sound.

    Two nodes are concurrent if neither comes before the other and no router stands between them,
    sending an execution to one or to the other. Nodes behind different triggers are not either:
    one trigger starts.
    """
    writers: dict[str, list[str]] = {}
    for node_id, node in nodes.items():
        for name in dict.fromkeys(variables_set(node)):
            writers.setdefault(name, []).append(node_id)
    contested = {name: ids for name, ids in writers.items() if len(ids) > 1}
    if not contested:
        return
    flow = _Flow(nodes, edges, regions)
    flow.follow({node_id for ids in contested.values() for node_id in ids})
    budget = _MAX_PAIRS
    for name, ids in contested.items():
        before = 0
        for later in sorted(ids, key=flow.rank.__getitem__):
            for earlier in flow.unordered(before, later):
                budget -= 1
                if not flow.exclusive(earlier, later):
                    yield Clash(name, earlier, later)
                    break
                if budget <= 0:
                    return
            before |= flow.bits[later]


class _Flow:
    """Who comes before whom, and by which arms of which routers a node is reached.

    A loop is two points in time: itself, and its end, which all its body comes before and what
    hangs on its other ports comes after.
    """

    def __init__(
        self, nodes: Mapping[str, JsonObject], edges: Sequence[Edge], regions: Regions
    ) -> None:
        self.nodes = nodes
        self.owner = regions.owner
        self.incoming: dict[str, list[Edge]] = {node_id: [] for node_id in nodes}
        self.labels: dict[str, set[str]] = {}
        self.after: dict[str, list[str]] = {}
        self.rank: dict[str, int] = {}
        self.bits: dict[str, int] = {}
        self._writers: list[str] = []
        self._ancestors: dict[str, int] = {}
        self._arms: dict[str, dict[str, frozenset[str]]] = {}
        for edge in edges:
            if edge.connection_id in regions.back_edges or edge.target not in nodes:
                continue
            if edge.source in nodes:
                self.incoming[edge.target].append(edge)
                self.labels.setdefault(edge.source, set()).add(self._label(edge))
                self._order(self._origin(edge), edge.target)
        for node_id, owner in regions.owner.items():
            if owner is not None:
                self._order(self._end(node_id), _end_of(owner))
            if nodes[node_id]["node_type"] in LOOP_TYPES:
                self._order(node_id, _end_of(node_id))

    def follow(self, writers: set[str]) -> None:
        """Walks the graph once in topological order, for these nodes' sake."""
        self._writers = sorted(writers)
        self.bits = {node_id: 1 << number for number, node_id in enumerate(self._writers)}
        waiting: dict[str, int] = {}
        for targets in self.after.values():
            for target in targets:
                waiting[target] = waiting.get(target, 0) + 1
        queue = [n for n in [*self.nodes, *self.after] if n not in waiting]
        for point in queue:
            if point in self.rank:
                continue
            self.rank[point] = len(self.rank)
            if point in self.nodes:
                self._arms[point] = self._arms_of(point)
            passed = self._ancestors.get(point, 0) | self.bits.get(point, 0)
            for target in self.after.get(point, ()):
                self._ancestors[target] = self._ancestors.get(target, 0) | passed
                waiting[target] -= 1
                if waiting[target] == 0:
                    queue.append(target)

    def unordered(self, candidates: int, node_id: str) -> Iterator[str]:
        """Those candidates (a set of bits) that do not come before the node."""
        left = candidates & ~self._ancestors.get(node_id, 0)
        while left:
            lowest = left & -left
            yield self._writers[lowest.bit_length() - 1]
            left ^= lowest

    def exclusive(self, one: str, other: str) -> bool:
        """Whether some router sends an execution to one of the two but never to both."""
        theirs = self._arms.get(other, {})
        mine = self._arms.get(one, {})
        return any(router in theirs and not arms & theirs[router] for router, arms in mine.items())

    def _order(self, earlier: str, later: str) -> None:
        self.after.setdefault(earlier, []).append(later)

    def _end(self, node_id: str) -> str:
        return _end_of(node_id) if self.nodes[node_id]["node_type"] in LOOP_TYPES else node_id

    def _origin(self, edge: Edge) -> str:
        return edge.source if self._enters_body(edge) else self._end(edge.source)

    def _enters_body(self, edge: Edge) -> bool:
        return edge.port == LOOP_PORT and self.nodes[edge.source]["node_type"] in LOOP_TYPES

    def _label(self, edge: Edge) -> str:
        """The arm an edge belongs to: of a parallel all but `error` are one."""
        parallel = self.nodes[edge.source]["node_type"] == "flow_parallel"
        return "*" if parallel and edge.port != "error" else edge.port

    def _arms_of(self, node_id: str) -> dict[str, frozenset[str]]:
        """Router -> its ports that lead here. A node reached by edges that do not all pass a
        router is not bound by it."""
        if is_trigger(self.nodes[node_id]["node_type"]):
            return {"": frozenset({node_id})}
        merged: dict[str, frozenset[str]] | None = None
        for edge in self.incoming[node_id]:
            arms = dict(self._arms.get(edge.source, {}))
            if len(self.labels[edge.source]) > 1 and not self._enters_body(edge):
                arms[edge.source] = frozenset({self._label(edge)})
            if merged is None:
                merged = arms
            else:
                merged = {r: merged[r] | arms[r] for r in merged if r in arms}
        kept = [
            (r, arms)
            for r, arms in (merged or {}).items()
            if arms != frozenset(self.labels.get(r, ()))
        ]
        # Far-away routers are forgotten first: at worst a warning too many.
        return dict(kept[-_MAX_ARMS:])


def _end_of(loop: str) -> str:
    # No node id contains a bracket.
    return f"{loop}[]"
