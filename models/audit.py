"""The table `audit_log`: append-only, written in batches.

Its one rule: rows are inserted, never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from engine.context import JsonObject
from models.dal import AsyncDAL

INSERT = """
INSERT INTO audit_log (at, category, action, result, community_id, user_id, workflow_id,
                       execution_id, request_id, details)
SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::bigint[],
                     $6::bigint[], $7::uuid[], $8::uuid[], $9::text[], $10::json[])
"""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One event, as stored."""

    at: datetime
    category: str
    action: str
    result: str
    community_id: int | None = None
    user_id: int | None = None
    workflow_id: str | None = None
    execution_id: str | None = None
    request_id: str | None = None
    details: JsonObject = field(default_factory=dict)


class AuditLog:
    """Writes of `audit_log`."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def append(self, rows: Sequence[AuditRow]) -> None:
        """Appends all rows in one statement."""
        await self._dal.execute(
            INSERT,
            [row.at for row in rows],
            [row.category for row in rows],
            [row.action for row in rows],
            [row.result for row in rows],
            [row.community_id for row in rows],
            [row.user_id for row in rows],
            [row.workflow_id for row in rows],
            [row.execution_id for row in rows],
            [row.request_id for row in rows],
            [row.details for row in rows],
        )
