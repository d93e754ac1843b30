"""What requests about grants may look like.

Its one rule: a grant names its target and gives exactly what it names; what is left out is not
granted.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, RootModel, ValidationInfo, field_validator
from pydantic.config import JsonDict

from controllers.schemas import (
    A_ROLE,
    AN_ID,
    MAX_ID,
    MAX_ROLE_LENGTH,
    Id,
    Name,
    Request,
    is_role_name,
    whole,
)

_DIGITS = re.compile(r"[0-9]{1,19}")
_ROLE: JsonDict = {"type": "string", "minLength": 1, "maxLength": MAX_ROLE_LENGTH}
_DIGITS_SCHEMA: JsonDict = {"type": "string", "pattern": "^[0-9]{1,18}$"}
_TARGETS: JsonDict = {
    "anyOf": [
        {"properties": {"permission_type": {"const": "role"}, "target_id": _ROLE}},
        {
            "properties": {
                "permission_type": {"enum": ["user", "community"]},
                "target_id": {"anyOf": [{"type": "integer"}, _DIGITS_SCHEMA]},
            }
        },
    ]
}


def _is_written_id(value: object) -> bool:
    return isinstance(value, str) and bool(_DIGITS.fullmatch(value)) and int(value) <= MAX_ID


class GrantTarget(Request):
    """Who a grant is for."""

    model_config = ConfigDict(json_schema_extra=_TARGETS)

    permission_type: Literal["user", "role", "community"]
    target_id: Id | str = Field(
        description="A user's id, a role's name, or the id of the workflow's own community."
    )

    @field_validator("target_id", mode="before")
    @classmethod
    def _names_something(cls, value: object, known: ValidationInfo) -> object:
        """Judged before the union of its types, which would tell what each of them finds."""
        kind = known.data.get("permission_type")  # not there if it was wrong itself
        number = whole(value)
        is_id = type(number) is int and 0 <= number <= MAX_ID  # which no boolean is
        is_role = is_id or (isinstance(value, str) and is_role_name(value))
        if kind in ("user", "community"):
            if not is_id and not _is_written_id(value):
                raise ValueError(f"must be the id of a {kind}, {AN_ID}")
        elif not is_role:
            raise ValueError(f"must be {'' if kind else f'an id, {AN_ID}, or '}{A_ROLE}")
        return number

    def target(self) -> tuple[str, str]:
        """The type and the id, as they are stored."""
        if self.permission_type == "role":
            return "role", str(self.target_id)
        return self.permission_type, str(int(self.target_id))


class GrantTargetQuery(Request):
    """Who a grant is for, where it is not in the body: the document tells of no body, because
    proxies may drop that of a DELETE."""

    permission_type: Literal["user", "role", "community"] | None = Field(
        default=None, json_schema_extra={"required": True}
    )
    target_id: Name | None = Field(default=None, json_schema_extra={"required": True})


class GrantBody(GrantTarget):
    """What somebody may do with a workflow. What is left out is not granted."""

    model_config = ConfigDict(
        json_schema_extra=_TARGETS
        | {
            "examples": [
                {"permission_type": "user", "target_id": 456, "can_view": True, "can_edit": True}
            ]
        }
    )

    can_view: bool = False
    can_edit: bool = False
    can_execute: bool = False
    can_delete: bool = False
    can_manage_permissions: bool = False


class GrantListBody(Request):
    """What several may do with a workflow: all of it is granted, or nothing."""

    permissions: Annotated[list[GrantBody], Field(min_length=1, max_length=100)]


class GrantsBody(RootModel[GrantBody | GrantListBody]):
    """One grant, or several."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"permission_type": "user", "target_id": 456, "can_view": True, "can_edit": True}
            ]
        }
    )
