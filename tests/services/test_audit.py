"""The audit trail: a line at once, a row soon, never a wait."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import pytest

from engine.errors import StoreUnavailable
from models.audit import AuditLog, AuditRow
from models.dal import AsyncDAL
from services.aaa_log import AaaLog
from services.audit import AuditTrail, Category, Event, Result
from services.clock import new_id

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Database:
    """An audit log in memory that can be away."""

    def __init__(self) -> None:
        self.rows: list[AuditRow] = []
        self.away = False
        self.asked = asyncio.Event()

    async def append(self, rows: Sequence[AuditRow]) -> None:
        self.asked.set()
        if self.away:
            raise StoreUnavailable
        self.rows += rows


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def trail(log: object, stream: io.StringIO, capacity: int = 100) -> AuditTrail:
    return AuditTrail(
        AaaLog(stream),
        cast(AuditLog, log),
        now=lambda: MOMENT,
        capacity=capacity,
        batch=3,
        linger_seconds=0,
        retry_seconds=0,
    )


def event(category: Category = "AUDIT", result: Result = "SUCCESS", action: str = "do") -> Event:
    return Event(category, action, result, community_id=1, user_id=2)


async def test_events_become_rows_in_order(stream: io.StringIO) -> None:
    database = Database()
    audit = trail(database, stream)
    await audit.start()
    for number in range(10):
        audit.record(event(action=f"a{number}"))
    await audit.stop()
    assert [row.action for row in database.rows] == [f"a{number}" for number in range(10)]


async def test_every_event_is_a_line_and_errors_are_no_rows(stream: io.StringIO) -> None:
    database = Database()
    audit = trail(database, stream)
    await audit.start()
    audit.record(event("ERROR", "FAILURE"))
    audit.record(event("AUTHZ", "DENIED"))
    await audit.stop()
    assert " ERROR community=1 user=2 action=do result=FAILURE" in stream.getvalue()
    assert " WARNING workflow_core_module AUTHZ " in stream.getvalue()
    assert [row.category for row in database.rows] == ["AUTHZ"]


async def test_rows_wait_while_the_database_is_away(stream: io.StringIO) -> None:
    database = Database()
    database.away = True
    audit = trail(database, stream)
    await audit.start()
    audit.record(event())
    await database.asked.wait()
    database.away = False
    await audit.stop()
    assert len(database.rows) == 1


async def test_a_full_buffer_drops_rows_and_says_so(stream: io.StringIO) -> None:
    database = Database()
    audit = trail(database, stream, capacity=2)
    for _ in range(5):
        audit.record(event())
    await audit.start()
    await audit.stop()
    assert len(database.rows) == 2
    assert "dropped=3" in stream.getvalue()


async def test_a_row_keeps_everything(dal: AsyncDAL, stream: io.StringIO) -> None:
    audit = trail(AuditLog(dal), stream)
    workflow_id = new_id()
    await audit.start()
    audit.record(Event("AUTHZ", "read", "DENIED", 1, 2, workflow_id, None, "r-1", {"reason": "no"}))
    await audit.stop()
    row = await dal.fetchrow("SELECT * FROM audit_log")
    assert row is not None
    assert dict(row) | {"audit_id": 0} == {
        "audit_id": 0,
        "at": MOMENT,
        "category": "AUTHZ",
        "action": "read",
        "result": "DENIED",
        "community_id": 1,
        "user_id": 2,
        "workflow_id": workflow_id,
        "execution_id": None,
        "request_id": "r-1",
        "details": {"reason": "no"},
    }
