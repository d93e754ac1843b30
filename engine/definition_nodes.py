"""Reads the nodes of a document: their identities and the fields that every node has.

What is of a node's type is read by `definition_config.py`. The one rule: a field is kept as it was
given also where it does nothing, and whoever gave it is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.context import Json, JsonObject
from engine.definition_config import (
    OF_ATTEMPTS,
    NodeSource,
    read_config,
    read_from_config,
    takes_timeout,
)
from engine.definition_fields import Rule, has_type, read_value
from engine.issues import Findings, pointer, shown
from engine.nodes import REGISTRY
from engine.nodes.base import NodeSpec
from engine.retry import completed_retry

LONGEST_TIMEOUT_SECONDS = 30 * 24 * 3600

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
        inner = _own_id(sent)
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
    node_type = sent["node_type"] if sent.get("node_type") is not None else sent.get("type")
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
        config, source = read_config(self.node_id, self.sent, self.path, spec, self.findings)
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
            if spec is not None and rule.name in read_from_config(spec):
                value = self._timeout(rule, value, config, source)
            if value is not None:
                common[rule.name] = value
        if spec is not None and not spec.has_attempts:
            for name in OF_ATTEMPTS:
                if name in common:
                    self._ignored(name, spec)
        return common

    def _ignored(self, name: str, spec: NodeSpec) -> None:
        takers = [each.type for each in REGISTRY.values() if each.has_attempts]
        if name == "timeout_seconds":
            takers.append("flow_wait")
        self.findings.warn(
            "IGNORED_FIELD",
            f"{spec.type} takes no `{name}`; it is kept, but does nothing.",
            pointer(self.path, name),
            node=self.node_id,
            hint=f"Remove it; it has an effect on {', '.join(takers[:-1])} and {takers[-1]}.",
        )

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
        return completed_retry({k: value for k, value in values.items() if value is not None})

    def _timeout(self, rule: Rule, value: Json, config: JsonObject, source: NodeSource) -> Json:
        """Reads a `timeout_seconds` among the settings of a type that has none of this name."""
        if rule.name not in config:
            return value
        path = source.of(rule.name)
        inner = read_value(rule, config, path.rpartition("/")[0], self.findings, self.node_id)
        del config[rule.name]
        if value is None or inner is None:
            return inner if value is None else value
        self.findings.warn(
            "REPEATED_CONFIG_KEY",
            f"'{rule.name}' is given twice; the value on the node itself counts.",
            path,
            node=self.node_id,
            hint=f"Remove '{rule.name}'.",
        )
        return value

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
        return completed_retry({"max_attempts": count + 1})
