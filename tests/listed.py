"""Executions of every sort for tests of lists, and what a list of them should be.

Rows are written as they stand, without an engine. `expected` is the list by the book: everything is
filtered and sorted in Python, with the rules of docs/execution-api.md and none of the code's.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from models.dal import AsyncDAL
from models.execution_filter import Listing, Narrow, Order, Reach

Row = dict[str, Any]

START = datetime(2026, 1, 1, tzinfo=UTC)
STATUSES = ("pending", "running", "waiting", "paused", "completed", "failed", "cancelled")
ENDED = ("completed", "failed", "cancelled")
SOURCES = ("api", "command", "schedule")
CODES = ("HTTP_STATUS", "TIMEOUT")
NAMES = (None, "nightly 100%", "Nightly_1", "import")
ERRORS = ("It broke.", "50% of it broke", "naïve NIGHT")
LATEST = datetime.max.replace(tzinfo=UTC)

COLUMNS = (
    "execution_id", "workflow_id", "workflow_version", "workflow_name", "community_id", "user_id",
    "trigger_source", "trigger_node_id", "session_id", "execution_name", "status", "created",
    "start_time", "end_time", "execution_time_seconds", "error_message", "error_code",
    "max_execution_seconds", "paused_at",
)  # fmt: skip

WORKFLOWS = """
INSERT INTO workflows (workflow_id, community_id, name, document, created_by)
SELECT id, $2, 'w', '{}', $3 FROM unnest($1::uuid[]) AS u (id)
"""


def uuid_of(number: int) -> str:
    """An id that is always the same."""
    return str(UUID(int=number))


def row(rng: random.Random, workflow_id: str, community_id: int, user_id: int) -> Row:
    """An execution as it may be found at any time. Instants and durations repeat, so that what
    is equal has to be told apart."""
    status = rng.choice(STATUSES)
    created = START + timedelta(minutes=rng.randrange(200))
    started = None
    if status not in ("pending", "cancelled") or rng.random() < 0.5:
        started = created + timedelta(seconds=rng.randrange(5)) if status != "pending" else None
    ended = None
    if status in ENDED:
        ended = (started or created) + timedelta(seconds=rng.randrange(6) / 2)
    seconds = (ended - started).total_seconds() if started and ended else None
    return {
        "execution_id": str(UUID(int=rng.getrandbits(128))),
        "workflow_id": workflow_id,
        "workflow_version": 1,
        "workflow_name": rng.choice(("Greet", "Nightly report")),
        "community_id": community_id,
        "user_id": user_id,
        "trigger_source": rng.choice(SOURCES),
        "trigger_node_id": "start",
        "session_id": rng.choice((None, "s-1", "s-2")),
        "execution_name": rng.choice(NAMES),
        "status": status,
        "created": created,
        "start_time": started,
        "end_time": ended,
        "execution_time_seconds": seconds,
        "error_message": rng.choice(ERRORS) if status == "failed" else None,
        "error_code": rng.choice(CODES) if status == "failed" else None,
        "max_execution_seconds": 300,
        "paused_at": created if status == "paused" else None,
    }


async def write(dal: AsyncDAL, rows: Iterable[Row]) -> None:
    """Writes executions."""
    records = [tuple(each[name] for name in COLUMNS) for each in rows]
    async with dal.transaction() as tx:
        await tx.connection.copy_records_to_table(
            "workflow_executions", records=records, columns=COLUMNS
        )


async def write_workflows(dal: AsyncDAL, ids: Sequence[str], community_id: int, owner: int) -> None:
    """Writes workflows of an owner."""
    await dal.execute(WORKFLOWS, list(ids), community_id, owner)


def expected(rows: Iterable[Row], listing: Listing) -> list[str]:
    """The ids of the whole list."""
    reach, narrow, order = listing.reach, listing.narrow, listing.order
    seen = [each for each in rows if _visible(each, reach) and _wanted(each, narrow)]
    ordered = sorted(seen, key=lambda each: _key(each, order), reverse=order.descending)
    return [each["execution_id"] for each in ordered]


def _visible(each: Row, reach: Reach) -> bool:
    if reach.community_id not in (None, each["community_id"]):
        return False
    mine = each["user_id"] == reach.user_id
    return reach.everything or mine or each["workflow_id"] in reach.workflow_ids


def _wanted(each: Row, narrow: Narrow) -> bool:
    equal = {
        "workflow_id": narrow.workflow_id,
        "community_id": narrow.community_id,
        "user_id": narrow.user_id,
        "trigger_source": narrow.trigger_source,
        "session_id": narrow.session_id,
        "execution_name": narrow.execution_name,
        "error_code": narrow.error_code,
    }
    seconds = each["execution_time_seconds"]
    texts = (each["execution_name"], each["workflow_name"], each["error_message"])
    return (
        all(value in (None, each[name]) for name, value in equal.items())
        and each["status"] in (narrow.statuses or STATUSES)
        and (narrow.since is None or each["created"] >= narrow.since)
        and (narrow.until is None or each["created"] < narrow.until)
        and (narrow.min_duration is None or _within(narrow.min_duration, seconds, None))
        and (narrow.max_duration is None or _within(None, seconds, narrow.max_duration))
        and (
            narrow.text is None
            or any(narrow.text.lower() in text.lower() for text in texts if text is not None)
        )
    )


def _within(shortest: float | None, seconds: float | None, longest: float | None) -> bool:
    if seconds is None:
        return False
    return (shortest or 0) <= seconds <= (seconds if longest is None else longest)


def _key(each: Row, order: Order) -> tuple[Any, ...]:
    last = UUID(each["execution_id"]).int
    if order.sort == "status":
        return (each["status"], each["created"], last)
    if order.sort == "total_duration":
        seconds = each["execution_time_seconds"]
        return (float("inf") if seconds is None else seconds, last)
    column = {"created": "created", "started_at": "start_time", "completed_at": "end_time"}
    return (each[column[order.sort]] or LATEST, last)
