"""What requests for members take, and what they answer.

Its one rule: a role is a name, the same that a grant to a role has.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from controllers.schemas import A_ROLE, MAX_ROLE_LENGTH, Cursor, Request, Size, is_role_name
from services.members import EVERYDAY_ROLE, MOST_ROLES


def role_name(name: str) -> str:
    """The name, if a role can have it. Raises `ValueError`."""
    if not is_role_name(name):
        raise ValueError(f"must be {A_ROLE}")
    return name


Role = Annotated[
    str,
    AfterValidator(role_name),
    Field(json_schema_extra={"minLength": 1, "maxLength": MAX_ROLE_LENGTH}),
]


class MemberBody(Request):
    """What a member is to be."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"roles": ["moderator"]}]})

    roles: Annotated[list[Role], Field(min_length=1, max_length=MOST_ROLES)] = Field(
        default_factory=lambda: [EVERYDAY_ROLE],
        description=f"All of the member's roles; [`{EVERYDAY_ROLE}`] if left out.",
    )


class MembersQuery(Request):
    """Which members to list."""

    role: Role | None = Field(default=None, description="Only those in this role.")
    limit: Size = 20
    cursor: Cursor | None = Field(default=None, description="`next_cursor` of the page before.")


class RoleQuery(Request):
    """Which role to take; all, if none is named."""

    role: Role | None = None


class MemberView(BaseModel):
    """A member of a community."""

    community_id: int
    user_id: int
    roles: list[str]
