"""What requests for API keys take, and what they answer.

Its one rule: a secret is in the answer that made it and in no other.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from controllers.answers import Instant
from controllers.schemas import WHOLE, Cursor, Id, Name, Request, Size
from services.api_keys import GRACE_SECONDS, LONGEST_GRACE_SECONDS, KeyState

Scope = Literal[
    "workflows:read",
    "workflows:write",
    "executions:read",
    "executions:execute",
    "executions:cancel",
    "admin",
]


class KeyBody(Request):
    """What a key is to be good for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "chat bot",
                    "community_id": 123,
                    "scopes": ["workflows:read", "executions:execute"],
                    "expires_days": 90,
                }
            ]
        }
    )

    name: Name = Field(description="What people know it by.")
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=6)] = Field(
        description="What it may do; no more than your own credential may."
    )
    user_id: Id | None = Field(default=None, description="Whose key it is; yours by default.")
    community_id: Id | None = Field(
        default=None,
        description="The only community it is good for. By default the one your credential is "
        "bound to; if it is bound to none, the key is not either.",
    )
    kind: Literal["user", "service"] = Field(
        default="user", description="A service key may act for users, with `X-Acting-User`."
    )
    expires_days: Annotated[int, Field(ge=1, le=36_500), WHOLE] | None = Field(
        default=None, description="Days until it ends; by default it is good until revoked."
    )


class RotateBody(Request):
    """How a key is replaced."""

    grace_seconds: Annotated[int, Field(ge=0, le=LONGEST_GRACE_SECONDS), WHOLE] = Field(
        default=GRACE_SECONDS,
        description="For how long the old key works beside the new one; 0 ends it at once.",
    )


class KeysQuery(Request):
    """Which keys to list."""

    community_id: Id | None = None
    user_id: Id | None = None
    limit: Size = 20
    cursor: Cursor | None = None


class KeyView(BaseModel):
    """A key, without its secret."""

    key_id: str
    prefix: str = Field(description="The part of the secret that may be shown.")
    name: str
    kind: Literal["user", "service"]
    state: KeyState
    user_id: int
    community_id: int | None
    scopes: list[Scope]
    created_at: str | None = Instant
    created_by: int | None
    expires_at: str | None = Instant
    revoked_at: str | None = Instant
    last_used_at: str | None = Instant
    rotated_to: str | None = None


class MadeKeyView(KeyView):
    """A key just made: the only time that its secret is shown."""

    key: str


class RotatedKeyView(MadeKeyView):
    """A successor, and the key it replaces."""

    replaces: KeyView
