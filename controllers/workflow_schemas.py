"""What requests about workflow definitions may look like.

Its one rule: as in `schemas.py`; but a definition's own models are never run, they only describe
what `engine/definition.py` reads.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, RootModel, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from controllers.schemas import (
    DEFAULT_SIZE,
    MAX_TEXT,
    Cursor,
    Id,
    Name,
    Page,
    Request,
    Size,
    each_of,
    listed,
    same,
    split,
)
from engine.definition import (
    LONGEST_EXECUTION_SECONDS,
    LONGEST_RETENTION_DAYS,
    OLD_FIELDS,
    OLD_METADATA,
    SERVER_FIELDS,
)

_WORKFLOW_STATUSES = ["draft", "active", "archived"]


def _left_out(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


Left: Any = Field(default=None, json_schema_extra=_left_out)
"""The default of a field that may be left out but not be null."""


WorkflowStatuses = Annotated[str, Field(json_schema_extra={"pattern": listed(_WORKFLOW_STATUSES)})]


class WorkflowsQuery(Request):
    """Which workflows to list."""

    community_id: Id | None = None
    status: (
        Annotated[str, Field(json_schema_extra={"pattern": listed(_WORKFLOW_STATUSES)})] | None
    ) = Field(
        default=None,
        description="One or several of draft, active, archived, with commas. Without it: all but "
        "the archived.",
    )
    search: Annotated[str, Field(max_length=MAX_TEXT)] | None = Field(
        default=None, description="Text in the name or the description."
    )
    tag: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    entity_id: Id | None = None
    limit: Size | None = Field(default=None, description=f"{DEFAULT_SIZE} if not given.")
    cursor: Cursor | None = Field(default=None, description="`next_cursor` of the page before.")
    page: Page | None = Field(default=None, description="Pages by number, instead of a cursor.")
    per_page: Size | None = Field(default=None, description="The same as `limit`.")

    @field_validator("status")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return each_of(value, _WORKFLOW_STATUSES)

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses asked for; none means all but archived."""
        return split(self.status)

    @property
    def size(self) -> int:
        """The size of a page. Raises `NotValid` for two of them."""
        return same("per_page", self.per_page, "limit", self.limit) or DEFAULT_SIZE


class CreateQuery(Request):
    """What to do with a new workflow."""

    publish: bool = Field(default=False, description="Publish it at once.")


class WorkflowBody(Request):
    """A workflow definition. The reader takes both dialects; docs/workflow-definition.md says
    all that may be in it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Greet",
                    "community_id": 123,
                    "nodes": {
                        "start": {
                            "node_type": "trigger_command",
                            "config": {"command": "!hello"},
                        },
                        "greet": {
                            "node_type": "action_chat_message",
                            "config": {"message": "Hello, {{ username }}!"},
                        },
                    },
                    "connections": [{"from_node_id": "start", "to_node_id": "greet"}],
                }
            ]
        }
    )

    name: Name
    community_id: Id
    nodes: dict[str, dict[str, Any]] | list[dict[str, Any]]
    connections: list[dict[str, Any]] | None = None
    description: str | None = None
    entity_id: Id | None = None
    global_variables: dict[str, Any] | None = None
    trigger_type: str | None = None
    trigger_config: dict[str, Any] | None = None
    tags: list[str] | None = None
    max_execution_time_seconds: Annotated[int, Field(ge=1, le=LONGEST_EXECUTION_SECONDS)] | None = (
        None
    )
    max_parallel_executions: Annotated[int, Field(ge=1)] | None = None
    retry_failed_nodes: bool | None = None
    max_retries: Annotated[int, Field(ge=0, le=100)] | None = None
    retention_days: Annotated[int, Field(ge=1, le=LONGEST_RETENTION_DAYS)] | None = None
    error_workflow_id: Annotated[str, Field(json_schema_extra={"format": "uuid"})] | None = None

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """With what an answer may be sent back with, and what older forms of a document had."""
        made = handler.resolve_ref_schema(handler(schema))
        known = made["properties"]
        for name in sorted(SERVER_FIELDS | OLD_FIELDS):
            known.setdefault(name, {"description": "Not kept."})
        old = {name: known[name] for name in sorted(OLD_METADATA)}
        known["metadata"] = {"type": ["object", "null"], "properties": old}
        return made


class JudgedBody(RootModel[WorkflowBody | Any]):
    """What should be a workflow definition. Whatever it is, the answer says what is wrong."""


class WorkflowChanges(WorkflowBody):
    """The fields of a definition that change; those left out stay as they are."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"description": "Says hello.", "version": 1}]}
    )

    name: Name = Left
    community_id: Id = Left
    nodes: dict[str, dict[str, Any]] | list[dict[str, Any]] = Left
    version: int | None = Field(
        default=None, description="The version the change was made on, if not in If-Match."
    )


class NextBody(RootModel[WorkflowChanges | dict[str, Any]]):
    """The fields of a definition as they would be sent to change it. Whatever they are, the answer
    says what is wrong with what would become of it."""
