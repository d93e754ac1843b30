"""Blueprint `metrics_api`: what has ended, counted, at `/api/v1/workflow-management/metrics`.

Its one rule: a body of this interface stands by itself, without the envelope; errors have theirs.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from quart import Blueprint, Response

from controllers.auth import auth_required, current_caller
from controllers.endpoint import async_endpoint
from controllers.operation import note
from controllers.requests import read_query
from controllers.responses import plain
from controllers.schemas import Id, Request, Uuid
from controllers.state import state
from services.metrics import LONGEST_DAYS, MOST_NODES, Bucket, MetricsRequest

blueprint = Blueprint("metrics_api", __name__, url_prefix="/api/v1/workflow-management")

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?")
_YEARS = range(2000, 3000)


def _instant(given: Any) -> datetime:
    """An RFC 3339 time with its zone, or a date, which begins at midnight UTC."""
    wanted = "must be a time such as 2026-11-27T08:00:00Z, or a date such as 2026-11-27"
    if not isinstance(given, str) or not _TIME.fullmatch(given):
        raise ValueError(wanted)
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise ValueError(wanted) from None
    if moment.tzinfo is None:
        if len(given) > len("2026-11-27"):
            raise ValueError(f"{wanted}; a time needs its zone (a + in it is written %2B)")
        moment = moment.replace(tzinfo=UTC)
    if moment.year not in _YEARS:
        raise ValueError(f"{wanted}, from {_YEARS[0]} on")
    return moment.astimezone(UTC)


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^2[0-9]{3}-",
            "anyOf": [{"format": "date-time"}, {"format": "date"}],
        }
    ),
]


class MetricsQuery(Request):
    """What is counted, and how finely."""

    model_config = ConfigDict(extra="forbid", validate_by_alias=True)

    workflow_id: Uuid | None = Field(
        default=None, description="One workflow. Without it: all that you may view."
    )
    community_id: Id | None = Field(default=None, description="The workflows of one community.")
    start: Instant | None = Field(
        default=None,
        alias="from",
        description="Included; rounded down to a whole bucket. Without it: a day by the hour, "
        "thirty days by the day.",
    )
    end: Instant | None = Field(
        default=None, alias="to", description="Excluded; rounded up. Without it: now."
    )
    bucket: Bucket = Field(
        default="hour",
        description=f"hour: at most {LONGEST_DAYS['hour']} days; day: {LONGEST_DAYS['day']} "
        "days, in UTC.",
    )


class NodeFigures(BaseModel):
    """How one node did; the seconds are of last attempts, without waits."""

    workflow_id: str
    node_id: str
    node_type: str
    runs: int
    failures: int
    failure_rate: float
    mean_seconds: float
    longest_seconds: float


class Figures(BaseModel):
    """What ended in a time."""

    executions: int
    by_status: dict[str, int]
    success_rate: float | None = Field(description="Completed, of those completed or failed.")
    p50_duration: float | None = Field(description="Seconds, of those completed or failed.")
    p95_duration: float | None
    p99_duration: float | None
    mean_duration: float | None
    throughput_per_minute: float
    total_cost: float
    tokens_used: int
    slowest_nodes: list[NodeFigures] = Field(description=f"By mean seconds, at most {MOST_NODES}.")
    most_failing_nodes: list[NodeFigures] = Field(description=f"By failures, at most {MOST_NODES}.")


class BucketFigures(Figures):
    """What ended in one hour or day."""

    start: str
    end: str


class Metrics(BaseModel):
    """The metrics of a span."""

    start: str = Field(alias="from")
    end: str = Field(alias="to")
    bucket: Bucket
    workflow_id: str | None
    community_id: int | None
    totals: Figures
    buckets: list[BucketFigures]


@blueprint.get("/metrics")
@async_endpoint("get_metrics", query=MetricsQuery, answers={200: Metrics}, errors=(404,))
@auth_required("executions:read")
async def get_metrics() -> Response:
    """Counts what has ended, of the workflows you may view: by status, how long it took, how much
    it cost, and which nodes are slow or fail, by the hour or the day and in all."""
    query = read_query(MetricsQuery)
    note(community_id=query.community_id, workflow_id=query.workflow_id)
    asked = MetricsRequest(
        bucket=query.bucket,
        start=query.start,
        end=query.end,
        workflow_id=query.workflow_id,
        community_id=query.community_id,
    )
    return plain(await state().metrics.report(current_caller(), asked))
