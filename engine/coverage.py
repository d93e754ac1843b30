"""What of a graph one execution has gone through: which nodes ran, which connections were taken.

What counts: a node is covered once it has run to an end, well or badly, in any iteration. A branch
is an enabled connection between enabled nodes; it is taken once it was live. The connection that
marks the end of an iteration, from a loop's body back to the loop, is no branch, nor is one that
leads into a trigger: neither can make anything run.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.context import JsonObject, Kind, Outcome
from engine.frontier import chosen
from engine.graph import Graph, Node, OutEdge
from engine.scopes import Step


class Coverage:
    """The coverage of one execution, told of every outcome before it is folded in."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._ran: set[int] = set()
        self._taken: set[str] = set()

    def note(self, step: Step, outcome: Outcome) -> None:
        """Remembers what an outcome makes live."""
        node, loop = step.node, step.loop
        if outcome.kind is Kind.FINISHED:
            self._ran.add(node.index)
            if not (node.terminates and outcome.error is None):
                leaving = (e for e in node.all_out if chosen(e, outcome.port))
                self._take(_alive(leaving, outcome))
        elif outcome.kind is Kind.ITERATE and loop is not None and not loop.broken:
            self._take(_alive(node.body_out, outcome))
        elif outcome.kind is Kind.ENTERED and outcome.output and not node.body_guarded:
            self._take([edge.connection_id for edge in node.body_out])

    def nodes_covered(self) -> int:
        """How many nodes ran."""
        return len(self._ran)

    def as_json(self) -> JsonObject:
        """The report's `coverage`."""
        nodes = [node for node in self._graph.nodes if node.enabled]
        missed = [node.node_id for node in nodes if node.index not in self._ran]
        covered = len(nodes) - len(missed)
        return {
            "nodes_covered": covered,
            "nodes_total": len(nodes),
            "percentage": round(100 * covered / len(nodes), 1) if nodes else 100.0,
            "nodes_not_covered": missed,
            "branches_never_taken": [
                {"node_id": node.node_id, "port": e.port, "to_node_id": self._target(e).node_id}
                for node in nodes
                for e in (*node.body_out, *node.all_out)
                if self._target(e).enabled and e.connection_id not in self._taken
            ],
        }

    def _take(self, connection_ids: Iterable[str]) -> None:
        self._taken.update(connection_ids)

    def _target(self, edge: OutEdge) -> Node:
        return self._graph.nodes[edge.target]


def _alive(edges: Iterable[OutEdge], outcome: Outcome) -> list[str]:
    return [e.connection_id for e in edges if e.connection_id not in outcome.dead_edges]
