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
from services.audit import MOST_REFUSALS, AuditTrail, Category, Event, Result
from services.clock import new_id
from tests.waiting import until

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
    audit.record(
        Event("AUTHZ", "read", "DENIED", 1, 2, workflow_id, None, "r-1", "::1", {"reason": "no"})
    )
    await audit.stop()
    row = await dal.fetchrow("SELECT * FROM audit_log")
    assert row is not None
    assert dict(row) | {"audit_id": 0, "hash": b"", "recorded_at": None} == {
        "audit_id": 0,
        "hash": b"",
        "recorded_at": None,
        "address": "::1",
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


BAD = {"not": object()}


async def stored(dal: AsyncDAL) -> list[str]:
    return [row["action"] for row in await dal.fetch("SELECT action FROM audit_log ORDER BY 1")]


@pytest.mark.parametrize("bad", [{0}, {3, 4}, {11}, {1, 2, 3, 5, 7, 11}, set(range(12))])
async def test_g16_rows_that_cannot_be_stored_take_no_other_with_them(
    dal: AsyncDAL, stream: io.StringIO, bad: set[int]
) -> None:
    audit = trail(AuditLog(dal), stream)
    for number in range(12):
        details = BAD if number in bad else {}
        audit.record(Event("AUDIT", f"a{number:02}", "SUCCESS", details=details))
    await audit.start()
    await audit.stop()
    assert await stored(dal) == [f"a{number:02}" for number in range(12) if number not in bad]
    lines = [line for line in stream.getvalue().splitlines() if "audit_write" in line]
    assert len(lines) == len(bad)
    assert "raceback" not in stream.getvalue()
    assert all(f"lost_action=a{number:02}" in "".join(lines) for number in bad)


async def test_rows_wait_while_the_table_refuses_them_all(
    dal: AsyncDAL, stream: io.StringIO
) -> None:
    audit = trail(AuditLog(dal), stream)
    await dal.execute("ALTER TABLE audit_log RENAME TO audit_log_away")
    try:
        await audit.start()
        for number in range(12):
            audit.record(event(action=f"a{number:02}"))
        await until(lambda: "waiting=" in stream.getvalue())
    finally:
        await dal.execute("ALTER TABLE audit_log_away RENAME TO audit_log")
    await audit.stop()
    assert await stored(dal) == [f"a{number:02}" for number in range(MOST_REFUSALS, 12)]
    lines = [line for line in stream.getvalue().splitlines() if "audit_write" in line]
    assert len(lines) == MOST_REFUSALS + 2  # what was left out, the trouble, and its end
    assert "raceback" not in stream.getvalue()
