"""What requests may look like: bodies and query strings, as models and as documentation.

Its one rule: extra fields are forbidden and types are strict, so that a misspelt field is an
error and not a default. Answers are not passed through models; `answers.py` only describes them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    WithJsonSchema,
    field_validator,
)

from engine.context import RESERVED_NAMES, ExecutionStatus
from services.errors import NotValid, Problem
from services.execution_service import LONGEST_SOUGHT

MAX_WAIT_SECONDS = 60
MAX_BATCH_ITEMS = 1000
MAX_PAGE_SIZE = 100
DEFAULT_SIZE = 20
"""How many items a page has whose size may be given by two names."""
MAX_ID = 2**63 - 1
MAX_ROLE_LENGTH = 64
MAX_TEXT = 255
"""Characters of a name, a key, or a text that is looked for."""
EVENT_ID = "^[0-9]{0,9}$"
"""The id of an execution's event; nothing stands for the one before the first."""

_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def canonical_uuid(text: str) -> str | None:
    """A UUID (RFC 9562) in lower case; None for anything that is not written as one, in either
    case, with its hyphens."""
    return text.lower() if _UUID.fullmatch(text) else None


def _uuid(text: str) -> str:
    found = canonical_uuid(text)
    if found is None:
        raise ValueError("must be a UUID, such as 01a203e2-c040-75bd-a705-acc30a6210d0")
    return found


def whole(value: object) -> object:
    """3.0 is an integer to JSON Schema, and so it is here."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(whole)
Id = Annotated[int, Field(ge=0, le=MAX_ID), WHOLE]
Cursor = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1})]
"""What a list gave out. That it is one is judged with the list: `INVALID_CURSOR`."""
Name = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Size = Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE)]
Page = Annotated[int, Field(ge=1, le=10_000)]
AnyPage = Annotated[int, Field(ge=1, le=MAX_ID)]
"""A page of a list that says of itself where it ends."""
Uuid = Annotated[str, AfterValidator(_uuid), Field(json_schema_extra={"format": "uuid"})]

_STATUSES = [status.value for status in ExecutionStatus]


PAGE_BY_NUMBER = (
    "Pages by number, as far as the 10000th execution; a page behind the end of a shorter list is "
    "empty. Not with a cursor."
)


def listed(names: list[str]) -> str:
    """The pattern of a comma list of these names; blanks and empty places count for nothing."""
    one = f" *({'|'.join(names)})? *"
    return f"^{one}(,{one})*$"


Statuses = Annotated[
    str,
    Field(json_schema_extra={"pattern": listed(_STATUSES), "examples": ["completed,failed"]}),
]
"""A comma list of statuses of executions."""


def is_role_name(name: str) -> bool:
    """Whether a role can be called so. With a space at an end it would look like another one."""
    return 0 < len(name) <= MAX_ROLE_LENGTH and name.isprintable() and name == name.strip()


AN_ID = "an integer from 0 to 2^63 - 1"
A_ROLE = f"a role's name, 1 to {MAX_ROLE_LENGTH} characters without a space at either end"


class Request(BaseModel):
    """A part of a request: nothing but what is declared."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class NoQuery(Request):
    """An operation without query parameters."""


Variables = Annotated[
    dict[str, Any],
    Field(json_schema_extra={"propertyNames": {"not": {"enum": sorted(RESERVED_NAMES)}}}),
]
"""Variables of a request. Which names are reserved is judged by `services.requested`."""


class ExecuteBody(Request):
    """What to run a workflow with."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "community_id": 123,
                    "variables": {"username": "ada"},
                    "metadata": {"trigger_source": "api", "platform": "twitch"},
                }
            ]
        }
    )

    community_id: Id = Field(description="The workflow's community.")
    variables: Variables = Field(
        default_factory=dict, description="Overlays the workflow's global variables."
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict,
        description="`trigger_source`, `session_id`, `platform`, `payload` and whatever else "
        "expressions should find under `trigger`. The first two have at most "
        f"{LONGEST_SOUGHT} characters.",
    )
    trigger_node_id: Name | None = Field(
        default=None, description="The trigger that starts, where several could."
    )
    execution_name: Name | None = Field(default=None, description="A name to find it by.")


class TestBody(ExecuteBody):
    """What to rehearse a workflow with."""

    __test__ = False  # not a test, whatever pytest makes of the name

    mocks: dict[str, Any] | None = Field(
        default=None,
        description="By node id: `{output}`, `{error}`, or a list of them, one per call; with "
        "`duration_seconds` if it takes time.",
        json_schema_extra={
            "examples": [
                {
                    "greet": {"output": {"message_id": "m-1"}, "duration_seconds": 2},
                    "look_up": [
                        {"error": {"message": "busy", "type": "HTTP_STATUS", "retryable": True}},
                        {"output": {"status": 200, "headers": {}, "body": {"score": 3}}},
                    ],
                }
            ]
        },
    )
    signals: Any = Field(
        default=None,
        description="The signals that come: `{name, payload, after_seconds}` each, or an object "
        "of names and payloads that come at the start.",
        json_schema_extra={
            "anyOf": [{"type": "array"}, {"type": "object"}, {"type": "null"}],
            "examples": [[{"name": "approved", "payload": {"by": "ada"}, "after_seconds": 60}]],
        },
    )
    assertions: list[Any] | None = Field(
        default=None,
        description="What must be true in the end, 1 to 100: `{expression, message}` each. They "
        "decide `summary.passed`.",
        json_schema_extra={
            "examples": [[{"expression": "final_output.total == 3", "message": "All counted"}]]
        },
    )
    expected_status: Literal["completed", "failed"] = Field(
        default="completed", description="How the rehearsal should end."
    )
    definition: dict[str, Any] | None = Field(
        default=None, description="Rehearse this document instead of the workflow's latest edit."
    )

    def trial(self) -> dict[str, Any]:
        """What the rehearsal is asked; the engine judges it against the workflow."""
        return self.model_dump(include={"mocks", "signals", "assertions", "expected_status"})


class RetryBody(Request):
    """From where, and with what, an ended execution runs again."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"from": "failed"}, {"from": "greet", "variables": {}}]}
    )

    origin: Name = Field(
        default="failed",
        alias="from",
        description="`failed`: what failed or was cut off runs again; `start`: everything does; "
        "a node's id: that node and all that follows it.",
    )
    variables: Variables = Field(
        default_factory=dict, description="Overlays the variables of the old execution."
    )


class SignalBody(RootModel[Any]):
    """A signal's payload: any JSON, or nothing."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"approved": True}]})


class BatchBody(Request):
    """Many executions of one workflow, accepted in one transaction."""

    items: list[Any] = Field(
        min_length=1,
        max_length=MAX_BATCH_ITEMS,
        json_schema_extra={"items": {"anyOf": [ExecuteBody.model_json_schema(), {}]}},
        description="Each a body of `execute`. One that is none gets an error of its own.",
    )


class ExecuteQuery(Request):
    """How long to wait for the end."""

    wait: float = Field(
        default=0,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Seconds to wait for the execution to end; 200 with all of it if it does.",
    )


class DetailsQuery(Request):
    """How much of an execution to show."""

    include_logs: bool = Field(default=True, description="With the log lines of each step.")
    include_metrics: bool = Field(default=False, description="With `metrics`.")


class StepsQuery(Request):
    """Which steps of an execution."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: Cursor | None = Field(
        default=None, description="`meta.next_cursor` of the page before."
    )


class ExecutionsQuery(Request):
    """Which executions of a workflow, and in which order."""

    community_id: Id | None = Field(default=None, description="Must be the workflow's.")
    status: Statuses | None = Field(
        default=None, description=f"One or several of {', '.join(_STATUSES)}, with commas."
    )
    page: AnyPage | None = Field(default=None, description=PAGE_BY_NUMBER)
    per_page: Size = 20
    sort_by: Literal["start_time", "status", "execution_time"] = "start_time"
    sort_order: Literal["asc", "desc"] = "desc"
    cursor: Cursor | None = Field(default=None, description="`next_cursor` of the page before.")

    @field_validator("status")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return known_statuses(value)

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses asked for; none means all."""
        return split(self.status)


def split(listed: str | None) -> tuple[str, ...]:
    """The parts of a comma list."""
    return tuple(part.strip() for part in (listed or "").split(",") if part.strip())


V = TypeVar("V")


def same(name: str, one: V | None, twin: str, other: V | None) -> V | None:
    """What two parameters say that are names of one thing. Raises `NotValid` if they differ."""
    if one is not None and other is not None and one != other:
        message = f"contradicts {twin}, which is another name for it"
        raise NotValid([Problem(path=f"/{name}", message=message)])
    return other if one is None else one


def known_statuses(listed: str | None) -> str | None:
    """A comma list of statuses of executions, as it stands. Raises `ValueError` for others."""
    return each_of(listed, _STATUSES)


def each_of(listed: str | None, known: list[str]) -> str | None:
    """A comma list of names that are known, as it stands. Raises `ValueError` for others."""
    unknown = [part for part in split(listed) if part not in known]
    if unknown:
        raise ValueError(f"unknown status {unknown[0][:40]!r}; known: {', '.join(known)}")
    return listed
