"""Reads of `workflow_executions` for access checks.

Its one rule: nothing here writes; what happens to an execution is the execution store's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.dal import AsyncDAL

OWNER = """
SELECT execution_id, workflow_id, community_id, user_id, status
  FROM workflow_executions WHERE execution_id = $1
"""

KNOWN = "SELECT count(*) FROM workflow_executions WHERE execution_id = ANY($1::uuid[])"


@dataclass(frozen=True, slots=True)
class ExecutionOwner:
    """Whose execution it is: all that access to it depends on."""

    execution_id: str
    workflow_id: str
    community_id: int
    user_id: int
    status: str


class Executions:
    """Reads of `workflow_executions`."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def owner(self, execution_id: str) -> ExecutionOwner | None:
        """Whose execution this is; None if there is none."""
        row = await self._dal.fetchrow(OWNER, execution_id)
        return None if row is None else ExecutionOwner(**dict(row))

    async def known(self, execution_ids: list[str]) -> int:
        """How many of these executions there are."""
        return int(await self._dal.fetchval(KNOWN, execution_ids))
