"""Reads of `workflow_executions` for lists and access checks.

Its one rule: nothing here writes; what happens to an execution is the execution store's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from models.dal import AsyncDAL
from models.query import Query, select

SortBy = Literal["start_time", "status", "execution_time"]

SUMMARY = (
    "execution_id",
    "workflow_id",
    "workflow_name",
    "workflow_version",
    "execution_name",
    "status",
    "created",
    "start_time",
    "end_time",
    "execution_time_seconds",
    "nodes_executed",
    "error_message",
    "error_code",
    "triggered_by",
    "trigger_source",
    "user_id",
    "community_id",
)

OWNER = """
SELECT execution_id, workflow_id, community_id, user_id, status
  FROM workflow_executions WHERE execution_id = $1
"""

KNOWN = "SELECT count(*) FROM workflow_executions WHERE execution_id = ANY($1::uuid[])"

COUNT_CAP = 10_000
"""Totals are exact up to here; beyond it a list says that its total is an estimate."""

_SORT_COLUMNS: dict[str, str] = {
    "start_time": "start_time",
    "status": "status",
    "execution_time": "execution_time_seconds",
}


@dataclass(frozen=True, slots=True)
class ExecutionOwner:
    """Whose execution it is: all that access to it depends on."""

    execution_id: str
    workflow_id: str
    community_id: int
    user_id: int
    status: str


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """Which executions of one workflow a list shows; no statuses means all."""

    workflow_id: str
    statuses: tuple[str, ...] = ()


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

    async def page(
        self,
        narrow: ExecutionFilter,
        *,
        sort_by: SortBy,
        descending: bool,
        offset: int,
        limit: int,
    ) -> list[dict[str, Any]]:
        """One page of summaries. What has not started, or not ended, sorts as the newest; ties
        are broken by creation."""
        table = self._dal.db.workflow_executions
        column = table[_SORT_COLUMNS[sort_by]]
        # PostgreSQL puts NULL first in a descending order and last in an ascending one: newest.
        order = (
            [~column, ~table.created, table.execution_id]
            if descending
            else [column, table.created, ~table.execution_id]
        )
        query = select(
            self._dal.db,
            self._where(narrow),
            *[table[name] for name in SUMMARY],
            orderby=order,
            limitby=(offset, offset + limit),
        )
        return [dict(row) for row in await self._dal.fetch(query)]

    async def count(self, narrow: ExecutionFilter) -> int:
        """How many executions the whole list has, counted up to one more than `COUNT_CAP`."""
        table = self._dal.db.workflow_executions
        inner = select(
            self._dal.db, self._where(narrow), table.execution_id, limitby=(0, COUNT_CAP + 1)
        )
        counted = Query(f"SELECT count(*) FROM ({inner.sql}) AS counted", inner.args)
        return int(await self._dal.fetchval(counted))

    def _where(self, narrow: ExecutionFilter) -> Any:
        table = self._dal.db.workflow_executions
        where = table.workflow_id == narrow.workflow_id
        if narrow.statuses:
            where &= table.status.belongs(narrow.statuses)
        return where
