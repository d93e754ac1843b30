"""What live streams send, for the OpenAPI document.

Its one rule: as in `answers.py`, these models are never run; the tests check events against them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, RootModel

from engine.context import ExecutionStatus

MEDIA_TYPE = "text/event-stream"


class NothingFollows(BaseModel):
    """Nothing more will follow: the execution has ended, and its last event was seen."""


class LiveProgress(BaseModel):
    """How far an execution has come."""

    current_step: int
    total_steps: int
    percentage: float


class LiveNode(BaseModel):
    """What a record of the journal says about its step."""

    step_key: str
    node_id: str
    node_type: str
    status: Literal["completed", "failed", "running", "waiting", "cancelled"]
    attempt: int
    port: str | None
    started_at: str
    completed_at: str | None
    duration_seconds: float | None
    error: str | None
    error_type: str | None
    wake_at: str | None
    reused: bool
    logs: list[dict[str, Any]]


class ExecutionUpdate(BaseModel):
    """The `data` of each event."""

    type: Literal["execution_update"]
    execution_id: str
    workflow_id: str
    status: ExecutionStatus
    progress: LiveProgress
    node: LiveNode | None = Field(default=None, description="Not in the first and the last event.")
    seq: int = Field(ge=1)
    timestamp: str


class Resync(BaseModel):
    """Something was left out, because the client is too slow or was away: read the list again."""

    type: Literal["resync"]


class StreamMessage(RootModel[ExecutionUpdate | Resync]):
    """What is sent to those who watch everything that they may see."""
