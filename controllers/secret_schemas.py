"""What requests for secrets take, and what they answer.

Its one rule: the answers have no field that a value could be in.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from controllers.schemas import Cursor, Request, Size
from engine.context import JsonObject
from services.community_secrets import LEAST_CHARACTERS, MOST_HOSTS, MOST_VALUE_BYTES

_EXAMPLE: JsonObject = {
    "value": "the token that the service gave you",
    "allowed_hosts": ["api.example.com"],
}


class SecretBody(Request):
    """A secret's value, and where it may be sent."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    value: str = Field(
        repr=False,
        description=f"{LEAST_CHARACTERS} characters to {MOST_VALUE_BYTES} bytes, never shown.",
        json_schema_extra={"minLength": LEAST_CHARACTERS, "maxLength": MOST_VALUE_BYTES},
    )
    allowed_hosts: Annotated[list[str], Field(min_length=1, max_length=MOST_HOSTS)] = Field(
        description="Host names, `*.example.com` for all below one, addresses; `http://` before "
        "one lets it go there without TLS."
    )


class SecretsQuery(Request):
    """Which secrets to list."""

    limit: Size = 20
    cursor: Cursor | None = Field(default=None, description="`next_cursor` of the page before.")


class SecretView(BaseModel):
    """What may be seen of a secret."""

    community_id: int
    name: str
    allowed_hosts: list[str]
    created_at: datetime
    created_by: int
    updated_at: datetime
    updated_by: int
    usable: bool = Field(description="Whether the service has the key that it is encrypted with.")
