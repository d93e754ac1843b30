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

LOOP_TYPES = frozenset({"loop_foreach", "loop_while"})
"""Node types that own a body."""

LOOP_PORT = "loop"

_MAX_CYCLES = 25
_MAX_PROBLEMS = 200
_MAX_SEARCHES = 16
_SHOWN_NODES = 12


@dataclass(frozen=True, slots=True)
class Edge:
    """An enabled connection with canonical port name. `conditional` is its expression, if any."""

    connection_id: str
    source: str
    port: str
    target: str
    conditional: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a graph's shape, at a node or a connection."""

    code: str
    message: str
    node_id: str | None = None
    connection_id: str | None = None
    hint: str | None = None


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
    walk = _Walk(nodes, [e for e in edges if e.source in nodes and e.target in nodes])
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
class _Walk:
    """One depth-first walk that gives every node the scope of the first edge that reaches it."""

    nodes: Mapping[str, str]
    edges: list[Edge]
    owner: dict[str, str | None] = field(default_factory=dict)
    depth: dict[str, int] = field(default_factory=dict)
    back_edges: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    """Edges that close a cycle, sound or not; without them the graph is acyclic."""
    postorder: list[str] = field(default_factory=list)
    disputed: bool = False
    outgoing: dict[str, list[Edge]] = field(default_factory=dict)
    incoming: dict[str, list[Edge]] = field(default_factory=dict)
    _position: dict[str, int] = field(default_factory=dict)
    _stack: list[tuple[str, Iterator[Edge]]] = field(default_factory=list)
    _leaving: dict[str, str] = field(default_factory=dict)
    """The port through which the walk at present leaves each node of the stack."""
    _cycles: int = 0

    def run(self) -> None:
        self.outgoing = {node_id: [] for node_id in self.nodes}
        self.incoming = {node_id: [] for node_id in self.nodes}
        for edge in self.edges:
            self.outgoing[edge.source].append(edge)
            self.incoming[edge.target].append(edge)
        # Triggers start on their own, so they are at the root whatever else leads to them.
        triggers = [n for n, node_type in self.nodes.items() if is_trigger(node_type)]
        for node_id in triggers:
            self.place(node_id, None)
        started: set[str] = set()
        for node_id in triggers:
            if node_id not in started:
                self._explore(node_id, started)
        for node_id in self._sources(started):
            if node_id not in started:
                self._explore(self._outermost(node_id, started), started)

    def scope_of(self, edge: Edge) -> str | None:
        """The loop in whose body this edge leads, None for the root."""
        if edge.port == LOOP_PORT and self.nodes[edge.source] in LOOP_TYPES:
            return edge.source
        return self.owner[edge.source]

    def place(self, node_id: str, scope: str | None) -> None:
        self.owner[node_id] = scope
        self.depth[node_id] = 0 if scope is None else self.depth[scope] + 1

    def _explore(self, start: str, started: set[str]) -> None:
        self._push(start, self.owner.get(start), started)
        while self._stack:
            node_id, rest = self._stack[-1]
            edge = next(rest, None)
            if edge is None:
                self._stack.pop()
                del self._position[node_id]
                self.postorder.append(node_id)
                continue
            self._leaving[node_id] = edge.port
            self._arrive(edge, started)

    def _push(self, node_id: str, scope: str | None, started: set[str]) -> None:
        started.add(node_id)
        if node_id not in self.owner:
            self.place(node_id, scope)
        self._position[node_id] = len(self._stack)
        self._stack.append((node_id, iter(self.outgoing[node_id])))

    def _arrive(self, edge: Edge, started: set[str]) -> None:
        scope = self.scope_of(edge)
        target = edge.target
        if target in self._position:
            self.dropped.add(edge.connection_id)
            self._close(edge, scope)
            return
        if target not in started:
            self._push(target, scope, started)
        if self.owner[target] != scope:
            self.disputed = True

    def _close(self, edge: Edge, scope: str | None) -> None:
        """Judges an edge back to a node on the walk's present path."""
        target = edge.target
        # On the present path, and left through `loop`: everything since lies in target's body.
        inside = self.nodes[target] in LOOP_TYPES and self._leaving[target] == LOOP_PORT
        if inside and scope == target:
            self.back_edges.add(edge.connection_id)
        elif inside:
            self.problems.append(_escape(edge, scope, f"the outer loop '{target}'"))
        elif scope == self.owner[target]:
            self._cycles += 1
            self.problems += [self._cycle(edge)] if self._cycles <= _MAX_CYCLES else []
        else:
            self.problems.append(self._entered_before(edge, scope))

    def _entered_before(self, edge: Edge, scope: str | None) -> Problem:
        return Problem(
            "LOOP_BODY_ENTRY",
            f"'{edge.target}' belongs to the body of loop '{scope}' ({self._path(edge)}), "
            "but runs before that loop as well.",
            edge.target,
            edge.connection_id,
            f"To end an iteration, connect '{edge.source}' to '{scope}' or to nothing.",
        )

    def _cycle(self, edge: Edge) -> Problem:
        return Problem(
            "CYCLE",
            f"The nodes run in a circle: {self._path(edge)}.",
            edge.target,
            edge.connection_id,
            "Remove one of these connections, or use loop_foreach or loop_while to repeat.",
        )

    def _path(self, edge: Edge) -> str:
        names = [node_id for node_id, _ in self._stack[self._position[edge.target] :]]
        half = _SHOWN_NODES // 2
        if len(names) > _SHOWN_NODES:
            names[half:-half] = [f"… {len(names) - 2 * half} more …"]
        return " -> ".join([*names, edge.target])

    def _sources(self, started: set[str]) -> list[str]:
        """The nodes no trigger reaches, so ordered that the first one not yet reached is never
        downstream of a later one, save in a cycle with it (reverse postorder, as Kosaraju's)."""
        seen = set(started)
        order: list[str] = []
        for start in self.nodes:
            if start in seen:
                continue
            seen.add(start)
            stack = [(start, iter(self.outgoing[start]))]
            while stack:
                rest = stack[-1][1]
                edge = next((e for e in rest if e.target not in seen), None)
                if edge is None:
                    order.append(stack.pop()[0])
                    continue
                seen.add(edge.target)
                stack.append((edge.target, iter(self.outgoing[edge.target])))
        order.reverse()
        return order

    def _outermost(self, node_id: str, started: set[str]) -> str:
        """The loop around a node that only loops lead to, so that an unconnected loop with its
        back edge is walked from its loop node and not from the middle of its body."""
        for _ in range(_SHOWN_NODES):
            around = self._loop_around(node_id, started)
            if around is None:
                break
            node_id = around
        return node_id

    def _loop_around(self, node_id: str, started: set[str]) -> str | None:
        seen = {node_id}
        queue = [node_id]
        for reached in queue:
            for edge in self.incoming[reached]:
                source = edge.source
                if source in seen or source in started:
                    continue
                if edge.port == LOOP_PORT and self.nodes[source] in LOOP_TYPES:
                    return source
                seen.add(source)
                queue.append(source)
        return None


@dataclass(slots=True)
class _Dispute:
    """Says which edges are wrong when edges of different scopes meet in one node."""

    walk: _Walk
    _after: dict[str, frozenset[str]] = field(default_factory=dict)

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
        if len(self.walk.problems) >= _MAX_PROBLEMS:
            return next(iter(arriving))
        depth = {s: 0 if s is None else self.walk.depth[s] + 1 for s in arriving}
        inner = max(arriving, key=lambda s: depth[s])
        winner = inner
        for scope in sorted(arriving, key=lambda s: -depth[s]):
            if scope == winner:
                continue
            winning = arriving.get(winner, [])
            left = self._loop_left(winner, scope)
            if left is None:
                self._escapes(winning, winner, f"the body of '{scope}' ('{node_id}')")
                self._escapes(arriving[scope], scope, f"the body of '{winner}' ('{node_id}')")
                winner = self._common(winner, scope)
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
        return here

    def _common(self, one: str | None, other: str | None) -> str | None:
        """The innermost loop around both scopes."""
        around = set()
        while one is not None:
            around.add(one)
            one = self.walk.owner[one]
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
        self.walk.problems += [_escape(edge, scope, into) for edge in edges]

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


def _escape(edge: Edge, scope: str | None, into: str) -> Problem:
    return Problem(
        "LOOP_BODY_ESCAPE",
        f"The body of loop '{scope}' flows out of it, from '{edge.source}', into {into}.",
        edge.source,
        edge.connection_id,
        f"Hang what follows the loop on port 'output' of '{scope}'; to end an iteration, connect "
        f"'{edge.source}' to '{scope}' or to nothing; to end the loop, use loop_break.",
    )


def is_trigger(node_type: str) -> bool:
    """Whether nodes of this type start executions."""
    return node_type.startswith("trigger_")
