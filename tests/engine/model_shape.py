"""What of a document does not change while it runs: connections, loop bodies, races.

Part of the model (`model.py`), and like it slow, and written from the rules alone. Its one rule:
everything is found by following connections, as a reader's finger would.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from tests.engine.model_values import JsonObject

LOOPS = ("loop_foreach", "loop_while")


@dataclass(frozen=True)
class Race:
    """An `any_first` parallel, the merge that joins its branches, and the nodes of each branch."""

    parallel: str
    join: str
    branches: tuple[frozenset[str], ...]
    ways_in: Mapping[str, frozenset[str]]
    """The nodes that lead to each node."""

    def losers(self, source: str) -> frozenset[str]:
        """Who has lost when `source` is the first to reach the merge: what only the branches that
        lost lead to."""
        racing: frozenset[str] = frozenset().union(*self.branches)
        own = next((b for b in self.branches if source in b), frozenset())
        lost = racing - own
        while saved := {n for n in lost if self.ways_in[n] - lost - {self.parallel}}:
            lost -= saved
        return lost

    def runs(self, source: str) -> bool:
        """Whether the node takes part, the parallel itself included."""
        return source == self.parallel or any(source in branch for branch in self.branches)


class Shape:
    """A canonical document's structure."""

    def __init__(self, document: JsonObject) -> None:
        self.nodes: dict[str, JsonObject] = document["nodes"]
        enabled = [e for e in document["connections"] if e.get("enabled", True)]
        self.edges = [e for e in enabled if not self.is_trigger(e["to_node_id"])]
        self.bodies = {n: self._body(n) for n in self.nodes if self.type_of(n) in LOOPS}
        self._back = [
            e for e in self.edges if e["from_node_id"] in self.bodies.get(e["to_node_id"], ())
        ]
        self.edges = [e for e in self.edges if e not in self._back]
        """Without those that only mark the end of an iteration."""
        self.races = [race for n in self.nodes for race in self._race(n)]
        self._out = {n: self._where("from_node_id", n) for n in self.nodes}
        self._in = {n: self._where("to_node_id", n) for n in self.nodes}

    def type_of(self, node_id: str) -> str:
        return str(self.nodes[node_id]["node_type"])

    def config(self, node_id: str) -> JsonObject:
        config: JsonObject = self.nodes[node_id].get("config") or {}
        return config

    def is_trigger(self, node_id: str) -> bool:
        return self.type_of(node_id).startswith("trigger_")

    def _where(self, end: str, node_id: str) -> list[int]:
        return [number for number, e in enumerate(self.edges) if e[end] == node_id]

    def out_of(self, node_id: str) -> list[int]:
        """The numbers of the connections that leave a node, into its own body not included."""
        body = self.bodies.get(node_id, frozenset())
        return [n for n in self._out[node_id] if self.edges[n]["to_node_id"] not in body]

    def into_body(self, loop: str) -> list[int]:
        """The numbers of the connections from a loop into its body."""
        return [n for n in self._out[loop] if self.edges[n]["to_node_id"] in self.bodies[loop]]

    def into(self, node_id: str) -> list[int]:
        """The numbers of the connections that lead to a node."""
        return self._in[node_id]

    def own(self, nodes: Collection[str]) -> list[str]:
        """Those of the nodes that are not in the body of a loop among them."""
        inner = {n for loop, body in self.bodies.items() if loop in nodes for n in body}
        return [n for n in self.nodes if n in nodes and n not in inner]

    def catches(self, node_id: str) -> bool:
        """Whether a connection leaves from the port `error`."""
        ahead = any(self.edges[n]["from_port_name"] == "error" for n in self._out[node_id])
        return ahead or bool(self.errors_back(node_id))

    def errors_back(self, node_id: str) -> list[JsonObject]:
        """The connections from the port `error` that only mark the end of an iteration."""
        ends = [e for e in self._back if e["from_node_id"] == node_id]
        return [e for e in ends if e["from_port_name"] == "error"]

    def _targets(self, node_id: str) -> Iterator[str]:
        return (e["to_node_id"] for e in self.edges if e["from_node_id"] == node_id)

    def _reachable(self, starts: Collection[str], stop: str) -> frozenset[str]:
        """Everything one comes to from the starts without passing `stop`."""
        found: set[str] = set()
        todo = list(starts)
        while todo:
            node_id = todo.pop()
            if node_id != stop and node_id not in found:
                found.add(node_id)
                todo += self._targets(node_id)
        return frozenset(found)

    def _body(self, loop: str) -> frozenset[str]:
        entries = [
            e["to_node_id"]
            for e in self.edges
            if e["from_node_id"] == loop and e["from_port_name"] == "loop"
        ]
        return self._reachable(entries, loop)

    def breaks_while_asking(self) -> bool:
        """Whether a loop may be broken by one iteration while it asks whether another may begin.
        Which comes first is told by a journal, but not by the trace of a rehearsal."""
        return any(
            self.config(loop).get("concurrency", 1) > 1
            and any(self.edges[n].get("conditional") for n in self.into_body(loop))
            and any(self.type_of(node) == "loop_break" for node in body)
            for loop, body in self.bodies.items()
        )

    def _race(self, parallel: str) -> Iterator[Race]:
        if self.config(parallel).get("execution_type") != "any_first":
            return
        starts = [
            e["to_node_id"]
            for e in self.edges
            if e["from_node_id"] == parallel and e["from_port_name"] != "error"
        ]
        reached = [self._reachable([start], "") for start in starts]
        joins = [
            n
            for n in self.nodes
            if self.type_of(n) == "flow_merge" and sum(n in reach for reach in reached) > 1
        ]
        # The one that comes after none of the others.
        for join in joins:
            behind = (self._reachable([other], "") for other in joins if other != join)
            if not any(join in after for after in behind):
                yield self._between(parallel, starts, join)

    def _between(self, parallel: str, starts: list[str], join: str) -> Race:
        after = self._reachable([join], "")
        branches = tuple(self._reachable([start], join) - after for start in starts)
        ways_in = {
            n: frozenset(e["from_node_id"] for e in self.edges if e["to_node_id"] == n)
            for n in self.nodes
        }
        return Race(parallel, join, branches, ways_in)
