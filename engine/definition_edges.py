"""Reads the connections of a document and gives nodes without a position a place.

The one rule: every connection kept is canonical (unique id, port names as the source node has
them), also one that leads nowhere, so that the validator can judge the graph by edges alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from engine.context import Json, JsonObject
from engine.definition_fields import Rule, read_value
from engine.issues import Findings, listed, pointer, shown
from engine.nodes import REGISTRY
from engine.nodes.base import PORT_ALIASES

ERROR_PORT = "error"

CONNECTION_NAMES = {
    "connection_id": ("id",),
    "from_node_id": ("from_node", "source", "from"),
    "to_node_id": ("to_node", "target", "to"),
    "from_port_name": ("from_port", "source_port", "sourceHandle"),
    "to_port_name": ("to_port", "target_port", "targetHandle"),
    "conditional": ("condition",),
    "enabled": (),
}
_CANONICAL = {alias: name for name, aliases in CONNECTION_NAMES.items() for alias in aliases}
_DROPPED_KEYS = frozenset({"label", "description", "metadata", "created_at", "updated_at"})
_NODE_PORT_ALIASES = {"loop_break": {"continue": "output"}}
"""Port names of other dialects that mean `output` on one node type only."""

_MAX_NAME = 255
_OWN_NAMES = {name: name for name in CONNECTION_NAMES}
_ID = Rule("connection_id", "string", minimum=1, maximum=_MAX_NAME)
_SOURCE = Rule("from_node_id", "string", required=True)
_TARGET = Rule("to_node_id", "string", required=True)
_FROM_PORT = Rule("from_port_name", "string", maximum=_MAX_NAME)
_TO_PORT = Rule("to_port_name", "string", maximum=_MAX_NAME)
_ENABLED = Rule("enabled", "boolean")
_CONDITIONAL = Rule("conditional", "string")


def read_connections(
    raw: Json, nodes: Mapping[str, JsonObject], findings: Findings
) -> tuple[list[JsonObject], dict[str, ConnectionSource]]:
    """Canonical connections, and where each came from by its id."""
    if raw is not None and not isinstance(raw, list):
        findings.shape(f"`connections` must be an array, not {shown(raw)}.", "/connections")
    sent = raw if isinstance(raw, list) else []
    reader = _ConnectionReader(nodes, findings, sent)
    connections: list[JsonObject] = []
    sources: dict[str, ConnectionSource] = {}
    for position, each in enumerate(sent):
        path = pointer("/connections", position)
        read = reader.read(each, path, position)
        if read is not None:
            connections.append(read[0])
            sources[read[0]["connection_id"]] = read[1]
    return connections, sources


@dataclass(frozen=True, slots=True)
class ConnectionSource:
    """Where a connection and its `conditional` lie in the sent document."""

    path: str
    conditional: str


class _ConnectionReader:
    """Reads connections one by one, remembering ids given and ports of nodes."""

    def __init__(
        self, nodes: Mapping[str, JsonObject], findings: Findings, sent: Iterable[Json]
    ) -> None:
        self.nodes = nodes
        self.findings = findings
        self.given = {given for each in sent if isinstance(given := _given_id(each), str)}
        self.used: set[str] = set()
        self.ports: dict[str, dict[str, None]] = {}
        """The ports of each node, `error` last."""

    def read(
        self, sent: Json, path: str, position: int
    ) -> tuple[JsonObject, ConnectionSource] | None:
        if not isinstance(sent, dict):
            self.findings.shape(f"A connection is an object, not {shown(sent)}.", path)
            return None
        keys = self._keys(sent, path)
        source = self._value(sent, path, keys, _SOURCE)
        target = self._value(sent, path, keys, _TARGET)
        from_port = self._value(sent, path, keys, _FROM_PORT)
        to_port = self._value(sent, path, keys, _TO_PORT)
        enabled = self._value(sent, path, keys, _ENABLED)
        conditional = self._value(sent, path, keys, _CONDITIONAL)
        connection_id = self._id(sent, path, keys, position)
        if source is None or target is None:
            return None
        self._check_node(source, path, keys["from_node_id"])
        self._check_node(target, path, keys["to_node_id"])
        connection: JsonObject = {
            "connection_id": connection_id,
            "from_node_id": source,
            "from_port_name": self._port(
                source, from_port or "output", path, keys["from_port_name"]
            ),
            "to_node_id": target,
            "to_port_name": to_port or "input",
            "enabled": enabled is not False,
        }
        # An empty text field of an editor is no expression.
        if conditional is not None and conditional.strip():
            connection["conditional"] = conditional
        return connection, ConnectionSource(path, pointer(path, keys["conditional"]))

    def _keys(self, sent: JsonObject, path: str) -> dict[str, str]:
        """Which of its names each field goes by in this connection."""
        keys = dict(_OWN_NAMES)
        for key in sent:
            name = _CANONICAL.get(key, key)
            if name not in CONNECTION_NAMES:
                self._unknown(key, path)
            elif sent.get(name) is None and (sent[key] is not None or keys[name] == name):
                keys[name] = key
        return keys

    def _unknown(self, key: str, path: str) -> None:
        if key not in _DROPPED_KEYS:
            self.findings.warn(
                "UNKNOWN_FIELD",
                f"A connection has no field '{key}'; it is not kept.",
                pointer(path, key),
                hint=self.findings.nearest.hint(key, CONNECTION_NAMES),
            )

    def _value(self, sent: JsonObject, path: str, keys: Mapping[str, str], rule: Rule) -> Json:
        key = keys[rule.name]
        # Complaints name the key the author wrote.
        named = rule if key == rule.name else replace(rule, name=key)
        return read_value(named, sent, path, self.findings)

    def _id(self, sent: JsonObject, path: str, keys: Mapping[str, str], position: int) -> str:
        given: str | None = self._value(sent, path, keys, _ID)
        if given is not None and given in self.used:
            self.findings.error(
                "DUPLICATE_CONNECTION_ID",
                f"Two connections have the id '{given}'.",
                pointer(path, keys["connection_id"]),
                hint="Rename one of them or leave `connection_id` out.",
            )
            given = None
        if given is None:
            given = self._free_id(position)
        self.used.add(given)
        return given

    def _free_id(self, position: int) -> str:
        made = f"c{position + 1}"
        while made in self.given or made in self.used:
            made += "_"
        return made

    def _check_node(self, node_id: str, path: str, key: str) -> None:
        if node_id not in self.nodes:
            self.findings.error(
                "UNKNOWN_NODE_IN_CONNECTION",
                f"There is no node '{node_id}'.",
                pointer(path, key),
                hint=self.findings.nearest.hint(node_id, self.nodes),
            )

    def _port(self, node_id: str, name: str, path: str, key: str) -> str:
        """The canonical name of an output port; one the node does not have is reported."""
        node = self.nodes.get(node_id)
        spec = None if node is None else REGISTRY.get(node["node_type"])
        if node is None or spec is None:
            return name
        if node_id not in self.ports:
            self.ports[node_id] = dict.fromkeys((*spec.ports(node["config"]), ERROR_PORT))
        ports = self.ports[node_id]
        if name in ports:
            return name
        alias = _NODE_PORT_ALIASES.get(spec.type, PORT_ALIASES).get(name) or PORT_ALIASES.get(name)
        if alias in ports:
            return alias
        if not spec.any_port:
            self.findings.error(
                "UNKNOWN_PORT",
                f"'{node_id}' ({spec.type}) has no output port '{name}'; it has {listed(ports)}.",
                pointer(path, key),
                node=node_id,
                hint=self.findings.nearest.hint(name, ports),
            )
        return name


def _given_id(sent: Json) -> Json:
    """The id a connection was sent with; null means that it was left out."""
    if not isinstance(sent, dict):
        return None
    own = sent.get("connection_id")
    return sent.get("id") if own is None else own


def place_nodes(nodes: Mapping[str, JsonObject], connections: Iterable[JsonObject]) -> None:
    """Gives every node without a position one: to the right by its distance from where the
    workflow starts, downwards by its order."""
    if all(node["position"] is not None for node in nodes.values()):
        return
    outgoing: dict[str, list[str]] = {node_id: [] for node_id in nodes}
    entered: set[str] = set()
    for connection in connections:
        source, target = connection["from_node_id"], connection["to_node_id"]
        if source in nodes and target in nodes:
            outgoing[source].append(target)
            entered.add(target)
    starts = [n for n, node in nodes.items() if node["node_type"].startswith("trigger_")]
    column = dict.fromkeys(starts or [n for n in nodes if n not in entered], 0)
    queue = list(column)
    for node_id in queue:
        for target in outgoing[node_id]:
            if target not in column:
                column[target] = column[node_id] + 1
                queue.append(target)
    rows: dict[int, int] = {}
    for node_id, node in nodes.items():
        x = column.get(node_id, 0)
        row = rows[x] = rows.get(x, -1) + 1
        if node["position"] is None:
            node["position"] = {"x": 100 + 200 * x, "y": 100 + 120 * row}
