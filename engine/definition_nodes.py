"""Reads the nodes of a document: identities, common fields, and configurations of two dialects.

Keys that every node has (`_NODE_KEYS`) stay on the node; any other key lying flat on it belongs to
its configuration. The one rule: for everything kept, the place it came from is remembered, so
that a finding points into the document as its author wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from engine.context import Json, JsonObject
from engine.definition_fields import Rule, has_type, read_value
from engine.issues import Findings, pointer, shown
from engine.nodes import REGISTRY
from engine.nodes.base import Field, NodeSpec

LONGEST_TIMEOUT_SECONDS = 30 * 24 * 3600

_NODE_KEYS = frozenset({
    "node_id", "id", "node_type", "type", "label", "name", "position", "enabled", "config",
    "retry", "timeout_seconds", "continue_on_error", "effect", "description",
})  # fmt: skip
_DROPPED_KEYS = frozenset({"input_ports", "output_ports", "metadata", "created_at", "updated_at"})
"""What other dialects store on a node and this one derives or does not need."""

NODE_RULES = (
    Rule("timeout_seconds", "number", minimum=0.001, maximum=LONGEST_TIMEOUT_SECONDS),
    Rule("continue_on_error", "boolean"),
    Rule("effect", "string", choices=("at_least_once", "at_most_once")),
    Rule("description", "string"),
)
RETRY_RULES = (
    Rule("max_attempts", "integer", minimum=1, maximum=100),
    Rule("backoff", "string", choices=("exponential", "linear", "fixed", "constant")),
    Rule("initial_seconds", "number", minimum=0, maximum=LONGEST_TIMEOUT_SECONDS),
    Rule("max_seconds", "number", minimum=0, maximum=LONGEST_TIMEOUT_SECONDS),
    Rule("jitter", "boolean"),
)

# An id becomes part of step keys (`each[2].send`), of an HTTP header and of URLs: ASCII without
# brackets keeps the first unambiguous and the second legal. People's words go into the label.
_NODE_ID = re.compile(r"[A-Za-z0-9_.:@/#-](?:[A-Za-z0-9_.:@/# -]{0,253}[A-Za-z0-9_.:@/#-])?")


@dataclass(slots=True)
class NodeSource:
    """Where a node lies in the sent document: itself, its configuration, its type, and each
    canonical configuration key whose place differs from `config`/key."""

    path: str
    config: str
    type: str
    fields: dict[str, str] = field(default_factory=dict)

    def of(self, key: str) -> str:
        """The pointer of a canonical configuration key."""
        return self.fields.get(key) or pointer(self.config, key)

    def below_config(self, path: str) -> str:
        """The pointer for a canonical pointer relative to the configuration (`/cases/0`)."""
        if not path:
            return self.config
        key, slash, rest = path[1:].partition("/")
        return self.of(key.replace("~1", "/").replace("~0", "~")) + slash + rest


def read_nodes(
    raw: Json, findings: Findings
) -> tuple[dict[str, JsonObject], dict[str, NodeSource]]:
    """Canonical nodes by id, in the order sent, and where they came from."""
    nodes: dict[str, JsonObject] = {}
    sources: dict[str, NodeSource] = {}
    entries = _named_entries(raw, findings) if isinstance(raw, dict) else _listed(raw, findings)
    for node_id, sent, path in entries:
        if node_id in nodes:
            findings.error(
                "DUPLICATE_NODE_ID",
                f"Two nodes have the id '{node_id}'.",
                path,
                node=node_id,
                hint="Rename one of them and the connections that mean it.",
            )
            continue
        _check_id(node_id, path, findings)
        nodes[node_id], sources[node_id] = _NodeReader(node_id, sent, path, findings).read()
    return nodes, sources


def _named_entries(
    raw: Mapping[str, Json], findings: Findings
) -> Iterator[tuple[str, JsonObject, str]]:
    for key, sent in raw.items():
        path = pointer("/nodes", key)
        if not isinstance(sent, dict):
            findings.shape(f"A node is an object, not {shown(sent)}.", path, node=key)
            continue
        inner = sent.get("node_id", sent.get("id"))
        if isinstance(inner, str) and inner != key and inner in raw:
            findings.error(
                "DUPLICATE_NODE_ID",
                f"The node under '{key}' calls itself '{inner}', which another node is.",
                path,
                node=key,
                hint="Remove `node_id`: the key is the id.",
            )
        elif inner is not None and inner != key:
            findings.warn(
                "NODE_ID_IGNORED",
                f"The node calls itself {shown(inner)}; its key '{key}' is its id.",
                path,
                node=key,
            )
        yield key, sent, path


def _listed(raw: list[Json], findings: Findings) -> Iterator[tuple[str, JsonObject, str]]:
    nodes = [sent for sent in raw if isinstance(sent, dict)]
    taken = {given for sent in nodes if isinstance(given := _own_id(sent), str)}
    counts: dict[str, int] = {}
    for position, sent in enumerate(raw):
        path = pointer("/nodes", position)
        if not isinstance(sent, dict):
            findings.shape(f"A node is an object, not {shown(sent)}.", path)
            continue
        node_id = _own_id(sent)
        if node_id is None:
            node_id = _next_id(sent, counts, taken)
        elif not isinstance(node_id, str):
            key = "id" if sent.get("node_id") is None else "node_id"
            findings.shape(f"`{key}` must be a string, not {shown(node_id)}.", pointer(path, key))
            continue
        yield node_id, sent, path


def _own_id(sent: JsonObject) -> Json:
    return sent["node_id"] if sent.get("node_id") is not None else sent.get("id")


def _next_id(sent: JsonObject, counts: dict[str, int], taken: set[str]) -> str:
    node_type = sent.get("node_type", sent.get("type"))
    stem = node_type if isinstance(node_type, str) and node_type else "node"
    while True:
        counts[stem] = counts.get(stem, 0) + 1
        made = f"{stem}_{counts[stem]}"
        if made not in taken:
            taken.add(made)
            return made


def _check_id(node_id: str, path: str, findings: Findings) -> None:
    if _NODE_ID.fullmatch(node_id) is None:
        findings.error(
            "BAD_NODE_ID",
            f"{node_id[:60]!r} cannot be a node's id.",
            path,
            node=node_id,
            hint="Use 1 to 255 of A-Z a-z 0-9 _ - . : @ / # and inner spaces; "
            "`label` may hold any text.",
        )


@dataclass(slots=True)
class _NodeReader:
    """Reads one node."""

    node_id: str
    sent: JsonObject
    path: str
    findings: Findings

    def read(self) -> tuple[JsonObject, NodeSource]:
        node_type = self._node_type()
        spec = REGISTRY.get(node_type)
        node: JsonObject = {
            "node_id": self.node_id,
            "node_type": node_type,
            "label": self._label(spec),
            "position": self._position(),
            "enabled": self._value(Rule("enabled", "boolean"), True),
        }
        config, source = _ConfigReader(self, spec).read()
        node["config"] = config
        node |= self._common(spec, config, source)
        return node, source

    def _value(self, rule: Rule, default: Json) -> Json:
        value = read_value(rule, self.sent, self.path, self.findings, self.node_id)
        return default if value is None else value

    def _node_type(self) -> str:
        alias = self.sent.get("node_type") is None and self.sent.get("type") is not None
        rule = Rule("type" if alias else "node_type", "string", required=True, minimum=1)
        return str(self._value(rule, ""))

    def _label(self, spec: NodeSpec | None) -> str:
        named = spec is not None and spec.field_named("name") is not None
        alias = self.sent.get("label") is None and not named
        return self._value(Rule("name" if alias else "label", "string"), None) or self.node_id

    def _position(self) -> JsonObject | None:
        position = self._value(Rule("position", "object"), None)
        if position is None:
            return None
        path = pointer(self.path, "position")
        rules = [Rule(axis, "number", required=True) for axis in ("x", "y")]
        read = {r.name: read_value(r, position, path, self.findings, self.node_id) for r in rules}
        return None if None in read.values() else read

    def _common(self, spec: NodeSpec | None, config: JsonObject, source: NodeSource) -> JsonObject:
        """The optional fields of a node, those given; `continue_on_error` always."""
        common: JsonObject = {}
        retry = self._retry()
        if retry is None and spec is not None and spec.family == "effect":
            retry = self._retry_count(config, source.of("retry_count"))
        if retry is not None:
            common["retry"] = retry
        for rule in NODE_RULES:
            if rule.name == "timeout_seconds" and takes_timeout(spec):
                continue
            value = self._value(rule, False if rule.name == "continue_on_error" else None)
            if value is not None:
                common[rule.name] = value
        return common

    def _retry(self) -> JsonObject | None:
        sent = self._value(Rule("retry", "object"), None)
        if sent is None:
            return None
        path = pointer(self.path, "retry")
        values = {
            rule.name: read_value(rule, sent, path, self.findings, self.node_id)
            for rule in RETRY_RULES
        }
        for key in sent.keys() - values.keys():
            self.findings.error(
                "UNKNOWN_FIELD",
                f"`retry` has no field '{key}'.",
                pointer(path, key),
                node=self.node_id,
                hint=self.findings.nearest.hint(key, values),
            )
        if values["backoff"] == "constant":
            values["backoff"] = "fixed"
        return {key: value for key, value in values.items() if value is not None}

    def _retry_count(self, config: JsonObject, path: str) -> JsonObject | None:
        """Reads the older `retry_count`, the number of tries after the first."""
        count = config.pop("retry_count", None)
        if count is None:
            return None
        if not has_type(count, "integer") or not 0 <= count < 100:
            self.findings.shape(
                f"`retry_count` must be an integer from 0 to 99, not {shown(count)}.",
                path,
                node=self.node_id,
            )
            return None
        return {"max_attempts": count + 1}


@dataclass(slots=True)
class _ConfigReader:
    """Folds a node's configuration, flat or not, under canonical names."""

    node: _NodeReader
    spec: NodeSpec | None
    fields: dict[str, Field] = field(default_factory=dict)
    """By name and by alias; a name beats another field's alias."""

    def read(self) -> tuple[JsonObject, NodeSource]:
        if self.spec is not None:
            by_alias = {alias: each for each in self.spec.fields for alias in each.aliases}
            self.fields = by_alias | {each.name: each for each in self.spec.fields}
        given = self.node.sent.get("config")
        if given is not None and not isinstance(given, dict):
            self.node.findings.shape(
                f"`config` must be an object, not {shown(given)}.",
                pointer(self.node.path, "config"),
                node=self.node.node_id,
            )
        given = given if isinstance(given, dict) else {}
        flat = self._flat(given)
        nested = pointer(self.node.path, "config")
        source = NodeSource(
            self.node.path,
            self.node.path if flat and not given else nested,
            pointer(
                self.node.path, "type" if self.node.sent.get("node_type") is None else "node_type"
            ),
        )
        where = {key: pointer(self.node.path, key) for key in flat}
        where |= {key: pointer(nested, key) for key in given}
        return self._fold(flat | given, where, source), source

    def _flat(self, given: JsonObject) -> JsonObject:
        """The configuration keys lying on the node itself. A null there is what a dump of an
        object's unset attributes leaves, so it is no value."""
        flat: JsonObject = {}
        in_config = {self._canonical(key) for key in given}
        for key, value in self.node.sent.items():
            if value is None or not self._is_config(key):
                continue
            if self._canonical(key) in in_config:
                self._repeated(key, pointer(self.node.path, key), f"config.{self._canonical(key)}")
                continue
            flat[key] = value
        return flat

    def _is_config(self, key: str) -> bool:
        if key == "timeout_seconds":
            return takes_timeout(self.spec)
        if key == "name":
            return key in self.fields
        return key not in _NODE_KEYS and key not in _DROPPED_KEYS

    def _canonical(self, key: str) -> str:
        known = self.fields.get(key)
        return key if known is None else known.name

    def _fold(self, config: JsonObject, where: Mapping[str, str], source: NodeSource) -> JsonObject:
        if self.spec is not None:
            sent, config = config, self.spec.normalise(dict(config))
            where = {**where, **self._rewritten(sent, config, where, source)}
        folded: JsonObject = {}
        for key, value in config.items():
            known = self.fields.get(key)
            name = key if known is None else known.name
            if name != key and (name in folded or name in config):
                self._repeated(key, where.get(key, source.of(key)), name)
                continue
            folded[name] = value if known is None else _canonical_choice(known, value)
            if key in where:
                source.fields[name] = where[key]
            if known is None:
                self._unknown(key, source)
        return folded

    def _rewritten(
        self, sent: JsonObject, made: JsonObject, where: Mapping[str, str], source: NodeSource
    ) -> dict[str, str]:
        """Where the keys come from that the type's own reading made of others."""
        found: dict[str, str] = {}
        for key in made.keys() - sent.keys():
            aliases = self.fields[key].aliases if key in self.fields else ()
            spelt = [alias for alias in aliases if alias in sent]
            if spelt:
                same = [alias for alias in spelt if str(sent[alias]) == str(made[key])]
                found[key] = where[(same or spelt)[0]]
        if "variable_name" in sent and "variable_name" not in made:
            entry = pointer(source.of("variables"), str(sent["variable_name"]))
            name = "value" if "value" in sent else "variable_name"
            self.node.findings.moved[entry] = where[name]
        return found

    def _unknown(self, key: str, source: NodeSource) -> None:
        old_retry = key == "retry_count" and self.spec is not None and self.spec.family == "effect"
        if self.spec is None or old_retry:
            return
        findings = self.node.findings
        known = [each.name for each in self.spec.fields]
        findings.warn(
            "UNKNOWN_CONFIG_KEY",
            f"{self.spec.type} has no setting '{key}'; it is kept, but does nothing.",
            source.of(key),
            node=self.node.node_id,
            hint=findings.nearest.hint(key, known),
        )

    def _repeated(self, key: str, path: str, winner: str) -> None:
        self.node.findings.warn(
            "REPEATED_CONFIG_KEY",
            f"'{key}' is given twice; the value under '{winner}' counts.",
            path,
            node=self.node.node_id,
            hint=f"Remove '{key}'.",
        )


def takes_timeout(spec: NodeSpec | None) -> bool:
    """Whether a `timeout_seconds` on the node itself is configuration: it is how long a
    `flow_wait` waits, and how long any other node may run."""
    return spec is not None and spec.type == "flow_wait"


def _canonical_choice(known: Field, value: Json) -> Json:
    return dict(known.choice_aliases).get(value, value) if isinstance(value, str) else value
