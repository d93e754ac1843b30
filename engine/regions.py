"""Which loop owns which node: the scopes of a graph, found from its edges alone.

A loop node's *body* is everything reachable from its port `loop` without passing through the
loop node itself. Bodies nest, are entered through that port only, and end where they end: an edge
from the body back to its loop node merely marks the end of an iteration. Every other cycle is a
mistake.

How it is found. Walk the graph depth first from the triggers and hand every edge the scope it
lies in: an edge from a loop's port `loop` opens that loop's scope, any other edge stays in the
scope of its source. In a sound graph all edges into a node carry the same scope, whatever the
order of the walk, so one walk settles everything; it costs the number of edges, however deep the
loops nest. Only when two edges disagree is there something to explain, and `_Dispute` goes over
the nodes in topological order to say who is wrong. The rule kept here: linear time, no recursion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.region_walk import (
    LOOP_PORT,
    LOOP_TYPES,
    Edge,
    Problem,
    Walk,
    escape,
    is_trigger,
)

__all__ = ["LOOP_PORT", "LOOP_TYPES", "Edge", "Problem", "Regions", "analyse", "is_trigger"]

_MAX_SEARCHES = 16
_MAX_CLIMB = 100_000


@dataclass(frozen=True, slots=True)
class Regions:
    """The scopes of a graph.

    `owner` maps each node to the innermost loop whose body holds it (None: the root), `depth` to
    the number of bodies around it (a top-level loop node has 0, its body nodes 1). `back_edges`
    are the connections that only mark the end of an iteration: body node -> its own loop node.
    The three are meaningful for running only when `problems` is empty.
    """

    owner: dict[str, str | None]
    depth: dict[str, int]
    back_edges: frozenset[str]
    problems: tuple[Problem, ...]


def analyse(nodes: Mapping[str, str], edges: Sequence[Edge], max_depth: int = 10) -> Regions:
    """Finds loop bodies. `nodes` maps node id to node type; edges between unknown nodes are
    ignored (the validator reports them). `max_depth` bounds how deep bodies may nest."""
    walk = Walk(nodes, [e for e in edges if e.source in nodes and e.target in nodes])
    walk.run()
    if walk.disputed:
        _Dispute(walk).settle()
    problems = [*walk.problems, *_misplaced(nodes, walk.owner, walk.depth, max_depth)]
    return Regions(walk.owner, walk.depth, frozenset(walk.back_edges), tuple(problems))


def _misplaced(
    nodes: Mapping[str, str],
    owner: Mapping[str, str | None],
    depth: Mapping[str, int],
    max_depth: int,
) -> Iterator[Problem]:
    for node_id, node_type in nodes.items():
        if node_type == "loop_break" and owner[node_id] is None:
            yield Problem(
                "BREAK_OUTSIDE_LOOP",
                f"'{node_id}' breaks out of a loop, but lies in no loop's body.",
                node_id,
                hint="Put it behind the port 'loop' of a loop_foreach or loop_while.",
            )
        # Only the first loop past the limit is named: those inside it follow from it.
        if node_type in LOOP_TYPES and depth[node_id] == max_depth:
            yield Problem(
                "LOOP_TOO_DEEP",
                f"The body of '{node_id}' would be nested {max_depth + 1} loops deep; "
                f"at most {max_depth} are allowed.",
                node_id,
                hint="Prepare the data first (data_transform), so that fewer loops have to nest.",
            )


@dataclass(slots=True)
class _Dispute:
    """Says which edges are wrong when edges of different scopes meet in one node."""

    walk: Walk
    _after: dict[str, frozenset[str]] = field(default_factory=dict)
    _climbed: int = 0

    def settle(self) -> None:
        walk = self.walk
        for node_id in reversed(walk.postorder):
            arriving: dict[str | None, list[Edge]] = {}
            if is_trigger(walk.nodes[node_id]):
                arriving[None] = []
            for edge in walk.incoming[node_id]:
                if edge.connection_id not in walk.dropped:
                    arriving.setdefault(walk.scope_of(edge), []).append(edge)
            scope = (
                self._judge(node_id, arriving) if len(arriving) > 1 else next(iter(arriving), None)
            )
            walk.place(node_id, scope)

    def _judge(self, node_id: str, arriving: dict[str | None, list[Edge]]) -> str | None:
        """Reports the edges that do not belong, and returns the scope of those that do."""
        depth = {s: 0 if s is None else self.walk.depth[s] + 1 for s in arriving}
        inner = max(arriving, key=lambda s: depth[s])
        winner = inner
        for scope in sorted(arriving, key=lambda s: -depth[s]):
            if scope == winner:
                continue
            winning = arriving.get(winner, [])
            if self._climbed > _MAX_CLIMB:
                # Who is wrong is no longer worked out, only that the two do not go together.
                self._report_entries(arriving[scope], node_id, winner)
                continue
            left = self._loop_left(winner, scope)
            if left is None:
                common = self._common(winner, scope)
                around = "what lies around it" if common == winner else f"the body of '{winner}'"
                self._escapes(arriving[scope], scope, f"{around} ('{node_id}')")
                if common != winner:
                    self._escapes(winning, winner, f"the body of '{scope}' ('{node_id}')")
                winner = common
            elif any(self._comes_after(left, edge) for edge in arriving[scope]):
                self._escapes(winning, winner, f"what follows '{left}' ('{node_id}')")
                winner = scope
            else:
                self._report_entries(arriving[scope], node_id, winner)
        return winner

    def _loop_left(self, inner: str | None, outer: str | None) -> str | None:
        """The loop whose body one leaves going from scope `inner` out to `outer`; None if `outer`
        does not enclose `inner`."""
        here = inner
        while here is not None and self.walk.owner[here] != outer:
            here = self.walk.owner[here]
            self._climbed += 1
        return here

    def _common(self, one: str | None, other: str | None) -> str | None:
        """The innermost loop around both scopes."""
        around = set()
        while one is not None:
            around.add(one)
            one = self.walk.owner[one]
            self._climbed += 1
        while other is not None and other not in around:
            other = self.walk.owner[other]
        return other

    def _comes_after(self, loop: str, edge: Edge) -> bool:
        return edge.source == loop or edge.source in self._following(loop)

    def _following(self, loop: str) -> frozenset[str]:
        """The nodes behind a loop's other ports. Beyond a few such questions the answer is
        "none": it only chooses between two wordings of an error, not whether there is one."""
        if loop in self._after:
            return self._after[loop]
        if len(self._after) >= _MAX_SEARCHES:
            return frozenset()
        seen: set[str] = set()
        queue = [e.target for e in self.walk.outgoing[loop] if e.port != LOOP_PORT]
        for node_id in queue:
            if node_id in seen:
                continue
            seen.add(node_id)
            queue += [
                e.target
                for e in self.walk.outgoing[node_id]
                if e.connection_id not in self.walk.dropped
            ]
        self._after[loop] = frozenset(seen)
        return self._after[loop]

    def _escapes(self, edges: Sequence[Edge], scope: str | None, into: str) -> None:
        self.walk.problems += [escape(edge, scope, into) for edge in edges]

    def _report_entries(self, edges: Sequence[Edge], node_id: str, loop: str | None) -> None:
        if not edges:
            self.walk.problems.append(
                Problem(
                    "LOOP_BODY_ENTRY",
                    f"Trigger '{node_id}' lies in the body of loop '{loop}'.",
                    node_id,
                    hint=f"Remove the connection from the body of '{loop}' to '{node_id}'.",
                )
            )
        for edge in edges:
            self.walk.problems.append(
                Problem(
                    "LOOP_BODY_ENTRY",
                    f"'{node_id}' belongs to the body of loop '{loop}', but is also entered from "
                    f"'{edge.source}', which is outside it.",
                    node_id,
                    edge.connection_id,
                    f"Enter the body only through port 'loop' of '{loop}'.",
                )
            )
