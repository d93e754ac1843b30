"""What the hot statements cost on a table with history."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from models import backlog, claim_sql, live_sql, rollup_sql, worker_sql
from models import execution_sql as sql
from models.api_keys import ApiKeys, KeyFilter
from models.dal import AsyncDAL
from models.workflows import After
from tests.plans import MODES, explained, vacuumed

FILL = """
INSERT INTO workflow_executions (execution_id, workflow_id, workflow_version, workflow_name,
    community_id, user_id, trigger_source, trigger_node_id, status, start_time, end_time,
    max_execution_seconds, parent_execution_id, parent_step_key, error_workflow_id,
    error_answered, wake_at, worker_id, created, letters)
SELECT gen_random_uuid(), gen_random_uuid(), 1, 'w', 1, 1, 'api', 'start',
       CASE WHEN i % 1000 = 0 THEN 'waiting' WHEN i % 1000 = 1 THEN 'running'
            WHEN i % 3 = 0 THEN 'failed' ELSE 'completed' END,
       now(), CASE WHEN i % 1000 IN (0, 1) THEN NULL ELSE now() END, 300,
       CASE WHEN i % 2 = 0 THEN gen_random_uuid() END, CASE WHEN i % 2 = 0 THEN 'sub' END,
       CASE WHEN i % 3 = 0 THEN gen_random_uuid() END, i % 3 = 0,
       CASE WHEN i % 1000 = 0 THEN now() + interval '1 day' END,
       CASE WHEN i % 1000 = 1 THEN '0190c000-0000-7000-8000-000000000001'::uuid END,
       now() - i * interval '1 s', i % 3
  FROM generate_series($1::int, $1 + 9999) i
"""
ROLL_UPS = (
    "INSERT INTO execution_rollups SELECT gen_random_uuid(), date_bin('1 hour', now(), 'epoch'), 0,"
    " 'completed', i % 50, 1, 1, 0, 0 FROM generate_series(1, 5000) i",
    "INSERT INTO node_rollups SELECT gen_random_uuid(), date_bin('1 hour', now(), 'epoch'), 0,"
    " 'node', 't', 1, 0, 1, 1 FROM generate_series(1, 5000) i",
    "INSERT INTO gathered_rollups SELECT gen_random_uuid(), date_bin('1 hour', now(), 'epoch'),"
    " i % 2 = 0, 'completed', 1, 0, 0, 3, '{1}' FROM generate_series(1, 5000) i",
    "INSERT INTO gathered_nodes SELECT gen_random_uuid(), date_bin('1 hour', now(), 'epoch'),"
    " i % 2 = 0, 'node', 't', 1, 0, 1, 1 FROM generate_series(1, 5000) i",
)
A = "0190c000-0000-7000-8000-000000000001"
CHILDREN = """UPDATE workflow_executions e SET cancel_requested_at = now()
 WHERE parent_execution_id = $1::uuid AND parent_step_key IS NOT NULL AND end_time IS NULL"""


@pytest.fixture
def dal(patient_dal: AsyncDAL) -> AsyncDAL:
    return patient_dal


async def test_no_hot_statement_reads_the_whole_table(dal: AsyncDAL) -> None:
    for first in range(1, 60_000, 10_000):
        await dal.execute(FILL, first)
    await dal.execute(
        "INSERT INTO workflow_letters (execution_id, number, letter_id, kind, name)"
        " SELECT gen_random_uuid(), 1, gen_random_uuid(), 'signal', 'x'"
        " FROM generate_series(1, 50000)"
    )
    await dal.execute(
        "INSERT INTO workflow_steps (execution_id, seq, step_key, node_id, node_type, kind, status,"
        " started_at) SELECT gen_random_uuid(), 2, 'a', 'a', 'x', 'finished', 'completed', now()"
        " FROM generate_series(1, 50000)"
    )
    await dal.execute(
        "INSERT INTO workflow_events (execution_id, seq, status, at)"
        " SELECT gen_random_uuid(), 2, 'paused', now() FROM generate_series(1, 50000)"
    )
    await vacuumed(dal)
    letter = (A, A, "signal", "x", b"1", 1, datetime.now(UTC), "c", 500)
    statements = {
        "LOOK": (sql.LOOK, (A, A)),
        "HEADS": (live_sql.HEADS, ([A],)),
        "RECORDS": (live_sql.RECORDS, ([A], [1], 1000)),
        "AHEAD": (live_sql.AHEAD, ([A], [1])),
        "CLAIM": (claim_sql.CLAIM, (A, 10, [1], [3], 100)),
        "CLAIM_LIMITED": (claim_sql.CLAIM_LIMITED, (A, 10, [1], [3], 100, 50)),
        "PENDING": (sql.PENDING, (100, None)),
        "BACKLOG": (backlog.BACKLOG, (100,)),
        "PENDING of one": (sql.PENDING, (100, 1)),
        "PAUSE": (sql.PAUSE, (A, "c")),
        "RESUME": (sql.RESUME, (A, "c")),
        "ENDED_AMONG": (sql.ENDED_AMONG, ([A],)),
        "UNANSWERED": (sql.UNANSWERED, (50,)),
        "POST": (sql.POST, letter),
        "WHY_NOT_POSTED": (sql.WHY_NOT_POSTED, (A, A)),
        "LETTERS_AFTER": (sql.LETTERS_AFTER, (A, 0)),
        "LETTERS": (sql.LETTERS, ([A],)),
        "ANSWERED": (sql.ANSWERED, ([A],)),
        "CHILDREN": (CHILDREN, (A,)),
        "CANCEL_UNHELD": (sql.CANCEL_UNHELD, (A,)),
        "LET_GO": (sql.LET_GO, (A, [A], [0], "a_channel")),
        "RELEASE": (worker_sql.RELEASE, (A,)),
        "FREE_ORPHANS": (worker_sql.FREE_ORPHANS, ([A],)),
    }
    bad = {}
    for mode in MODES:
        for name, (statement, args) in statements.items():
            async with dal.transaction() as tx:
                plan = "\n".join(await explained(tx, statement, args, mode, "ANALYZE, BUFFERS"))
            if re.search(r"Seq Scan on workflow", plan):
                bad[mode, name] = plan
    assert not bad


async def test_keys_are_listed_by_their_indexes(dal: AsyncDAL) -> None:
    """A page in the middle, of all keys and of one community's: neither a scan nor a sort."""
    await dal.execute(
        "INSERT INTO api_keys (key_id, prefix, key_hash, name, user_id, community_id, created_at)"
        " SELECT gen_random_uuid(), 'wa-', decode(md5(n::text), 'hex'), 'k', n, n % 5,"
        " now() - n * interval '1 second' FROM generate_series(1, 20000) n"
    )
    await vacuumed(dal, "api_keys")
    keys = ApiKeys(dal)
    first = (await keys.page(KeyFilter(), limit=1))[0]
    after = After(first.created_at - timedelta(hours=2), first.key_id)
    for narrow in (KeyFilter(), KeyFilter(community_id=3)):
        query = keys.page_query(narrow, limit=20, after=after)
        lines = await dal.fetch(f"EXPLAIN {query.sql}", *query.args)
        plan = "\n".join(line[0] for line in lines)
        assert "Seq Scan" not in plan, plan
        assert "Sort" not in plan, plan
        assert "api_keys_" in plan, plan


async def test_metrics_are_read_along_the_keys_of_roll_ups(dal: AsyncDAL) -> None:
    """Of the workflows that are asked for, however many others have ended something in that hour:
    also by a statement that was planned while the tables were empty."""
    visible = "SELECT workflow_id FROM unnest($1::uuid[]) AS u (workflow_id)"
    tables = ("gathered_rollups", "gathered_nodes", "execution_rollups", "node_rollups")
    asked = (*rollup_sql.GATHERED, *rollup_sql.LIVE)
    statements = [(each(visible, 2), table) for each, table in zip(asked, tables, strict=True)]
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for at in ("empty", "full"):
        for statement, table in statements:
            for width in (timedelta(hours=1), timedelta(days=1)):
                args = ([A], width, hour - timedelta(days=1), hour + timedelta(hours=1))
                async with dal.transaction() as tx:
                    await tx.execute(rollup_sql.READ)
                    plan = "\n".join(await explained(tx, statement, args, "force_generic_plan"))
                assert re.search(rf"Scan (using|on) {table}_pkey", plan), (at, plan)
                assert "_upkeep" not in plan, (at, plan)
        for fill in ROLL_UPS:
            await dal.execute(fill)
        await vacuumed(dal)
