"""Reads a workflow document, in either dialect, into the canonical one.

Two dialects come in: WaddleBot's code writes type-specific fields flat on the node, its docs and
hub write them under `config`; both have old names for things. One is stored. Reading never
raises and never stops at the first mistake: what cannot be read is left out and reported.

The one rule: reading is idempotent. A canonical document reads as itself, so what a client got
it may send back. A `retry` is completed, since what it leaves out is the same everywhere. No
default is written into a node's `config` (the handlers know them), and
`max_execution_time_seconds` and `retention_days` stay absent unless given: the server's own
defaults are looked up when an execution starts, and when history is dropped. Written down, they
would stay as they were when the operator changes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.context import Json, JsonObject, Limits
from engine.definition_config import NodeSource
from engine.definition_edges import ConnectionSource, place_nodes, read_connections
from engine.definition_fields import Rule, read_value
from engine.definition_nodes import read_nodes
from engine.issues import Findings, Issue, pointer, sentence, shown
from engine.nodes.checks import check_written
from engine.nodes.subworkflow import canonical_id

SERVER_FIELDS = frozenset(
    {
        "workflow_id",
        "status",
        "version",
        "published_version",
        "created_by",
        "created_at",
        "updated_at",
        "published_at",
        "revision",
    }
)
"""Fields the server adds to what it returns; a client that sends them back loses nothing."""

LONGEST_EXECUTION_SECONDS = 30 * 24 * 3600
LONGEST_RETENTION_DAYS = 36_500

DOCUMENT_RULES = (
    Rule("name", "string", required=True, maximum=255, minimum=1),
    Rule("description", "string"),
    Rule("community_id", "integer", required=True, minimum=0),
    Rule("entity_id", "integer", minimum=0),
    Rule("global_variables", "object"),
    Rule("trigger_type", "string"),
    Rule("trigger_config", "object"),
    Rule("tags", "strings"),
    Rule("max_execution_time_seconds", "integer", minimum=1, maximum=LONGEST_EXECUTION_SECONDS),
    Rule("max_parallel_executions", "integer", minimum=1),
    Rule("retry_failed_nodes", "boolean"),
    Rule("max_retries", "integer", minimum=0, maximum=100),
    Rule("retention_days", "integer", minimum=1, maximum=LONGEST_RETENTION_DAYS),
)
DOCUMENT_DEFAULTS: JsonObject = {
    "global_variables": {},
    "tags": [],
    "max_parallel_executions": None,
    "retry_failed_nodes": False,
    "max_retries": 0,
}
_ERROR_WORKFLOW = Rule("error_workflow_id", "string")
DOCUMENT_FIELDS = frozenset(
    {rule.name for rule in DOCUMENT_RULES} | {_ERROR_WORKFLOW.name, "nodes", "connections"}
)
OLD_FIELDS = frozenset({"license_key", "metadata", "author_id"})
OLD_METADATA = frozenset(
    {"max_execution_time_seconds", "max_retries", "retry_failed_nodes", "tags"}
)
_MEANT = {
    "edges": "connections",
    "variables": "global_variables",
    "title": "name",
    "steps": "nodes",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A document as read.

    `nodes` and `connections` say where in the sent document each node (with its configuration
    keys) and each connection came from: node id or connection id -> place.
    """

    document: JsonObject
    findings: Findings
    nodes: dict[str, NodeSource] = field(default_factory=dict)
    connections: dict[str, ConnectionSource] = field(default_factory=dict)


def read_definition(raw: Json, limits: Limits) -> tuple[JsonObject, list[Issue]]:
    """The canonical document and everything that was wrong or odd about the one sent."""
    reading = read_document(raw, limits)
    return reading.document, reading.findings.issues


def read_document(raw: Json, limits: Limits) -> Reading:
    """Like `read_definition`, with the places things came from, for the validator."""
    findings = Findings()
    if not isinstance(raw, dict):
        findings.shape(f"A workflow definition is an object, not {shown(raw)}.", "")
        return Reading({"nodes": {}, "connections": []}, findings)
    _refuse_unknown(raw, findings)
    old = _read_old_metadata(raw, findings)
    document: JsonObject = {}
    for rule in DOCUMENT_RULES:
        base = "" if raw.get(rule.name) is not None or rule.name not in old else "/metadata"
        value = read_value(rule, old if base else raw, base, findings)
        value = DOCUMENT_DEFAULTS.get(rule.name) if value is None else value
        if value is not None or rule.name in DOCUMENT_DEFAULTS:
            document[rule.name] = value
    error_workflow = _read_error_workflow(raw, findings)
    if error_workflow is not None:
        document[_ERROR_WORKFLOW.name] = error_workflow
    _check_names(document["global_variables"], findings)
    nodes, sources = _read_nodes(raw, limits, findings)
    connections, places = read_connections(raw.get("connections"), nodes, findings)
    place_nodes(nodes, connections)
    document |= {"nodes": nodes, "connections": connections}
    return Reading(document, findings, sources, places)


def _refuse_unknown(raw: JsonObject, findings: Findings) -> None:
    for key in raw:
        if key in DOCUMENT_FIELDS or key in SERVER_FIELDS:
            continue
        if key in OLD_FIELDS:
            findings.warn(
                "IGNORED_FIELD",
                f"`{key}` belongs to an older form of the document and is not kept.",
                pointer("", key),
            )
            continue
        meant = _MEANT.get(key)
        hint = (
            f"Did you mean '{meant}'?"
            if meant
            else findings.nearest.hint(key, sorted(DOCUMENT_FIELDS))
        )
        findings.error(
            "UNKNOWN_FIELD", f"A workflow has no field '{key}'.", pointer("", key), hint=hint
        )


def _read_old_metadata(raw: JsonObject, findings: Findings) -> JsonObject:
    metadata = raw.get("metadata")
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        findings.shape(f"`metadata` must be an object, not {shown(metadata)}.", "/metadata")
        return {}
    return {key: value for key, value in metadata.items() if key in OLD_METADATA}


def _read_error_workflow(raw: JsonObject, findings: Findings) -> str | None:
    """The id of the workflow to start on a failure, as the service itself writes ids."""
    given = read_value(_ERROR_WORKFLOW, raw, "", findings)
    workflow_id = canonical_id(given)
    if given is not None and workflow_id is None:
        findings.shape(
            f"`error_workflow_id` must be the id of a workflow, a UUID, not {shown(given)}.",
            "/error_workflow_id",
            hint="Write the `workflow_id` that GET /workflows shows, or leave it out.",
        )
    return workflow_id


def _check_names(variables: JsonObject, findings: Findings) -> None:
    for found in check_written((pointer("", name), name) for name in variables):
        report = findings.warn if found.warning else findings.error
        code = "BAD_VARIABLE_NAME" if found.warning else "RESERVED_NAME"
        hint = None if found.hint is None else sentence(found.hint)
        report(code, sentence(found.message), f"/global_variables{found.path}", hint=hint)


def _read_nodes(
    raw: JsonObject, limits: Limits, findings: Findings
) -> tuple[dict[str, JsonObject], dict[str, NodeSource]]:
    given = raw.get("nodes")
    if given is None:
        findings.shape(
            "`nodes` is missing.",
            "/nodes",
            hint='Give an object {"id": {"node_type": …}} or a list.',
        )
    elif not isinstance(given, dict | list):
        findings.shape(f"`nodes` must be an object or an array, not {shown(given)}.", "/nodes")
        return {}, {}
    if not given:
        findings.error("NO_NODES", "The workflow has no nodes.", "/nodes", hint="Add a trigger.")
        return {}, {}
    if len(given) > limits.max_workflow_nodes:
        findings.error(
            "TOO_MANY_NODES",
            f"The workflow has {len(given)} nodes; {limits.max_workflow_nodes} are allowed.",
            "/nodes",
            hint="Move parts into workflows of their own; flow_subworkflow runs one from another.",
        )
    if len(given) > 10 * limits.max_workflow_nodes:
        # Judging a document this far off would only keep the service busy.
        return {}, {}
    return read_nodes(given, findings)
