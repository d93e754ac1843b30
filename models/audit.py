"""The table `audit_log`: append-only, written in batches, read newest first.

Its one rule: rows are inserted, never changed; the database chains them (`audit_chain.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from engine.context import JsonObject
from models.dal import AsyncDAL, Session
from models.failures import UNFIT
from models.query import Query, select

INSERT = """
INSERT INTO audit_log (at, category, action, result, community_id, user_id, workflow_id,
                       execution_id, request_id, address, details)
SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::bigint[],
                     $6::bigint[], $7::uuid[], $8::uuid[], $9::text[], $10::text[], $11::json[])
"""

# Between which ids the rows of a span of time lie. None is recorded before it happened, but for
# what clocks differ; and later than a minute only those that `audit_log_late` has.
BOUNDS = """
SELECT coalesce((SELECT audit_id FROM audit_log
                  WHERE recorded_at >= $1::timestamptz - interval '1 minute'
                  ORDER BY recorded_at, audit_id LIMIT 1), 9223372036854775807) AS lowest,
       greatest((SELECT audit_id FROM audit_log
                  WHERE recorded_at < $2::timestamptz + interval '1 minute'
                  ORDER BY recorded_at DESC, audit_id DESC LIMIT 1),
                (SELECT audit_id FROM audit_log
                  WHERE recorded_at - at > interval '1 minute' AND at < $2::timestamptz
                  ORDER BY audit_id DESC LIMIT 1),
                0) AS highest
"""


class Unstorable(Exception):
    """One of these rows cannot be stored, whatever the state of the database."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One event, to be stored. `address` is where the request came from."""

    at: datetime
    category: str
    action: str
    result: str
    community_id: int | None = None
    user_id: int | None = None
    workflow_id: str | None = None
    execution_id: str | None = None
    request_id: str | None = None
    address: str | None = None
    details: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One event, as stored. `at` is when it happened, `recorded_at` when it was written here;
    `hash` covers it and all before it."""

    audit_id: int
    at: datetime
    recorded_at: datetime
    category: str
    action: str
    result: str
    community_id: int | None
    user_id: int | None
    workflow_id: str | None
    execution_id: str | None
    request_id: str | None
    address: str | None
    details: JsonObject | None
    hash: bytes


COLUMNS = tuple(each.name for each in fields(AuditEntry))


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What a list is narrowed to; None does not narrow. `since` is included, `until` is not."""

    community_id: int | None = None
    user_id: int | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuditLog:
    """Reads and writes of `audit_log`."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def append(self, rows: Sequence[AuditRow]) -> None:
        """Appends all rows in one statement, or none. Raises `Unstorable`, `StoreUnavailable`,
        `OutcomeUnknown`."""
        try:
            await append(self._dal, rows)
        except (*UNFIT, ValueError, TypeError) as error:
            raise Unstorable(f"{type(error).__name__}: {error}") from error

    async def page(
        self, narrow: AuditFilter, *, limit: int, before: int | None = None
    ) -> list[AuditEntry]:
        """The rows older than the one with the id `before`, newest first."""
        highest = None if before is None else before - 1
        lowest = None
        if narrow.since is not None or narrow.until is not None:
            bounds = await self._dal.fetchrow(BOUNDS, narrow.since, narrow.until)
            assert bounds is not None
            if narrow.since is not None:
                lowest = bounds["lowest"]
            if narrow.until is not None:
                highest = min(bounds["highest"], bounds["highest"] if highest is None else highest)
        rows = await self._dal.fetch(self.query(narrow, lowest, highest, limit))
        return [AuditEntry(**dict(row)) for row in rows]

    def query(
        self, narrow: AuditFilter, lowest: int | None, highest: int | None, limit: int
    ) -> Query:
        """The statement of a page of rows between two ids, both included."""
        table = self._dal.db.audit_log
        where: Any = table.audit_id > 0 if lowest is None else table.audit_id >= lowest
        if highest is not None:
            where &= table.audit_id <= highest
        if narrow.community_id is not None:
            where &= table.community_id == narrow.community_id
        if narrow.user_id is not None:
            where &= table.user_id == narrow.user_id
        if narrow.action is not None:
            where &= table.action == narrow.action
        if narrow.since is not None:
            where &= table.at >= narrow.since
        if narrow.until is not None:
            where &= table.at < narrow.until
        fields = [table[name] for name in COLUMNS]
        return select(self._dal.db, where, *fields, orderby=[~table.audit_id], limitby=(0, limit))


async def append(database: AsyncDAL | Session, rows: Sequence[AuditRow]) -> None:
    """Appends all rows in one statement, within a transaction if one is given."""
    columns = [[getattr(row, each.name) for row in rows] for each in fields(AuditRow)]
    await database.execute(INSERT, *columns)
