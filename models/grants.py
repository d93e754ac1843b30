"""The table `workflow_permissions`: who was granted what on a workflow.

Its one rule: a workflow has at most one grant per target, which says exactly what it gives.
"""

from __future__ import annotations

from collections.abc import Mapping
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

# Two that are given at once may together exceed the most by one; the limit keeps lists short.
GIVE = f"""
INSERT INTO workflow_permissions
       (permission_id, workflow_id, permission_type, target_id, {", ".join(FLAGS)}, granted_by)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
 WHERE $11::bigint > (SELECT count(*) FROM workflow_permissions
               WHERE workflow_id = $2 AND (permission_type, target_id) <> ($3, $4))
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


class Grants:
    """Reads and writes of `workflow_permissions`."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def of(self, workflow_id: str, limit: int) -> list[Grant]:
        """A workflow's grants, the oldest first."""
        return [_grant(row) for row in await self._dal.fetch(OF_WORKFLOW, workflow_id, limit)]

    async def give(
        self,
        permission_id: str,
        workflow_id: str,
        target: tuple[str, str],
        flags: Mapping[str, bool],
        *,
        granted_by: int,
        most: int,
    ) -> Grant | None:
        """Grants a target (its type and id) exactly these flags, whatever it had; None if the
        workflow would have more than `most` grants."""
        given = [flags[flag] for flag in FLAGS]
        row = await self._dal.fetchrow(
            GIVE, permission_id, workflow_id, *target, *given, granted_by, most
        )
        return None if row is None else _grant(row)

    async def take(self, workflow_id: str, target: tuple[str, str]) -> Grant | None:
        """Removes a target's grant and returns it; None if there is none."""
        row = await self._dal.fetchrow(TAKE, workflow_id, *target)
        return None if row is None else _grant(row)


def _grant(row: Any) -> Grant:
    return Grant(**dict(row))
