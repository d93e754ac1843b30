"""One depth-first walk over a graph that gives every node the scope of the first edge that reaches
it, and judges the edges that close cycles. `regions.py` has the theory.

The one rule: linear time, no recursion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

LOOP_TYPES = frozenset({"loop_foreach", "loop_while"})
"""Node types that own a body."""

LOOP_PORT = "loop"

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


@dataclass(slots=True)
class Walk:
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
            self.problems.append(escape(edge, scope, f"the outer loop '{target}'"))
        elif scope == self.owner[target]:
            self.problems.append(self._cycle(edge))
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
        start, half = self._position[edge.target], _SHOWN_NODES // 2
        length = len(self._stack) - start
        if length <= _SHOWN_NODES:
            names = [node_id for node_id, _ in self._stack[start:]]
        else:
            # Nothing is copied that is not shown: there may be thousands of such cycles.
            ends = (self._stack[start : start + half], self._stack[-half:])
            first, last = ([node_id for node_id, _ in part] for part in ends)
            names = [*first, f"… {length - 2 * half} more …", *last]
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


def escape(edge: Edge, scope: str | None, into: str) -> Problem:
    """An edge that leaves a body otherwise than by ending."""
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
