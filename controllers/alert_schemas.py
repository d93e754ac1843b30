"""What requests about alerts may look like, and their answers for the OpenAPI document.

Its one rule: shapes are judged here, and what a condition may be by `alert_condition.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from controllers.answers import Instant
from controllers.schemas import WHOLE, Cursor, Id, Request, Size, Uuid
from controllers.webhook_schemas import DateTime
from services.alert_condition import LONGEST_WINDOW, METRICS, MOST_COUNT, SHORTEST_WINDOW

Notify = Annotated[
    list[Uuid], Field(max_length=16, description="The webhooks that are told, by their ids.")
]


_COUNT = {"type": "integer", "minimum": 0, "maximum": MOST_COUNT}


class ConditionBody(Request):
    """When an alert fires."""

    metric: Annotated[str, Field(json_schema_extra={"enum": list(METRICS)})]
    threshold: float = Field(
        description="It fires once the metric is as much or more. A rate is at most 1, failures "
        "are whole, a silence is at most window_seconds.",
        json_schema_extra={"exclusiveMinimum": 0},
    )
    window_seconds: Annotated[int, WHOLE] = Field(
        description="How far back it looks, 60 to 86,400.",
        json_schema_extra={"minimum": SHORTEST_WINDOW, "maximum": LONGEST_WINDOW},
    )
    min_count: Annotated[int, WithJsonSchema(_COUNT), WHOLE] | None = Field(
        default=None,
        description="Of how many executions at least; 1 for failure_rate and duration_p95, 0 for "
        "the others, unless it is said.",
    )


class AlertBody(Request):
    """A new alert."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "community_id": 123,
                    "condition": {
                        "metric": "failure_rate",
                        "threshold": 0.5,
                        "window_seconds": 300,
                        "min_count": 10,
                    },
                    "notify": [],
                }
            ]
        }
    )

    community_id: Id
    workflow_id: Uuid | None = Field(
        default=None, description="Only this workflow; without it, all of the community."
    )
    condition: ConditionBody
    notify: Notify = Field(default_factory=list)


class AlertChanges(Request):
    """The fields of an alert that change; those left out stay as they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": False}]})

    community_id: Id | None = Field(default=None, description="Must be the alert's.")
    workflow_id: Uuid | None = Field(default=None, description="null: all of the community.")
    condition: ConditionBody | None = None
    notify: Notify | None = None
    enabled: bool | None = None


class HistoryQuery(Request):
    """Which changes of an alert."""

    limit: Size = 20
    cursor: Cursor | None = Field(default=None, description="`next_cursor` of the page before.")


class ConditionAnswer(BaseModel):
    """When an alert fires."""

    metric: str
    threshold: float
    window_seconds: int
    min_count: int


class AlertAnswer(BaseModel):
    """An alert and how it stands."""

    id: str
    alert_id: str
    community_id: int
    workflow_id: str | None
    condition: ConditionAnswer
    notify: list[str]
    enabled: bool
    state: Literal["ok", "firing"]
    state_since: str = DateTime
    value: float | None = Field(description="What the metric was when it was last evaluated.")
    executions: int | None = Field(description="Of how many executions.")
    evaluated_at: str | None = Instant
    created_by: int
    saved_by: int = Field(description="Who saved it last: it counts what this user may see.")
    created_at: str = DateTime
    updated_at: str = DateTime


class AlertPage(BaseModel):
    """A page of alerts."""

    alerts: list[AlertAnswer]
    has_more: bool
    next_cursor: str | None


class AlertDeleted(BaseModel):
    """An alert that is gone."""

    alert_id: str
    deleted: Literal[True]


class ChangeAnswer(BaseModel):
    """Once that an alert fired or recovered."""

    id: str
    alert_id: str
    event: Literal["fired", "recovered"]
    at: str = DateTime
    metric: str
    threshold: float
    window_seconds: int
    value: float | None
    executions: int


class HistoryPage(BaseModel):
    """A page of an alert's changes."""

    history: list[ChangeAnswer]
    has_more: bool
    next_cursor: str | None
