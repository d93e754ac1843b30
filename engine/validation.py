"""Everything that is wrong with a workflow document, found in one pass.

The reader reports what it could not read, the configuration judge what a node type does not
accept, the regions what is wrong with the graph's shape; this module puts them together and adds
what only the whole document shows. The one rule: no finding hides another, and the time taken is
linear in the document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.context import Json, JsonObject, Limits
from engine.definition import Reading, read_document
from engine.issues import SHAPE, Findings, Issue, listed
from engine.nodes import REGISTRY
from engine.regions import LOOP_PORT, LOOP_TYPES, Edge, Regions, analyse, is_trigger
from engine.static_names import Moment
from engine.static_order import Order
from engine.static_races import parallel_writes, races_of_iterations
from engine.static_scope import Sight, report_unknown_variables
from engine.validation_config import ConfigJudge, count_expressions

UNFINISHED = frozenset({"NO_NODES", "NO_TRIGGER", "MISSING_CONFIG"})
"""Errors of a document that is not wrong but not done: a draft may have them."""


@dataclass(frozen=True, slots=True)
class Report:
    """A document's canonical form and every finding about the one sent."""

    document: JsonObject
    issues: tuple[Issue, ...]

    @property
    def errors(self) -> list[Issue]:
        """What makes the document invalid."""
        return [issue for issue in self.issues if not issue.warning]

    @property
    def warnings(self) -> list[Issue]:
        """What is probably not meant, but runs."""
        return [issue for issue in self.issues if issue.warning]

    @property
    def shape_errors(self) -> list[Issue]:
        """The errors about JSON types and missing fields: the request itself is wrong."""
        return [issue for issue in self.issues if issue.code == SHAPE]

    @property
    def is_valid(self) -> bool:
        """Whether there is no error at all."""
        return all(issue.warning for issue in self.issues)

    def refusals(self, *, publish: bool) -> list[Issue]:
        """The errors that keep this document from becoming a version; or, without `publish`,
        from being kept as a draft, which may be unfinished but not wrong."""
        return [issue for issue in self.errors if publish or issue.code not in UNFINISHED]

    def as_json(self) -> JsonObject:
        """The report as the API shows it."""
        errors, warnings = self.errors, self.warnings
        by_node: dict[str, list[str]] = {}
        for issue in errors:
            if issue.node_id is not None:
                by_node.setdefault(issue.node_id, []).append(issue.message)
        return {
            "is_valid": not errors,
            "errors": [issue.as_json() for issue in errors],
            "warnings": [issue.as_json() for issue in warnings],
            "node_validation_errors": by_node,
            "error_count": len(errors),
            "warning_count": len(warnings),
        }


def validate(raw: Json, limits: Limits) -> Report:
    """Reads and judges a document in either dialect. Never raises."""
    reading = read_document(raw, limits)
    _Validator(reading, limits).run()
    return Report(reading.document, tuple(reading.findings.issues))


def enabled_edges(connections: Sequence[JsonObject]) -> list[Edge]:
    """The edges that canonical connections make; disabled ones make none."""
    return [
        Edge(
            connection_id=connection["connection_id"],
            source=connection["from_node_id"],
            port=connection["from_port_name"],
            target=connection["to_node_id"],
            conditional=connection.get("conditional"),
        )
        for connection in connections
        if connection["enabled"]
    ]


class _Validator:
    """Judges one document that has been read."""

    def __init__(self, reading: Reading, limits: Limits) -> None:
        self.reading = reading
        self.limits = limits
        self.findings: Findings = reading.findings
        self.nodes: dict[str, JsonObject] = reading.document["nodes"]
        self.edges = enabled_edges(reading.document["connections"])
        self.config = ConfigJudge(self.findings)

    def run(self) -> None:
        if not self.nodes or self._has_too_many_expressions():
            return
        self._judge_nodes()
        self._judge_connections()
        self._judge_triggers()
        types = {node_id: node["node_type"] for node_id, node in self.nodes.items()}
        regions = analyse(types, self.edges, self.limits.max_loop_depth)
        self._report_regions(regions)
        reached = self._judge_reach()
        # What a broken graph does in which order nobody can say.
        order = None if regions.problems else Order(self.nodes, self.edges, regions)
        sight = Sight(regions, reached, order)
        report_unknown_variables(self.reading.document, sight, self.config.mentions, self.findings)
        if order is not None:
            self._report_clashes(order, regions)

    def _has_too_many_expressions(self) -> bool:
        """Each takes a tenth of a millisecond to compile, and a document has room for 100,000."""
        most = self.limits.max_workflow_expressions
        count = sum(each.conditional is not None for each in self.edges)
        for node in self.nodes.values():
            spec = REGISTRY.get(node["node_type"])
            count += 0 if spec is None else count_expressions(node["config"], spec)
        if count > most:
            self.findings.error(
                "TOO_MANY_EXPRESSIONS",
                f"The workflow has {count} expressions; {most} are allowed.",
                "/nodes",
                hint="Move parts into workflows of their own; flow_subworkflow runs one from "
                "another.",
            )
        return count > most

    def _judge_nodes(self) -> None:
        for node_id, node in self.nodes.items():
            node_type = node["node_type"]
            spec = REGISTRY.get(node_type)
            source = self.reading.nodes[node_id]
            if spec is not None:
                self.config.judge(node_id, node["config"], spec, source)
            elif node_type:
                self.findings.error(
                    "UNKNOWN_NODE_TYPE",
                    f"There is no node type '{node_type}'.",
                    source.type,
                    node=node_id,
                    hint=self.findings.nearest.hint(node_type, REGISTRY)
                    or f"The types are {', '.join(sorted(REGISTRY))}.",
                )

    def _judge_connections(self) -> None:
        for connection in self.reading.document["connections"]:
            expression = connection.get("conditional")
            if expression is not None:
                source = self.reading.connections[connection["connection_id"]]
                node_id = connection["from_node_id"]
                turn = connection["from_port_name"] == LOOP_PORT and self._is_loop(node_id)
                moment: Moment = "turn" if turn else "leave"
                self.config.conditional(expression, source.conditional, node_id, moment)

    def _is_loop(self, node_id: str) -> bool:
        return node_id in self.nodes and self.nodes[node_id]["node_type"] in LOOP_TYPES

    def _judge_triggers(self) -> None:
        triggers = [n for n, node in self.nodes.items() if is_trigger(node["node_type"])]
        if not any(self.nodes[node_id]["enabled"] for node_id in triggers):
            off = f"All triggers are disabled: {listed(triggers)}." if triggers else None
            self.findings.error(
                "NO_TRIGGER",
                off or "No node is a trigger, so nothing can start this workflow.",
                "/nodes",
                hint="Add a node of type trigger_command, trigger_event, trigger_webhook or "
                "trigger_schedule, and connect it to the first node.",
            )
        known = set(triggers)
        for edge in self.edges:
            if edge.target in known:
                self.findings.warn(
                    "TRIGGER_HAS_INPUT",
                    f"'{edge.target}' is a trigger: nothing runs it but the start of an execution.",
                    self.reading.connections[edge.connection_id].path,
                    node=edge.target,
                    hint="Remove this connection.",
                )

    def _report_regions(self, regions: Regions) -> None:
        for problem in regions.problems:
            if problem.connection_id is not None:
                path = self.reading.connections[problem.connection_id].path
            else:
                path = self.reading.nodes[problem.node_id or ""].path
            self.findings.error(
                problem.code, problem.message, path, node=problem.node_id, hint=problem.hint
            )

    def _judge_reach(self) -> set[str]:
        """Warns of enabled nodes that no enabled trigger leads to, and returns the others.
        Without any enabled trigger all of them would be, which NO_TRIGGER has said."""
        triggers = (n for n, node in self.nodes.items() if is_trigger(node["node_type"]))
        starts = [node_id for node_id in triggers if self.nodes[node_id]["enabled"]]
        if not starts:
            return set()
        outgoing: dict[str, list[str]] = {}
        for edge in self.edges:
            if edge.source in self.nodes and edge.target in self.nodes:
                outgoing.setdefault(edge.source, []).append(edge.target)
        reached = _reach(starts, outgoing, self.nodes)
        for node_id, node in self.nodes.items():
            if node_id not in reached and node["enabled"]:
                self.findings.warn(
                    "UNREACHABLE_NODE",
                    f"No trigger leads to '{node_id}', so it never runs.",
                    self.reading.nodes[node_id].path,
                    node=node_id,
                    hint="Connect it, disable it or remove it.",
                )
        return reached

    def _report_clashes(self, order: Order, regions: Regions) -> None:
        for race in races_of_iterations(self.nodes, regions):
            self.findings.warn(
                "PARALLEL_WRITE",
                f"Iterations of '{race.loop}' run side by side and '{race.node_id}' sets "
                f"'{race.variable}' in each; the one that finishes last wins.",
                self.reading.nodes[race.node_id].path,
                node=race.node_id,
                hint='Leave `concurrency` out, set it with the scope "local", or read '
                "the node's output instead.",
            )
        for clash in parallel_writes(self.nodes, order, regions):
            self.findings.warn(
                "PARALLEL_WRITE",
                f"'{clash.earlier}' and '{clash.later}' run side by side and both set "
                f"'{clash.variable}'; the one that finishes last wins.",
                self.reading.nodes[clash.later].path,
                node=clash.later,
                hint="Set different variables, or let one node come after the other.",
            )


def _reach(
    starts: Sequence[str],
    outgoing: Mapping[str, Sequence[str]],
    nodes: Mapping[str, JsonObject],
) -> set[str]:
    """What runs from `starts` on; a disabled node is skipped and passes nothing on."""
    reached = set(starts)
    queue = list(starts)
    for node_id in queue:
        for target in outgoing.get(node_id, ()):
            if target not in reached and nodes[target]["enabled"]:
                reached.add(target)
                queue.append(target)
    return reached
