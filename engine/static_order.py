"""Which node comes before which, and by which arms of which routers it is reached.

What can be said before anything runs, in a graph whose regions are sound. Many questions of the
form "which of these nodes come before that one?" are answered together: each marked node has a
bit, and one walk in topological order carries the bits along. The one rule: a fixed number of
walks, whatever is asked.

A loop is two points in time: itself, and its end, which all its body comes before and what hangs
on its other ports comes after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engine.context import JsonObject
from engine.regions import LOOP_PORT, LOOP_TYPES, Edge, Regions, is_trigger

_MAX_ARMS = 64

Arms = dict[str, frozenset[str]]
"""Router -> its ports that lead to a node."""


class Order:
    """The order in time of a graph's nodes, as far as its edges fix it."""

    def __init__(
        self, nodes: Mapping[str, JsonObject], edges: Sequence[Edge], regions: Regions
    ) -> None:
        self._nodes = nodes
        self._incoming: dict[str, list[Edge]] = {node_id: [] for node_id in nodes}
        self._labels: dict[str, set[str]] = {}
        self._after: dict[str, list[str]] = {}
        self._reached_by: dict[str, Arms] | None = None
        for edge in edges:
            if edge.connection_id in regions.back_edges or edge.target not in nodes:
                continue
            if edge.source in nodes:
                self._incoming[edge.target].append(edge)
                self._labels.setdefault(edge.source, set()).add(self._label(edge))
                self._order(self._origin(edge), edge.target)
        for node_id, owner in regions.owner.items():
            if owner is not None:
                self._order(self.end(node_id), _end_of(owner))
            if nodes[node_id]["node_type"] in LOOP_TYPES:
                self._order(node_id, _end_of(node_id))
        self._points = self._sorted()
        self.rank = {point: number for number, point in enumerate(self._points)}
        """The place of each node in a topological order."""

    def end(self, node_id: str) -> str:
        """The point in time at which a node is done."""
        return _end_of(node_id) if self._nodes[node_id]["node_type"] in LOOP_TYPES else node_id

    def before(self, marked: Mapping[str, int]) -> dict[str, int]:
        """For each point, the bits of the marked points that come before it."""
        found = dict.fromkeys(self._points, 0)
        for point in self._points:
            passed = found[point] | marked.get(point, 0)
            if passed:
                for target in self._after.get(point, ()):
                    found[target] |= passed
        return found

    def behind(self, marked: Mapping[str, int]) -> dict[str, int]:
        """For each point, the bits of the marked points that come after it."""
        found = dict.fromkeys(self._points, 0)
        for point in reversed(self._points):
            bits = 0
            for target in self._after.get(point, ()):
                bits |= found[target] | marked.get(target, 0)
            found[point] = bits
        return found

    def exclusive(self, one: str, other: str) -> bool:
        """Whether some router sends an execution to one of the two but never to both. Nodes
        behind different triggers are so too: one trigger starts."""
        if self._reached_by is None:
            self._reached_by = self._find_arms()
        theirs, mine = self._reached_by[other], self._reached_by[one]
        return any(router in theirs and not arms & theirs[router] for router, arms in mine.items())

    def _order(self, earlier: str, later: str) -> None:
        self._after.setdefault(earlier, []).append(later)

    def _sorted(self) -> list[str]:
        waiting: dict[str, int] = {}
        for targets in self._after.values():
            for target in targets:
                waiting[target] = waiting.get(target, 0) + 1
        queue = [n for n in dict.fromkeys([*self._nodes, *self._after]) if n not in waiting]
        for point in queue:
            for target in self._after.get(point, ()):
                waiting[target] -= 1
                if waiting[target] == 0:
                    queue.append(target)
        return queue

    def _origin(self, edge: Edge) -> str:
        return edge.source if self._enters_body(edge) else self.end(edge.source)

    def _enters_body(self, edge: Edge) -> bool:
        return edge.port == LOOP_PORT and self._nodes[edge.source]["node_type"] in LOOP_TYPES

    def _label(self, edge: Edge) -> str:
        """The arm an edge belongs to: of a parallel all but `error` are one."""
        parallel = self._nodes[edge.source]["node_type"] == "flow_parallel"
        return "*" if parallel and edge.port != "error" else edge.port

    def _find_arms(self) -> dict[str, Arms]:
        found: dict[str, Arms] = {}
        for point in self._points:
            if point in self._nodes:
                found[point] = self._arms_of(point, found)
        return found

    def _arms_of(self, node_id: str, known: Mapping[str, Arms]) -> Arms:
        """A node reached by edges that do not all pass a router is not bound by it, nor is one
        that all its arms lead to."""
        if is_trigger(self._nodes[node_id]["node_type"]):
            return {"": frozenset({node_id})}
        merged: dict[str, list[frozenset[str]]] | None = None
        for edge in self._incoming[node_id]:
            arms = dict(known.get(edge.source, {}))
            if len(self._labels[edge.source]) > 1 and not self._enters_body(edge):
                arms[edge.source] = frozenset({self._label(edge)})
            if merged is None:
                merged = {router: [ports] for router, ports in arms.items()}
            else:
                _join(merged, arms)
        joined = {
            router: parts[0] if len(parts) == 1 else frozenset().union(*parts)
            for router, parts in (merged or {}).items()
        }
        kept = [
            (router, arms)
            for router, arms in joined.items()
            if not router or len(arms) < len(self._labels[router])
        ]
        # Far-away routers are forgotten first: at worst a warning too many.
        return dict(kept[-_MAX_ARMS:])


def marks(names: Iterable[str]) -> dict[str, int]:
    """A bit of its own for each name."""
    return {name: 1 << number for number, name in enumerate(dict.fromkeys(names))}


def _join(merged: dict[str, list[frozenset[str]]], arms: Arms) -> None:
    """Adds the arms of one more edge; a router it does not pass is forgotten."""
    for router in list(merged):
        if router not in arms:
            del merged[router]
        elif arms[router] is not merged[router][-1]:
            # Parts are collected and joined once: a node may have thousands of edges.
            merged[router].append(arms[router])


def _end_of(loop: str) -> str:
    # No node id contains a bracket.
    return f"{loop}[]"
