"""The table `workflow_permissions`: who was granted what on a workflow.

Its one rule: a workflow has at most one grant per target, which says exactly what it gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.dal import AsyncDAL

FLAGS = ("can_view", "can_edit", "can_execute", "can_delete", "can_manage_permissions")

COLUMNS = f"""
permission_id, workflow_id, permission_type, target_id, {", ".join(FLAGS)}, granted_by, created_at
"""

OF_WORKFLOW = f"""
SELECT {COLUMNS} FROM workflow_permissions
 WHERE workflow_id = $1 ORDER BY created_at, permission_id LIMIT $2
"""

# Two that are given at once may together exceed the most by a few; the limit keeps lists short.
GIVE = f"""
WITH wish AS (
    SELECT * FROM unnest($3::uuid[], $4::text[], $5::text[], $6::bool[], $7::bool[], $8::bool[],
                         $9::bool[], $10::bool[])
           AS w (permission_id, permission_type, target_id, {", ".join(FLAGS)})
)
INSERT INTO workflow_permissions
       (permission_id, workflow_id, permission_type, target_id, {", ".join(FLAGS)}, granted_by)
SELECT permission_id, $1, permission_type, target_id, {", ".join(FLAGS)}, $2 FROM wish
 WHERE $11::bigint >= (SELECT count(*) FROM wish)
                    + (SELECT count(*) FROM workflow_permissions p
                        WHERE p.workflow_id = $1
                          AND NOT EXISTS (SELECT 1 FROM wish w
                                           WHERE w.permission_type = p.permission_type
                                             AND w.target_id = p.target_id))
    ON CONFLICT (workflow_id, permission_type, target_id)
    DO UPDATE SET {", ".join(f"{flag} = excluded.{flag}" for flag in FLAGS)},
                  granted_by = excluded.granted_by
RETURNING {COLUMNS}
"""

TAKE = f"""
DELETE FROM workflow_permissions
 WHERE workflow_id = $1 AND permission_type = $2 AND target_id = $3
RETURNING {COLUMNS}
"""


@dataclass(frozen=True, slots=True)
class Grant:
    """One grant. `target_id` is a user's or community's id in digits, or a role's name."""

    permission_id: str
    workflow_id: str
    permission_type: str
    target_id: str
    can_view: bool
    can_edit: bool
    can_execute: bool
    can_delete: bool
    can_manage_permissions: bool
    granted_by: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Wish:
    """A grant to be made: its id, should the target have none yet, its target (type and id) and
    all of its flags."""

    permission_id: str
    target: tuple[str, str]
    flags: Mapping[str, bool]


class Grants:
    """Reads and writes of `workflow_permissions`."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def of(self, workflow_id: str, limit: int) -> list[Grant]:
        """A workflow's grants, the oldest first."""
        return [_grant(row) for row in await self._dal.fetch(OF_WORKFLOW, workflow_id, limit)]

    async def give(
        self, workflow_id: str, wishes: Sequence[Wish], *, granted_by: int, most: int
    ) -> list[Grant] | None:
        """Grants each target exactly these flags, whatever it had; None, and nothing is granted,
        if the workflow would have more than `most` grants. No target may be wished for twice."""
        rows = await self._dal.fetch(
            GIVE,
            workflow_id,
            granted_by,
            [wish.permission_id for wish in wishes],
            [wish.target[0] for wish in wishes],
            [wish.target[1] for wish in wishes],
            *([wish.flags[flag] for wish in wishes] for flag in FLAGS),
            most,
        )
        return [_grant(row) for row in rows] if rows else None

    async def take(self, workflow_id: str, target: tuple[str, str]) -> Grant | None:
        """Removes a target's grant and returns it; None if there is none."""
        row = await self._dal.fetchrow(TAKE, workflow_id, *target)
        return None if row is None else _grant(row)


def _grant(row: Any) -> Grant:
    return Grant(**dict(row))
