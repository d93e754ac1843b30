"""The schema that queries are built from is the schema that the migrations make."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from models import query as q
from models.dal import AsyncDAL
from models.migrate import read_migrations

COLUMNS = """
SELECT table_name, column_name, udt_name
FROM information_schema.columns WHERE table_schema = 'public'"""

PRIMARY_KEYS = """
SELECT t.relname AS table_name, array_agg(a.attname::text ORDER BY k.position) AS columns
FROM pg_index i
JOIN pg_class t ON t.oid = i.indrelid AND t.relnamespace = 'public'::regnamespace
CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum
WHERE i.indisprimary GROUP BY t.relname"""

NATIVE = {
    "text": "text",
    "integer": "int4",
    "bigint": "int8",
    "double": "float8",
    "boolean": "bool",
    "json": "json",
    "list:string": "_text",
}

EXECUTION = "018f0000-0000-7000-8000-000000000001"

INSERT_EXECUTION = """
INSERT INTO workflow_executions (execution_id, workflow_id, workflow_version, workflow_name,
    community_id, user_id, trigger_source, trigger_node_id, status, max_execution_seconds, end_time)
VALUES ($1, $1, 1, 'greeting', 1, 2, 'api', 'start', $2, 300, $3)"""

INSERT_STEP = """
INSERT INTO workflow_steps
    (execution_id, seq, step_key, node_id, node_type, kind, status, started_at)
VALUES ($1, $2, 'greet', 'greet', 'data_transform', 'finished', 'completed', now())"""


def native(field: Any) -> str:
    kind = field.type
    return NATIVE[kind] if isinstance(kind, str) else str(kind.native)


async def test_tables_and_migrations_agree_on_every_column(dal: AsyncDAL) -> None:
    migrated: dict[str, dict[str, str]] = {}
    for row in await dal.fetch(COLUMNS):
        migrated.setdefault(row["table_name"], {})[row["column_name"]] = row["udt_name"]
    defined = {name: {f.name: native(f) for f in dal.db[name]} for name in dal.db.tables}
    assert defined == migrated


async def test_tables_and_migrations_agree_on_primary_keys(dal: AsyncDAL) -> None:
    migrated = {row["table_name"]: row["columns"] for row in await dal.fetch(PRIMARY_KEYS)}
    assert {name: dal.db[name]._primarykey for name in dal.db.tables} == migrated


async def test_every_table_can_be_read_by_a_compiled_query(dal: AsyncDAL) -> None:
    for name in dal.db.tables:
        table = dal.db[name]
        key = table[table._primarykey[0]]
        rows = await dal.fetch(q.select(dal.db, key == key))
        assert len(rows) == (len(read_migrations()) if name == "schema_migrations" else 0)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_a_terminal_status_never_changes(dal: AsyncDAL, status: str) -> None:
    await dal.execute(INSERT_EXECUTION, EXECUTION, "pending", None)
    end = "UPDATE workflow_executions SET status = $1, end_time = now()"
    await dal.execute(end, status)
    with pytest.raises(asyncpg.CheckViolationError, match="has ended"):
        await dal.execute("UPDATE workflow_executions SET status = 'running', end_time = NULL")


async def test_a_terminal_row_may_still_be_written_to(dal: AsyncDAL) -> None:
    await dal.execute(INSERT_EXECUTION, EXECUTION, "pending", None)
    await dal.execute("UPDATE workflow_executions SET status = 'failed', end_time = now()")
    again = "UPDATE workflow_executions SET status = 'failed', total_cost = 1"
    assert await dal.execute(again) == 1


async def test_an_execution_has_an_end_time_exactly_when_it_has_ended(dal: AsyncDAL) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="end_time_iff_terminal"):
        await dal.execute(INSERT_EXECUTION, EXECUTION, "completed", None)


async def test_only_a_running_execution_has_a_worker(dal: AsyncDAL) -> None:
    await dal.execute(INSERT_EXECUTION, EXECUTION, "pending", None)
    with pytest.raises(asyncpg.CheckViolationError, match="only_running_has_worker"):
        await dal.execute("UPDATE workflow_executions SET worker_id = execution_id")


async def test_a_recorded_step_never_changes(dal: AsyncDAL) -> None:
    await dal.execute(INSERT_STEP, EXECUTION, 1)
    with pytest.raises(asyncpg.CheckViolationError, match="append-only"):
        await dal.execute("UPDATE workflow_steps SET status = 'failed'")


async def test_a_step_is_recorded_once(dal: AsyncDAL) -> None:
    await dal.execute(INSERT_STEP, EXECUTION, 1)
    with pytest.raises(asyncpg.UniqueViolationError):
        await dal.execute(INSERT_STEP, EXECUTION, 1)
