"""Small documents for the tests of reader and validator."""

from __future__ import annotations

from typing import Any

from engine.context import JsonObject, Limits
from engine.validation import Report, validate

LIMITS = Limits()
TRIGGER: JsonObject = {"node_type": "trigger_command", "config": {"command": "!hi"}}


def document(nodes: Any = None, *flow: str, **fields: Any) -> JsonObject:
    """A document with a trigger `t`, these nodes and a flow like `t>a`, `each.loop>b`."""
    given = {"t": TRIGGER, **nodes} if isinstance(nodes, dict) else nodes
    connections = [connection(arrow) for arrow in flow]
    return {
        "name": "Test",
        "community_id": 1,
        "nodes": {"t": TRIGGER} if given is None else given,
        "connections": connections,
        **fields,
    }


def connection(arrow: str, **fields: Any) -> JsonObject:
    """The connection written `source.port>target`."""
    origin, target = arrow.split(">")
    source, _, port = origin.partition(".")
    made: JsonObject = {"from_node_id": source, "to_node_id": target}
    return made | ({"from_port_name": port} if port else {}) | fields


def node(node_type: str, **config: Any) -> JsonObject:
    """A node in the `config` dialect."""
    return {"node_type": node_type, "config": config}


def setter(**variables: Any) -> JsonObject:
    """A `data_variable_set`."""
    return node("data_variable_set", variables=variables)


def judge(given: Any, limits: Limits = LIMITS) -> Report:
    """The report on a document."""
    return validate(given, limits)


def error_codes(report: Report) -> list[str]:
    """The codes of the errors, in order."""
    return [issue.code for issue in report.errors]


def warning_codes(report: Report) -> list[str]:
    """The codes of the warnings, in order."""
    return [issue.code for issue in report.warnings]
