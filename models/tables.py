"""Every table as pyDAL sees it: the schema in one place, for building queries.

The truth is `migrations/*.sql`; a test compares the two, so a column added there and not here
(or with another type) fails the build.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydal import DAL
from pydal.helpers.classes import SQLCustomType
from pydal.objects import Field

from models.query import compiler

UUID = SQLCustomType(type="string", native="uuid")
INSTANT = SQLCustomType(type="datetime", native="timestamptz")
BYTES = SQLCustomType(type="blob", native="bytea")
UUIDS = SQLCustomType(type="list:string", native="_uuid")
BIGINTS = SQLCustomType(type="list:integer", native="_int8")


def _uuid(*names: str) -> list[Field]:
    return [Field(name, UUID) for name in names]


def _text(*names: str) -> list[Field]:
    return [Field(name, "text") for name in names]


def _integer(*names: str) -> list[Field]:
    return [Field(name, "integer") for name in names]


def _bigint(*names: str) -> list[Field]:
    return [Field(name, "bigint") for name in names]


def _double(*names: str) -> list[Field]:
    return [Field(name, "double") for name in names]


def _boolean(*names: str) -> list[Field]:
    return [Field(name, "boolean") for name in names]


def _instant(*names: str) -> list[Field]:
    return [Field(name, INSTANT) for name in names]


def _json(*names: str) -> list[Field]:
    return [Field(name, "json") for name in names]


def _texts(*names: str) -> list[Field]:
    return [Field(name, "list:string") for name in names]


def _workflows(define: Any) -> None:
    define(
        "workflows",
        *_uuid("workflow_id"),
        *_bigint("community_id", "entity_id", "created_by"),
        *_text("name", "description", "status"),
        *_json("document"),
        *_integer("version", "published_version"),
        *_texts("tags"),
        *_instant("created_at", "updated_at", "published_at"),
        primarykey=["workflow_id"],
    )
    define(
        "workflow_versions",
        *_uuid("workflow_id"),
        *_integer("version"),
        *_json("document"),
        *_bigint("published_by"),
        *_instant("published_at"),
        primarykey=["workflow_id", "version"],
    )
    define(
        "workflow_permissions",
        *_uuid("permission_id", "workflow_id"),
        *_text("permission_type", "target_id"),
        *_boolean("can_view", "can_edit", "can_execute", "can_delete", "can_manage_permissions"),
        *_bigint("granted_by"),
        *_instant("created_at"),
        primarykey=["permission_id"],
    )
    define(
        "community_members",
        *_bigint("community_id", "user_id"),
        *_text("role"),
        primarykey=["community_id", "user_id", "role"],
    )


def _executions(define: Any) -> None:
    define(
        "workflow_executions",
        *_uuid("execution_id", "workflow_id", "parent_execution_id", "retry_of", "worker_id"),
        *_bigint("community_id", "entity_id", "user_id", "tokens_used"),
        *_bigint("recorded_bytes", "letter_bytes"),
        *_text("workflow_name", "triggered_by", "trigger_source", "trigger_node_id", "session_id"),
        *_text("platform", "execution_name", "parent_step_key", "status"),
        *_uuid("error_workflow_id"),
        *_boolean("error_answered", "has_children"),
        *_integer("depth", "letters", "claims"),
        *_text("error_message", "error_code", "error_node_id"),
        *_json("input_parameters", "metadata", "final_variables", "final_output"),
        *_instant("created", "start_time", "end_time", "wake_at"),
        *_instant("cancel_requested_at", "pause_requested_at", "paused_at"),
        *_double("execution_time_seconds", "engine_seconds", "total_cost", "paused_seconds"),
        *_integer("workflow_version", "max_execution_seconds", "max_parallel_executions"),
        *_integer("recoveries", "last_seq", "nodes_executed", "steps_completed", "steps_failed"),
        *_integer("current_step", "total_steps"),
        primarykey=["execution_id"],
    )
    define(
        "workflow_steps",
        *_uuid("execution_id"),
        *_integer("seq", "attempt"),
        *_text("step_key", "node_id", "node_type", "kind", "status", "port", "error_type"),
        *_instant("started_at", "completed_at", "wake_at", "recorded_at"),
        *_json("input_data", "output_data", "variables", "details", "error", "logs"),
        primarykey=["execution_id", "seq"],
    )
    define(
        "workflow_events",
        *_uuid("execution_id"),
        *_integer("seq"),
        *_text("status"),
        *_instant("at"),
        primarykey=["execution_id", "seq"],
    )
    define(
        "workflow_letters",
        *_uuid("execution_id", "letter_id"),
        *_integer("number"),
        *_text("kind", "name"),
        *_json("payload"),
        *_bigint("sent_by"),
        *_instant("sent_at"),
        primarykey=["execution_id", "number"],
    )


def _workers(define: Any) -> None:
    define(
        "engine_workers",
        *_uuid("worker_id"),
        *_text("name", "state"),
        *_instant("started_at", "heartbeat_at", "lease_until", "locked_at"),
        *_bigint("lock_key"),
        *_boolean("telling"),
        primarykey=["worker_id"],
    )
    define(
        "live_watchers",
        *_uuid("process_id"),
        *_instant("until"),
        primarykey=["process_id"],
    )


def _webhooks(define: Any) -> None:
    define(
        "webhooks",
        *_uuid("webhook_id", "workflow_id"),
        *_bigint("community_id", "created_by", "seen_by"),
        *_text("url", "secret", "old_secret", "disabled_reason"),
        *_texts("events"),
        *_boolean("sees_all", "enabled"),
        *_instant("old_secret_until", "disabled_at", "failing_since", "created_at", "updated_at"),
        primarykey=["webhook_id"],
    )
    define(
        "webhook_deliveries",
        *_uuid("delivery_id", "webhook_id", "execution_id", "alert_id"),
        *_text("event", "payload", "status", "response_body", "error"),
        *_integer("attempts", "claims", "response_status"),
        *_instant("created_at", "due_at", "first_attempt_at", "last_attempt_at", "settled_at"),
        *_double("duration_seconds"),
        primarykey=["delivery_id"],
    )


def _alerts(define: Any) -> None:
    define(
        "alerts",
        *_uuid("alert_id", "workflow_id"),
        *_bigint("community_id", "created_by", "seen_by"),
        *_text("metric", "state"),
        *_double("threshold", "value"),
        *_integer("window_seconds", "min_count", "executions"),
        Field("notify", UUIDS),
        *_boolean("sees_all", "enabled"),
        *_instant("state_since", "evaluated_at", "counting_since", "last_success_at", "due_at"),
        *_instant("created_at", "updated_at"),
        primarykey=["alert_id"],
    )
    define(
        "alert_samples",
        *_uuid("alert_id", "execution_id"),
        *_instant("ended_at"),
        *_boolean("failed"),
        *_double("duration_seconds"),
        primarykey=["alert_id", "ended_at", "execution_id"],
    )
    define(
        "alert_history",
        *_uuid("change_id", "alert_id"),
        *_text("event", "metric"),
        *_instant("at"),
        *_double("threshold", "value"),
        *_integer("window_seconds", "executions"),
        primarykey=["change_id"],
    )


def _rollups(define: Any) -> None:
    define(
        "execution_rollups",
        *_uuid("workflow_id"),
        *_instant("hour"),
        *_integer("lane", "bin"),
        *_text("status"),
        *_bigint("executions"),
        *_double("seconds", "cost", "tokens"),
        primarykey=["workflow_id", "hour", "lane", "status", "bin"],
    )
    define(
        "node_rollups",
        *_uuid("workflow_id"),
        *_instant("hour"),
        *_integer("lane"),
        *_text("node_id", "node_type"),
        *_bigint("runs", "failures"),
        *_double("seconds", "longest_seconds"),
        primarykey=["workflow_id", "hour", "lane", "node_id"],
    )
    define(
        "rollup_horizons",
        *_uuid("workflow_id"),
        *_instant("dropped_until"),
        primarykey=["workflow_id"],
    )
    define(
        "community_history",
        *_bigint("community_id", "bytes"),
        *_integer("lane"),
        primarykey=["community_id", "lane"],
    )


def _gathered(define: Any) -> None:
    define(
        "gathered_rollups",
        *_uuid("workflow_id"),
        *_instant("hour"),
        *_boolean("daily"),
        *_text("status"),
        *_bigint("executions"),
        *_double("seconds", "cost", "tokens"),
        *_integer("lowest_bin"),
        Field("counts", BIGINTS),
        Field("sent", BYTES),
        primarykey=["workflow_id", "daily", "hour", "status"],
    )
    define(
        "gathered_nodes",
        *_uuid("workflow_id"),
        *_instant("hour"),
        *_boolean("daily"),
        *_text("node_id", "node_type"),
        *_bigint("runs", "failures"),
        *_double("seconds", "longest_seconds"),
        primarykey=["workflow_id", "daily", "hour", "node_id"],
    )
    define("gathered_state", *_boolean("one"), *_uuid("state"), primarykey=["one"])


def _operations(define: Any) -> None:
    define(
        "dropped_executions",
        *_instant("dropped_at"),
        *_uuid("execution_id"),
        primarykey=["dropped_at", "execution_id"],
    )
    define(
        "api_keys",
        *_uuid("key_id", "rotated_to"),
        *_text("prefix", "name", "kind"),
        Field("key_hash", BYTES),
        *_bigint("user_id", "community_id", "created_by"),
        *_texts("scopes"),
        *_instant("created_at", "expires_at", "revoked_at", "last_used_at"),
        primarykey=["key_id"],
    )
    define(
        "service_secrets",
        *_text("name"),
        Field("secret", BYTES),
        *_instant("created_at"),
        primarykey=["name"],
    )
    define(
        "community_secrets",
        *_bigint("community_id", "created_by", "updated_by"),
        *_text("name", "key_id"),
        Field("ciphertext", BYTES),
        *_texts("allowed_hosts"),
        *_instant("created_at", "updated_at"),
        primarykey=["community_id", "name"],
    )
    define(
        "idempotency_keys",
        *_bigint("user_id"),
        *_uuid("workflow_id", "execution_id"),
        *_text("key"),
        Field("request_hash", BYTES),
        *_json("answer"),
        *_instant("created_at"),
        primarykey=["user_id", "workflow_id", "key"],
    )
    define(
        "schema_migrations",
        *_integer("version"),
        *_text("name", "checksum"),
        *_instant("applied_at"),
        primarykey=["version"],
    )


def _audit(define: Any) -> None:
    define(
        "audit_log",
        *_bigint("audit_id", "community_id", "user_id"),
        *_instant("at", "recorded_at"),
        *_text("category", "action", "result", "request_id", "address"),
        *_uuid("workflow_id", "execution_id"),
        *_json("details"),
        Field("hash", BYTES),
        primarykey=["audit_id"],
    )
    define(
        "audit_chain",
        *_text("chain"),
        *_bigint("last_id", "pruned_id"),
        Field("last_hash", BYTES),
        Field("pruned_hash", BYTES),
        *_instant("recorded_at"),
        primarykey=["chain"],
    )


@cache
def schema() -> DAL:
    """Every table: `schema().workflows.name` is a field. One does for a process, for it has no
    connection; and pyDAL keeps each that was ever made."""
    db = compiler()
    for tables in (
        _workflows, _executions, _webhooks, _alerts, _rollups, _gathered, _workers, _operations,
        _audit,
    ):  # fmt: skip
        tables(db.define_table)
    return db
