"""Reads a node's configuration, flat on the node or under `config`, under its canonical names.

Keys that every node has (`NODE_KEYS`) stay on the node; any other key lying flat on it belongs to
its configuration. The one rule: for every key kept, the place it came from is remembered, so that
a finding points into the document as its author wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.context import Json, JsonObject
from engine.issues import Findings, pointer, shown
from engine.nodes.base import Field, NodeSpec

NODE_KEYS = frozenset({
    "node_id", "id", "node_type", "type", "label", "name", "position", "enabled", "config",
    "retry", "timeout_seconds", "continue_on_error", "effect", "description",
})  # fmt: skip
_DROPPED_KEYS = frozenset({"input_ports", "output_ports", "metadata", "created_at", "updated_at"})
"""What other dialects store on a node and this one derives or does not need."""

OF_ATTEMPTS = ("retry", "timeout_seconds", "effect")
"""The keys of a node that say how its attempts are made; where none are made they do nothing."""
_MEANT_KEYS = ("continue_on_error", "enabled", "label", "description", "position")
"""What else a misspelt key may have meant on any node."""


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


def read_config(
    node_id: str, sent: JsonObject, path: str, spec: NodeSpec | None, findings: Findings
) -> tuple[JsonObject, NodeSource]:
    """The canonical configuration of a node that was sent as `sent`, and where it came from."""
    return _ConfigReader(node_id, sent, path, spec, findings).read()


def takes_timeout(spec: NodeSpec | None) -> bool:
    """Whether a `timeout_seconds` on the node itself is configuration: it is how long a
    `flow_wait` waits, and how long any other node may run."""
    return spec is not None and spec.type == "flow_wait"


def read_from_config(spec: NodeSpec) -> tuple[str, ...]:
    """The keys that are no settings of this type, but are read as what the node itself says of its
    attempts: the older `retry_count`, and a `timeout_seconds`."""
    if not spec.has_attempts:
        return ()
    older = ("retry_count",) if spec.family == "effect" else ()
    return older if spec.field_named("timeout_seconds") else (*older, "timeout_seconds")


@dataclass(slots=True)
class _ConfigReader:
    """Folds a node's configuration, flat or not, under canonical names."""

    node_id: str
    sent: JsonObject
    path: str
    spec: NodeSpec | None
    findings: Findings
    fields: dict[str, Field] = field(default_factory=dict)
    """By name and by alias; a name beats another field's alias."""

    def read(self) -> tuple[JsonObject, NodeSource]:
        if self.spec is not None:
            by_alias = {alias: each for each in self.spec.fields for alias in each.aliases}
            self.fields = by_alias | {each.name: each for each in self.spec.fields}
        given = self.sent.get("config")
        if given is not None and not isinstance(given, dict):
            self.findings.shape(
                f"`config` must be an object, not {shown(given)}.",
                pointer(self.path, "config"),
                node=self.node_id,
            )
        given = self._unmasked(given) if isinstance(given, dict) else {}
        flat = self._flat(given)
        nested = pointer(self.path, "config")
        source = NodeSource(
            self.path,
            self.path if flat and not given else nested,
            pointer(self.path, "type" if self.sent.get("node_type") is None else "node_type"),
        )
        where = {key: pointer(self.path, key) for key in flat}
        where |= {key: pointer(nested, key) for key in given}
        return self._fold(flat | given, where, source), source

    def _unmasked(self, given: JsonObject) -> JsonObject:
        """`given` without the nulls of settings that stand under another of their names, or flat:
        a null is as good as left out, unless the setting takes any value."""
        sent = {key: value for key, value in self.sent.items() if self._is_config(key)}
        valued = {
            self._canonical(key)
            for keys in (sent, given)
            for key, value in keys.items()
            if value is not None
        }
        return {
            key: value
            for key, value in given.items()
            if value is not None
            or key not in self.fields
            or self._canonical(key) not in valued
            or "any" in self.fields[key].types
        }

    def _flat(self, given: JsonObject) -> JsonObject:
        """The configuration keys lying on the node itself. A null there is what a dump of an
        object's unset attributes leaves, so it is no value."""
        flat: JsonObject = {}
        in_config = {self._canonical(key) for key in given}
        for key, value in self.sent.items():
            if value is None or not self._is_config(key):
                continue
            if self._canonical(key) in in_config:
                self._repeated(key, pointer(self.path, key), f"config.{self._canonical(key)}")
                continue
            flat[key] = value
        return flat

    def _is_config(self, key: str) -> bool:
        if key == "timeout_seconds":
            return takes_timeout(self.spec)
        if key == "name":
            return key in self.fields
        return key not in NODE_KEYS and key not in _DROPPED_KEYS

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
            self.findings.moved[entry] = where[name]
        return found

    def _unknown(self, key: str, source: NodeSource) -> None:
        if self.spec is None or key in read_from_config(self.spec):
            return
        self.findings.warn(
            "UNKNOWN_CONFIG_KEY",
            f"{self.spec.type} has no setting '{key}'; it is kept, but does nothing.",
            source.of(key),
            node=self.node_id,
            hint=self._meant(key, self.spec, on_node=source.of(key) == pointer(self.path, key)),
        )

    def _meant(self, key: str, spec: NodeSpec, *, on_node: bool) -> str | None:
        """The known key most like this one: a setting, in its canonical name, or a key of the
        node itself that does something on one of this type."""
        settings = {name: each.name for name, each in self.fields.items()}
        known = {each.name: each.name for each in spec.fields} | settings
        own = (*_MEANT_KEYS, *(OF_ATTEMPTS if spec.has_attempts else ()))
        found = self.findings.nearest.to(
            key, (*known, *(name for name in own if name not in known))
        )
        if found is None:
            return None
        if found in known or on_node:
            return f"Did you mean '{known.get(found, found)}'?"
        if found == key:
            return f"'{key}' belongs on the node itself, beside `config`."
        return f"Did you mean '{found}'? It belongs on the node itself, beside `config`."

    def _repeated(self, key: str, path: str, winner: str) -> None:
        self.findings.warn(
            "REPEATED_CONFIG_KEY",
            f"'{key}' is given twice; the value under '{winner}' counts.",
            path,
            node=self.node_id,
            hint=f"Remove '{key}'.",
        )


def _canonical_choice(known: Field, value: Json) -> Json:
    return dict(known.choice_aliases).get(value, value) if isinstance(value, str) else value
