"""What answers look like, for the OpenAPI document.

Its one rule: these models are never run. Answers are written straight from the services' values;
the tests check that they match what stands here.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from engine.context import ExecutionStatus

T = TypeVar("T")

Instant = Field(default=None, json_schema_extra={"format": "date-time"})


class Answer(BaseModel, Generic[T]):
    """Success."""

    success: Literal[True] = True
    message: str
    data: T
    meta: dict[str, Any] = Field(default_factory=dict)


class Problem(BaseModel):
    """One thing wrong with a request."""

    path: str = Field(description="A JSON pointer.")
    message: str
    hint: str | None = None


class ErrorAnswer(BaseModel):
    """Failure."""

    success: Literal[False] = False
    message: str
    error_code: str
    details: dict[str, Any] | list[Problem] = Field(default_factory=dict)


class Started(BaseModel):
    """An execution that was accepted."""

    execution_id: str
    workflow_id: str
    status: ExecutionStatus
    start_time: str | None = Instant
    execution_path: list[str]


class Retried(Started):
    """An execution that runs another one again; `execution_path` are the reused results."""

    retry_of: str


class Signalled(BaseModel):
    """A signal that is on its way."""

    execution_id: str
    signal: str


class BatchItem(BaseModel):
    """What one item of a batch became."""

    index: int
    execution_id: str | None = None
    status: ExecutionStatus | None = None
    error: dict[str, Any] | None = None


class Batch(BaseModel):
    """What the items of a batch became."""

    accepted: int
    rejected: int
    items: list[BatchItem]


class Progress(BaseModel):
    """How far an execution is."""

    current_step: int
    total_steps: int
    percentage: float


class Execution(BaseModel):
    """The whole state of an execution."""

    model_config = ConfigDict(extra="allow")

    execution_id: str
    execution_name: str | None = None
    workflow_id: str
    workflow_name: str
    workflow_version: int
    community_id: int
    user_id: int
    parent_execution_id: str | None = None
    retry_of: str | None = None
    status: ExecutionStatus
    created_at: str = Field(json_schema_extra={"format": "date-time"})
    start_time: str | None = Instant
    end_time: str | None = Instant
    execution_time_seconds: float | None = None
    input_parameters: dict[str, Any]
    execution_path: list[str]
    node_states: dict[str, dict[str, Any]]
    steps: list[dict[str, Any]]
    progress: Progress
    steps_completed: int
    steps_failed: int
    final_variables: dict[str, Any] | None = None
    final_output: Any = None
    error_message: str | None = None
    error_code: str | None = None
    error_node_id: str | None = None
    metrics: dict[str, Any] | None = None


class Summary(BaseModel):
    """An execution in a list."""

    execution_id: str
    workflow_id: str
    workflow_name: str
    workflow_version: int
    execution_name: str | None = None
    status: ExecutionStatus
    success: bool | None = Field(default=None, description="null until it has ended.")
    created_at: str = Field(json_schema_extra={"format": "date-time"})
    start_time: str | None = Instant
    end_time: str | None = Instant
    execution_time_seconds: float | None = None
    nodes_executed: int
    error: str | None = None
    error_code: str | None = None
    triggered_by: str | None = None
    trigger_source: str
    user_id: int
    community_id: int


class ManagedItem(BaseModel):
    """An execution in the second interface."""

    id: str
    execution_id: str
    execution_name: str | None = None
    workflow_id: str
    workflow_template_id: str
    workflow_name: str
    status: ExecutionStatus
    created: str = Field(json_schema_extra={"format": "date-time"})
    started_at: str | None = Instant
    start_time: str | None = Instant
    completed_at: str | None = Instant
    end_time: str | None = Instant
    duration: float | None = None
    total_duration: float | None = Field(default=None, description="Seconds, once it has ended.")
    triggered_by: str | None = None
    user_id: int
    community_id: int
    session_id: str | None = None
    progress: Progress
    steps_completed: int
    steps_failed: int
    total_cost: float
    tokens_used: int
    error: str | None = None


class ManagedExecutions(BaseModel):
    """A page of executions."""

    executions: list[ManagedItem]
    total: int
    page: int
    page_size: int
    has_more: bool
    next_cursor: str | None = None
    total_is_estimate: bool | None = Field(default=None, description="There may be more.")
    partial: bool | None = Field(
        default=None, description="The search paused here and goes on with `next_cursor`."
    )


class ManagedStep(BaseModel):
    """A step of an execution."""

    model_config = ConfigDict(extra="allow")

    step_key: str
    node_id: str
    node_type: str
    attempt: int
    status: str
    input_data: Any = None
    output_data: Any = None
    attempts: list[dict[str, Any]]
    logs: list[dict[str, Any]]


class ManagedSteps(BaseModel):
    """A page of steps."""

    steps: list[ManagedStep]
    total: int
    next_cursor: str | None = None


class ManagedExecution(ManagedItem):
    """An execution in all its details."""

    input_parameters: Any = None
    steps: list[ManagedStep]
    steps_total: int
    steps_next_cursor: str | None = None
    step_results: dict[str, Any]
    final_result: Any = None
    error_details: dict[str, Any] | None = None
    performance_data: dict[str, Any]
    timeline: dict[str, Any]


class Cancelled(BaseModel):
    """An execution that was cancelled."""

    execution_id: str
    status: Literal["cancelled"]
    cancelled_at: str = Field(json_schema_extra={"format": "date-time"})


class Paused(BaseModel):
    """An execution that was asked to pause, or to go on."""

    execution_id: str
    status: ExecutionStatus


class Rehearsal(BaseModel):
    """What a dry run did."""

    model_config = ConfigDict(extra="allow")

    execution_id: str
    workflow_id: str
    test_mode: Literal[True]
    status: ExecutionStatus
    execution_time_seconds: float = Field(description="In virtual time.")
    trace: list[dict[str, Any]]
    final_variables: dict[str, Any]
    final_output: Any = None
    error_message: str | None = None
    error_code: str | None = None
    error_node_id: str | None = None
    assertions: list[dict[str, Any]]
    coverage: dict[str, Any]
    summary: dict[str, Any]


class Workflow(BaseModel):
    """A workflow: its document and what the service knows about it."""

    model_config = ConfigDict(extra="allow")

    workflow_id: str
    name: str
    community_id: int
    status: Literal["draft", "active", "archived"]
    version: int = Field(description="Counts edits; the ETag.")
    published_version: int | None = Field(default=None, description="The live version.")
    nodes: dict[str, dict[str, Any]]
    connections: list[dict[str, Any]]
    created_by: int
    created_at: str = Field(json_schema_extra={"format": "date-time"})
    updated_at: str = Field(json_schema_extra={"format": "date-time"})
    published_at: str | None = Instant


class ChangedWorkflow(BaseModel):
    """A workflow for who changed it and may not read it."""

    model_config = ConfigDict(extra="forbid")

    workflow_id: str
    community_id: int
    status: Literal["draft", "active", "archived"]
    version: int = Field(description="Counts edits; the ETag.")
    published_version: int | None = Field(default=None, description="The live version.")
    updated_at: str = Field(json_schema_extra={"format": "date-time"})
    published_at: str | None = Instant


class Grant(BaseModel):
    """What somebody may do with a workflow."""

    permission_id: str
    workflow_id: str
    permission_type: Literal["user", "role", "community"]
    target_id: str
    can_view: bool
    can_edit: bool
    can_execute: bool
    can_delete: bool
    can_manage_permissions: bool
    granted_by: int
    created_at: str = Field(json_schema_extra={"format": "date-time"})


class Version(BaseModel):
    """A published version."""

    version: int
    published_by: int
    published_at: str = Field(json_schema_extra={"format": "date-time"})
    live: bool = Field(description="Whether new executions use it.")
    document: dict[str, Any] | None = None


class ValidationReport(BaseModel):
    """Everything that is wrong or odd about a document."""

    is_valid: bool
    errors: list[dict[str, Any]]
    warnings: list[dict[str, Any]]
    node_validation_errors: dict[str, list[str]]
    error_count: int
    warning_count: int


class Health(BaseModel):
    """How the service is."""

    model_config = ConfigDict(extra="allow")

    status: str
