"""The values that move through the engine: contexts, steps' outcomes, journal records.

All of them are plain immutable values; nothing here does I/O, asks a clock or decides anything.
JSON values are ordinary Python ones (`dict`, `list`, `str`, `int`, `float`, `bool`, `None`) that
have passed the JSON door: 64-bit integers, finite floats, valid Unicode, depth <= 32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

Json = Any
"""A JSON value. An alias, not a recursive type: checking every nested access buys nothing here."""

JsonObject = dict[str, Any]

RESERVED_NAMES = frozenset({"execution", "trigger", "nodes", "input", "secrets"})
"""Names every expression can read and no caller or node may set; `secrets` only where a field takes
secrets."""


class ExecutionStatus(StrEnum):
    """Where an execution is. The last three are terminal."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """What an execution is born with; stored in its row, never changed afterwards.

    `variables` are the request's (checked against `RESERVED_NAMES`), `metadata` the request's,
    `max_execution_seconds` counts from start to end, `created_at` is aware UTC.

    A child that its parent waits for has `parent_step_key`; one that nobody waits for, or that
    answers a failure, has only `parent_execution_id`. `depth` counts the executions above it.
    `error_workflow_id` is the workflow to start should it fail.
    """

    execution_id: str
    workflow_id: str
    workflow_name: str
    workflow_version: int
    community_id: int
    user_id: int
    trigger_node_id: str
    created_at: datetime
    max_execution_seconds: int
    variables: JsonObject = field(default_factory=dict)
    metadata: JsonObject = field(default_factory=dict)
    trigger_source: str = "api"
    entity_id: int | None = None
    session_id: str | None = None
    platform: str | None = None
    execution_name: str | None = None
    triggered_by: str | None = None
    max_parallel_executions: int | None = None
    parent_execution_id: str | None = None
    parent_step_key: str | None = None
    retry_of: str | None = None
    depth: int = 0
    error_workflow_id: str | None = None


class Kind(StrEnum):
    """What a journal record says about its step."""

    FINISHED = "finished"
    ENTERED = "entered"
    """A loop has evaluated its items (`output` holds them)."""
    ITERATE = "iterate"
    """A `loop_while` tested true and starts its next iteration."""
    WAITING = "waiting"
    """The step is parked until `wake_at`, a signal or a child."""
    RETRYING = "retrying"
    """An attempt failed and the next one starts at `wake_at`."""
    INTENT = "intent"
    """An `at_most_once` effect is about to start."""


@dataclass(frozen=True, slots=True)
class StepError:
    """Why a step failed, as recorded and as an `error` port's payload."""

    message: str
    type: str
    node_id: str
    step_key: str
    attempts: int = 1
    fatal: bool = False
    details: JsonObject | None = None

    def as_json(self) -> JsonObject:
        body: JsonObject = {
            "message": self.message,
            "type": self.type,
            "node_id": self.node_id,
            "step_key": self.step_key,
            "attempts": self.attempts,
        }
        if self.details:
            body["details"] = self.details
        return body


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step gave: the input of the fold.

    `port` is the output port chosen; `variables` overlays the execution's variables, `local` those
    of the iteration; `dead_edges` names connections whose `conditional` was false; `wake_at`,
    `signal` belong to `WAITING` and `RETRYING`; `letter` is the id of the letter that ended a wait.
    """

    step_key: str
    kind: Kind = Kind.FINISHED
    port: str | None = None
    output: Json = None
    variables: JsonObject | None = None
    local: JsonObject | None = None
    error: StepError | None = None
    dead_edges: tuple[str, ...] = ()
    attempt: int = 1
    wake_at: datetime | None = None
    signal: str | None = None
    letter: str | None = None
    usage: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one workflow may ask for. Exceeding one is a clear error, never a silent cut."""

    workflow_timeout_seconds: int = 300
    max_workflow_nodes: int = 500
    max_workflow_expressions: int = 5000
    max_loop_iterations: int = 100
    max_total_operations: int = 1000
    max_loop_depth: int = 10
    max_parallel_nodes: int = 10
    max_subworkflow_depth: int = 10
    max_execution_bytes: int = 67_108_864
