"""What requests about webhooks may look like, and their answers for the OpenAPI document.

Its one rule: the same as in `schemas.py` and `answers.py`; the answers here are bare, without the
envelope, as everything below `/workflow-management`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from controllers.answers import Instant
from controllers.schemas import WHOLE, Cursor, Id, Request, Size, Uuid
from services.webhook_service import EVENTS, LONGEST_URL

LONGEST_OVERLAP_SECONDS = 7 * 86_400

Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=8_192,
        json_schema_extra={"pattern": "^https?://", "maxLength": LONGEST_URL},
    ),
]
Events = Annotated[
    list[str],
    Field(
        min_length=1,
        max_length=16,
        description="What to be told of.",
        json_schema_extra={"items": {"type": "string", "enum": list(EVENTS)}},
    ),
]
_BASE64 = "^whsec_([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?$"
Secret = Annotated[
    str,
    Field(
        max_length=128,
        description="`whsec_` and 24 to 64 bytes in base64.",
        json_schema_extra={"pattern": _BASE64},
    ),
]
DateTime = Field(json_schema_extra={"format": "date-time"})


class WebhookBody(Request):
    """A new webhook."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "url": "https://example.org/hooks/workflows",
                    "events": ["execution.completed", "execution.failed"],
                    "community_id": 123,
                }
            ]
        }
    )

    url: Url = Field(description="Where to POST to.")
    events: Events
    community_id: Id
    workflow_id: Uuid | None = Field(
        default=None, description="Only this workflow; without it, all of the community."
    )
    secret: Secret | None = Field(default=None, description="Without it one is made.")


class WebhookChanges(Request):
    """The fields of a webhook that change; those left out stay as they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": True}]})

    url: Url | None = None
    events: Events | None = None
    community_id: Id | None = Field(default=None, description="Must be the webhook's.")
    workflow_id: Uuid | None = Field(default=None, description="null: all of the community.")
    enabled: bool | None = None


class RotateBody(Request):
    """How a secret is replaced."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_seconds": 3600}]})

    secret: Secret | None = Field(default=None, description="Without it one is made.")
    overlap_seconds: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP_SECONDS), WHOLE] = Field(
        default=86_400, description="For how long the old secret signs as well."
    )


class SubscriptionsQuery(Request):
    """Which webhooks or alerts."""

    community_id: Id | None = None
    workflow_id: Uuid | None = None
    limit: Size = 20
    cursor: Cursor | None = Field(default=None, description="`next_cursor` of the page before.")


class DeliveriesQuery(Request):
    """Which deliveries of a webhook."""

    status: Literal["pending", "delivered", "failed"] | None = None
    limit: Size = 20
    cursor: Cursor | None = Field(default=None, description="`next_cursor` of the page before.")


class WebhookAnswer(BaseModel):
    """A webhook."""

    id: str
    webhook_id: str
    url: str
    events: list[str]
    workflow_id: str | None
    community_id: int
    enabled: bool
    disabled_reason: str | None
    disabled_at: str | None = Instant
    failing_since: str | None = Instant
    old_secret_until: str | None = Field(
        default=None,
        description="Until then the secret before this one signs as well.",
        json_schema_extra={"format": "date-time"},
    )
    created_by: int
    saved_by: int = Field(description="Who saved it last: it is told of what this user may see.")
    created_at: str = DateTime
    updated_at: str = DateTime


class WebhookWithSecret(WebhookAnswer):
    """A webhook and its secret, which is shown this once."""

    secret: str


class WebhookPage(BaseModel):
    """A page of webhooks."""

    webhooks: list[WebhookAnswer]
    has_more: bool
    next_cursor: str | None


class WebhookDeleted(BaseModel):
    """A webhook that is gone."""

    webhook_id: str
    deleted: Literal[True]


class DeliveryAnswer(BaseModel):
    """A delivery and what became of it so far."""

    id: str = Field(description="The `webhook-id` of every try.")
    delivery_id: str
    webhook_id: str
    event: str
    execution_id: str | None
    alert_id: str | None
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    created_at: str = DateTime
    next_attempt_at: str | None = Instant
    first_attempt_at: str | None = Instant
    last_attempt_at: str | None = Instant
    settled_at: str | None = Instant
    response_status: int | None
    response_body: str | None = Field(description="Its first 1,000 characters.")
    error: str | None
    duration_seconds: float | None
    payload: dict[str, Any]


class DeliveryPage(BaseModel):
    """A page of deliveries."""

    deliveries: list[DeliveryAnswer]
    has_more: bool
    next_cursor: str | None
