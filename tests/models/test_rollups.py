"""What has ended is counted once, whatever ended it, and the counts outlive the rows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from engine.context import ExecutionContext, ExecutionStatus, Kind
from engine.records import Batch
from models import rollup_sql, turns
from models import rollup_upkeep_sql as upkeep
from models.dal import AsyncDAL, Session
from models.execution_store import PostgresExecutionStore
from models.histograms import middle_of
from models.permissions import Viewer
from models.retention import History, Place, Policy
from models.rollups import Rollups, Span
from models.tallies import Tallies, Tally
from tests.models.aged import aged, rows
from tests.store_contract import (
    FIRST,
    NOW,
    SECOND,
    WORKFLOW,
    a_context,
    a_step,
    created,
    progress_of,
)  # fmt: skip

OTHER = "0190a000-0000-7000-8000-000000000002"
COMPLETED, FAILED, CANCELLED, WAITING, PENDING = (
    ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED,
    ExecutionStatus.WAITING, ExecutionStatus.PENDING,
)  # fmt: skip
DAY = timedelta(days=1)

NODE_FIGURES = "workflow_id, hour, node_id, node_type, runs, failures, seconds, longest_seconds"
GATHERED = f"gathered_rollups WHERE daily = (hour < {rollup_sql.DAILY_BEFORE})"
"""Each figure once: of days of which hours are kept as well, the hours."""
HISTOGRAMS = f"""
SELECT workflow_id, hour, status, bin, sum(executions)::int AS executions
  FROM (SELECT workflow_id, hour, status, bin, executions FROM execution_rollups
         UNION ALL
        SELECT workflow_id, hour, status, bin, count
          FROM (SELECT * FROM {GATHERED}) each
         CROSS JOIN LATERAL counts_by_bin(lowest_bin, counts)) kept
 GROUP BY 1, 2, 3, 4 HAVING sum(executions) <> 0 ORDER BY 1, 2, 3, 4
"""
SUMS = f"""
SELECT workflow_id, hour, status, sum(executions)::int AS executions,
       round(sum(seconds)::numeric, 6) AS seconds, round(sum(cost)::numeric, 6) AS cost,
       round(sum(tokens)) AS tokens
  FROM (SELECT workflow_id, hour, status, executions, seconds, cost, tokens
          FROM execution_rollups
         UNION ALL
        SELECT workflow_id, hour, status, executions, seconds, cost, tokens
          FROM {GATHERED}) kept
 GROUP BY 1, 2, 3 HAVING sum(executions) <> 0 ORDER BY 1, 2, 3
"""
DAYS = f"""
SELECT workflow_id, date_bin('1 day', hour, 'epoch') AS day, status, bin, sum(count)::int AS count,
       round(sum(seconds)::numeric, 6) AS seconds, round(sum(cost)::numeric, 6) AS cost,
       round(sum(tokens)) AS tokens, sum(executions)::int AS executions
  FROM (SELECT workflow_id, hour, status, NULL::int AS bin, NULL::bigint AS count,
               seconds, cost, tokens, executions
          FROM gathered_rollups WHERE daily = $1 AND hour >= {rollup_sql.DAILY_BEFORE}
         UNION ALL
        SELECT workflow_id, hour, status, bin, count, NULL, NULL, NULL, NULL
          FROM gathered_rollups CROSS JOIN LATERAL counts_by_bin(lowest_bin, counts)
         WHERE daily = $1 AND hour >= {rollup_sql.DAILY_BEFORE} AND count <> 0) each
 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""
"""What is gathered of days of which hours are kept: by the days, or (not `$1`) by their hours."""
NODE_DAYS = f"""
SELECT workflow_id, date_bin('1 day', hour, 'epoch') AS day, node_id, max(node_type) AS node_type,
       sum(runs)::int AS runs, sum(failures)::int AS failures,
       round(sum(seconds)::numeric, 6) AS seconds, max(longest_seconds) AS longest
  FROM gathered_nodes WHERE daily = $1 AND hour >= {rollup_sql.DAILY_BEFORE}
 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
NODES = f"""
SELECT workflow_id, hour, node_id, max(node_type) AS node_type, sum(runs)::int AS runs,
       sum(failures)::int AS failures, round(sum(seconds)::numeric, 6) AS seconds,
       max(longest_seconds) AS longest
  FROM (SELECT {NODE_FIGURES} FROM node_rollups
         UNION ALL
        SELECT {NODE_FIGURES} FROM gathered_nodes
         WHERE daily = (hour < {rollup_sql.DAILY_BEFORE})) kept
 GROUP BY 1, 2, 3 HAVING sum(runs) <> 0 ORDER BY 1, 2, 3
"""


@pytest.fixture
async def store(dal: AsyncDAL) -> AsyncIterator[PostgresExecutionStore]:
    store = PostgresExecutionStore(dal)
    await store.register(FIRST, "first", 60)
    await store.register(SECOND, "second", 60)
    yield store
    await store.close()


@pytest.fixture
def rollups(dal: AsyncDAL) -> Rollups:
    return Rollups(dal)


async def counted(dal: AsyncDAL) -> list[dict[str, Any]]:
    return [dict(row) for query in (HISTOGRAMS, SUMS, NODES) for row in await dal.fetch(query)]


async def days_agree(dal: AsyncDAL) -> bool:
    agree = []
    for query in (DAYS, NODE_DAYS):
        days, hours = [await dal.fetch(query, daily) for daily in (True, False)]
        agree.append(days == hours)
    return all(agree)


async def by_status(dal: AsyncDAL) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for row in await dal.fetch(SUMS):
        totals[row["status"]] += row["executions"]
    return dict(totals)


def figures(tallies: Tallies) -> list[Any]:
    """All that they count, to be compared."""
    return [
        (start, status, replace(ends, durations=ends.durations.counts()))
        for start, tally in (*tallies.buckets.items(), (None, tallies.total))
        for status, ends in sorted(tally.ends.items())
    ] + [
        (start, sorted(tally.nodes.items()))
        for start, tally in (*tallies.buckets.items(), (None, tallies.total))
    ]


async def rebuilt(rollups: Rollups) -> int:
    return sum([corrected async for corrected in rollups.rebuild()])


async def begun(
    store: PostgresExecutionStore, status: ExecutionStatus = ExecutionStatus.RUNNING, **more: object
) -> ExecutionContext:
    context = a_context(**more)
    await store.flush(FIRST, created((context, progress_of(context, status))))
    return context


def end_of(
    context: ExecutionContext,
    status: ExecutionStatus = COMPLETED,
    seconds: float = 1.0,
    **more: Any,
) -> Batch:
    ended = progress_of(
        context, status, end_time=NOW + timedelta(seconds=seconds), held=False, **more
    )
    return Batch(updates={context.execution_id: ended})


def took(context: ExecutionContext, seq: int, seconds: float, **more: Any) -> Any:
    return a_step(context, seq, completed_at=NOW + timedelta(seconds=seconds), **more)


async def a_mixed_workload(store: PostgresExecutionStore) -> Counter[str]:
    """Ends executions in every way there is; returns how many of each status."""
    chance = random.Random(7)
    ended: Counter[str] = Counter()
    for number in range(60):
        workflow_id = (WORKFLOW, OTHER)[number % 2]
        status = chance.choice((COMPLETED, COMPLETED, FAILED, CANCELLED))
        context = a_context(workflow_id=workflow_id)
        batch = end_of(context, status, chance.lognormvariate(0, 2), total_cost=0.1, tokens_used=3)
        failed = {"status": "failed", "error_type": "X"} if status is FAILED else {}
        batch.steps = [
            took(context, 2, chance.random()),
            took(context, 3, chance.random(), node_id="work", node_type="action_http", **failed),
            a_step(context, 4, kind=Kind.RETRYING, status="waiting", completed_at=None),
            took(context, 5, 9.0, details={"reused": context.execution_id}),
        ]
        if number % 3:
            await store.flush(FIRST, created((context, progress_of(context))))
            await store.flush(FIRST, batch)
        else:  # created and ended in one
            batch.created = {context.execution_id: (context, batch.updates.popitem()[1])}
            await store.flush(FIRST, batch)
        await store.flush(FIRST, batch)  # whose first copy may have been lost
        ended[status] += 1
    for status in (WAITING, PENDING):
        context = await begun(store, status)
        await store.request_cancel(context.execution_id)
        ended[CANCELLED] += 1
    parent = await begun(store, WAITING)
    for status in (WAITING, PENDING):
        family = {"parent_execution_id": parent.execution_id, "parent_step_key": "sub", "depth": 1}
        await begun(store, status, workflow_id=OTHER, **family)
    await store.request_cancel(parent.execution_id)
    ended[CANCELLED] += 3
    answered = await begun(store, error_workflow_id=OTHER)
    await store.flush(FIRST, end_of(answered, FAILED))
    await store.answered([answered.execution_id])  # an ended row that is written to once more
    ended[FAILED] += 1
    await begun(store)  # one that kills its worker
    await store.heartbeat(FIRST, -1)
    await store.reap(SECOND, max_recoveries=0)
    ended[FAILED] += 1
    return ended


async def test_whatever_ends_an_execution_it_is_counted_once(
    store: PostgresExecutionStore, dal: AsyncDAL
) -> None:
    ended = await a_mixed_workload(store)

    assert await by_status(dal) == dict(ended)
    runs = await dal.fetch("SELECT node_id, sum(runs)::int AS n FROM node_rollups GROUP BY 1")
    assert {row["node_id"]: row["n"] for row in runs} == {"node2": 60, "work": 60}


async def test_what_is_kept_is_what_a_rebuild_counts(
    store: PostgresExecutionStore, dal: AsyncDAL, rollups: Rollups
) -> None:
    await a_mixed_workload(store)
    kept = await counted(dal)
    assert await rebuilt(rollups) == 0

    await dal.execute("DELETE FROM execution_rollups")
    await dal.execute("DELETE FROM node_rollups")
    assert await rebuilt(rollups) > 0

    assert await counted(dal) == kept


async def test_a_rebuild_mends_what_is_wrong_and_leaves_the_rest(
    store: PostgresExecutionStore, dal: AsyncDAL, rollups: Rollups
) -> None:
    await a_mixed_workload(store)
    kept = await counted(dal)
    await dal.execute("UPDATE execution_rollups SET executions = executions + 5, cost = 9")
    await dal.execute("DELETE FROM node_rollups WHERE node_id = 'work'")
    await dal.execute("UPDATE node_rollups SET runs = 1, longest_seconds = 0")

    await rebuilt(rollups)

    assert await counted(dal) == kept
    assert await rebuilt(rollups) == 0


async def test_whatever_nodes_report_executions_end(
    store: PostgresExecutionStore, dal: AsyncDAL, rollups: Rollups
) -> None:
    for cost in (1.7e308, 1.7e308, -1.7e308, 0.25):
        context = await begun(store)
        tokens = {"total_cost": cost, "tokens_used": 2**63 - 1 if cost > 0 else -(2**63)}
        await store.flush(FIRST, end_of(context, COMPLETED, **tokens))

    assert await by_status(dal) == {"completed": 4}
    assert await rebuilt(rollups) == 0


async def test_only_one_rebuild_runs_at_a_time(dal: AsyncDAL, rollups: Rollups) -> None:
    await aged(dal)
    under_way = rollups.rebuild()
    await anext(under_way)

    with pytest.raises(RuntimeError, match="already"):
        await rebuilt(rollups)

    await under_way.aclose()
    assert await rebuilt(rollups) == 0


async def test_ends_at_the_same_time_wait_for_nothing(
    store: PostgresExecutionStore, dal: AsyncDAL, database_url: str
) -> None:
    """One transaction has counted an end and is not over: others count theirs meanwhile, in
    whatever order."""
    pairs = [[await begun(store, PENDING, workflow_id=w) for w in (WORKFLOW, OTHER)] for _ in "ab"]
    end = "UPDATE workflow_executions SET status='cancelled', end_time=now() WHERE execution_id=$1"
    slow, quick = [await asyncpg.connect(database_url) for _ in "ab"]
    try:
        transaction, crossing = slow.transaction(), quick.transaction()
        await transaction.start()
        await slow.execute(end, pairs[0][0].execution_id)
        await crossing.start()
        await quick.execute("SET LOCAL lock_timeout = '1ms'")
        await quick.execute(end, pairs[1][1].execution_id)
        await quick.execute(end, pairs[1][0].execution_id)
        await slow.execute("SET LOCAL lock_timeout = '1ms'")
        await slow.execute(end, pairs[0][1].execution_id)
        await crossing.commit()
        await transaction.commit()
    finally:
        await slow.close()
        await quick.close()

    assert await by_status(dal) == {"cancelled": 4}


async def test_a_session_that_began_with_small_tables_does_not_read_large_ones_whole(
    store: PostgresExecutionStore, dal: AsyncDAL
) -> None:
    end = "UPDATE workflow_executions SET status='cancelled', end_time=now() WHERE execution_id=$1"
    scans = (
        "SELECT sum(seq_scan)::int FROM pg_stat_xact_user_tables"
        " WHERE relname IN ('workflow_steps', 'workflow_executions')"
    )
    contexts = [await begun(store, PENDING) for _ in range(20)]
    async with dal.transaction() as tx:
        for context in contexts[:10]:
            await tx.execute(end, context.execution_id)
        await tx.execute(
            "INSERT INTO workflow_steps (execution_id, seq, step_key, node_id, node_type, kind,"
            " status, started_at) SELECT gen_random_uuid(), 2, 'a', 'a', 'x', 'finished',"
            " 'completed', now() FROM generate_series(1, 20000)"
        )
        before = await tx.fetchval(scans)
        for context in contexts[10:]:
            await tx.execute(end, context.execution_id)
        assert await tx.fetchval(scans) == before
    assert await by_status(dal) == {"cancelled": 20}


async def test_a_session_plans_its_roll_ups_once(dal: AsyncDAL) -> None:
    """Else each flush in which something ends would plan them again."""
    settings = await dal.fetchval("SELECT proconfig FROM pg_proc WHERE proname = 'roll_up'")
    assert {"plan_cache_mode=force_generic_plan", "enable_seqscan=off"} <= set(settings)


async def test_what_retention_drops_stays_counted_also_by_a_rebuild(
    dal: AsyncDAL, rollups: Rollups
) -> None:
    await aged(dal, count=3, ended=24 * 9, status="failed")
    await aged(dal, count=2, ended=1)
    kept = await counted(dal)

    walked = await History(dal).drop(Policy(WORKFLOW, 7), Place())

    assert walked.dropped == 3
    assert await rebuilt(rollups) == 0
    assert await counted(dal) == kept
    await dal.execute("UPDATE execution_rollups SET executions = 99 WHERE status = 'completed'")
    await rebuilt(rollups)
    assert await counted(dal) == kept


async def test_old_roll_ups_are_gathered_into_days_and_very_old_ones_dropped(
    dal: AsyncDAL, rollups: Rollups
) -> None:
    young = rollup_sql.HOURLY_DAYS - 2
    for days in (0, young, rollup_sql.HOURLY_DAYS + 2, rollup_sql.KEPT_DAYS + 2):
        for hours in range(24):
            await aged(dal, ended=24 * days + hours)
    await dal.execute("UPDATE execution_rollups SET lane = 3 WHERE hour > now() - interval '40 d'")
    history = History(dal)

    while await history.compact_rollups():
        pass
    while await history.drop_old_rollups():
        pass

    hour, day = await dal.fetch(
        "SELECT daily, count(DISTINCT hour) AS hours, sum(executions)::int AS executions,"
        " bool_and(hour = date_bin('1 day', hour, 'epoch')) AS whole_days"
        " FROM gathered_rollups GROUP BY 1 ORDER BY 1"
    )
    live = await dal.fetchval("SELECT sum(executions)::int FROM execution_rollups")
    assert (day["daily"], day["executions"] + live, day["whole_days"]) == (True, 24 * 3, True)
    assert day["hours"] in range(3, 7)
    assert (hour["whole_days"], hour["executions"] + live) == (False, 24 * 2)
    assert live in (1, 2), "what ended within this hour, and minutes of the one before"
    assert await days_agree(dal)
    assert await rebuilt(rollups) == 0
    assert await rows(dal, "node_rollups") == 0  # these steps have no end


async def test_a_day_gathers_what_is_found_wrong_later(dal: AsyncDAL, rollups: Rollups) -> None:
    await aged(dal, count=4, ended=24 * (rollup_sql.HOURLY_DAYS + 3))
    history = History(dal)
    while await history.compact_rollups():
        pass
    kept = await counted(dal)
    await dal.execute("UPDATE gathered_rollups SET counts = '{2, 0, 1}'")

    assert await rebuilt(rollups) == 2

    while await history.compact_rollups():
        pass
    assert await counted(dal) == kept
    assert await rows(dal, "gathered_rollups") == 1
    assert await rows(dal, "execution_rollups") == 0


async def test_gathering_changes_no_answer_whatever_comes_late(
    dal: AsyncDAL, rollups: Rollups
) -> None:
    """Roll-ups of many hours, of several lanes; some come when theirs are gathered already."""
    chance = random.Random(23)
    await dal.execute(
        "INSERT INTO workflows (workflow_id, community_id, name, document, created_by)"
        " SELECT id, 1, 'w', '{}', 456 FROM unnest($1::uuid[]) AS u (id)",
        [WORKFLOW, OTHER],
    )
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    history, viewer = History(dal), Viewer(456)

    async def come() -> None:
        rows = {
            (
                chance.choice((WORKFLOW, OTHER)), midnight - timedelta(hours=chance.randrange(300)),
                chance.randrange(3), chance.choice(("completed", "failed", "cancelled")),
                chance.randrange(-1, 12),
            ): (chance.randrange(1, 9), *(chance.randrange(1000) / 8 for _ in range(3)))
            for _ in range(3_000)
        }  # fmt: skip
        async with dal.acquire() as connection:
            await connection.executemany(
                "INSERT INTO execution_rollups VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                [(*key, *figures) for key, figures in rows.items()],
            )

    async def answers() -> list[Any]:
        spans = ((14, DAY), (7, timedelta(hours=1)))
        told = []
        for days, width in spans:
            span = Span(midnight - days * DAY, midnight + DAY, width)
            anew = await Rollups(dal).read(viewer, span)
            assert figures(await rollups.read(viewer, span)) == figures(anew)
            told.append(figures(anew))
        return told

    async def run_nodes() -> None:
        rows = {
            (
                chance.choice((WORKFLOW, OTHER)), midnight - timedelta(hours=chance.randrange(300)),
                chance.randrange(3), f"node{chance.randrange(9)}",
            ): (*(chance.randrange(1, 9) for _ in "ab"), *(chance.randrange(80) / 8 for _ in "ab"))
            for _ in range(3_000)
        }  # fmt: skip
        async with dal.acquire() as connection:
            await connection.executemany(
                "INSERT INTO node_rollups VALUES ($1, $2, $3, $4, 'a_type', $5, $6, $7, $8)",
                [(*key, *figures) for key, figures in rows.items()],
            )

    for _ in range(3):
        await come()
        await run_nodes()
        before = await answers()
        gathered = 0
        while batch := await history.compact_rollups():
            gathered += batch
        assert gathered > 1_000
        assert await answers() == before
        assert await days_agree(dal)
        for table in ("gathered_rollups", "gathered_nodes"):
            left = await dal.fetchval(
                f"SELECT count(*) FROM {table} WHERE NOT daily AND hour < $1",
                midnight - rollup_sql.HOURLY_DAYS * DAY,
            )
            assert left == 0
            assert await rows(dal, table) > 500


async def test_what_is_gathered_is_read_again_once_it_has_changed_and_not_before(
    dal: AsyncDAL, rollups: Rollups, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = Session._run, list[str]()

    async def noting(self: Session, method: Any, query: Any, args: Any) -> Any:
        asked.append(str(query))
        return await run(self, method, query, args)

    monkeypatch.setattr(Session, "_run", noting)
    await dal.execute(
        "INSERT INTO workflows (workflow_id, community_id, name, document, created_by)"
        " SELECT id, 1, 'w', '{}', 456 FROM unnest($1::uuid[]) AS u (id)",
        [WORKFLOW, OTHER],
    )
    await aged(dal, count=2, ended=5)
    history = History(dal)
    while await history.compact_rollups():
        pass
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    span, viewer = Span(midnight - DAY, midnight + DAY, DAY), Viewer(456)

    async def reads(viewer: Viewer = viewer) -> tuple[int, list[str]]:
        asked.clear()
        tallies = await rollups.read(viewer, span)
        ended = sum(each.executions for each in tallies.total.ends.values())
        return ended, [name for name in both if f"FROM {name}" in str(asked)]

    both = ["gathered_rollups", "gathered_nodes"]
    assert await reads() == (2, both)
    assert await reads() == (2, [])
    await aged(dal, count=1, ended=0)  # a live one is counted at once
    assert await reads() == (3, [])
    assert await reads(Viewer(457)) == (0, both)  # who may see others is told of others
    assert await reads() == (3, [])
    await history.compact_rollups()
    assert await reads() == (3, []), "nothing was to be gathered"
    for change in (
        "UPDATE gathered_rollups SET counts = '{7}', lowest_bin = 3",
        "DELETE FROM gathered_rollups",
        "TRUNCATE gathered_nodes",
    ):
        await reads()
        await dal.execute(change)
        assert (await reads())[1] == both, change
    assert await reads() == (1, [])


async def test_who_has_not_the_turn_gathers_nothing(dal: AsyncDAL) -> None:
    await aged(dal, count=2, ended=5)
    history = History(dal)
    async with dal.transaction() as tx:
        await tx.execute(f"SELECT pg_advisory_xact_lock({turns.JOBS}, {turns.GATHERING})")
        assert await history.compact_rollups() == 0
        assert await rows(dal, "gathered_rollups") == 0
    assert await history.compact_rollups() == 1
    assert await rows(dal, "gathered_rollups") == 2, "of the hour and of the day"


async def test_a_rebuild_mends_what_is_gathered_wrong(dal: AsyncDAL, rollups: Rollups) -> None:
    for hours in (5, 24 * (rollup_sql.HOURLY_DAYS + 3)):
        await aged(dal, count=4, ended=hours)
        await aged(dal, count=2, ended=hours, status="failed")
    history = History(dal)
    while await history.compact_rollups():
        pass
    kept = await counted(dal)
    assert await rebuilt(rollups) == 0

    await dal.execute("UPDATE gathered_rollups SET seconds = 7 WHERE status = 'failed'")
    await dal.execute("UPDATE gathered_rollups SET lowest_bin = 3 WHERE status = 'completed'")
    assert await rebuilt(rollups) == 2 + 4
    assert await rebuilt(rollups) == 0
    while await history.compact_rollups():
        pass
    histograms = len(await dal.fetch(HISTOGRAMS))
    assert (await counted(dal))[:histograms] == kept[:histograms]
    assert await dal.fetchval("SELECT bool_and(seconds = 0) FROM gathered_rollups")

    await dal.execute("DELETE FROM gathered_rollups")
    assert await rebuilt(rollups) == 4
    while await history.compact_rollups():
        pass
    assert await counted(dal) == kept


async def test_a_rebuild_makes_days_anew_that_are_not_their_hours(
    dal: AsyncDAL, rollups: Rollups
) -> None:
    """Of which hours are kept: else they are the rows' own count."""
    for hours in (5, 50, 100, 24 * (rollup_sql.HOURLY_DAYS + 3)):
        await aged(dal, count=4, ended=hours)
        await aged(dal, count=2, ended=hours, status="failed")
    history = History(dal)
    while await history.compact_rollups():
        pass
    kept, right = await counted(dal), await dal.fetch(DAYS, True)
    one, other, third = {row["day"] for row in right}
    await dal.execute("DELETE FROM gathered_rollups WHERE daily AND hour = $1", one)
    await dal.execute(
        "UPDATE gathered_rollups SET counts = '{1, 0, 2}' WHERE daily AND hour = $1", other
    )
    await dal.execute("UPDATE gathered_rollups SET cost = 2 WHERE daily AND hour = $1", third)
    await dal.execute(
        "INSERT INTO gathered_rollups SELECT workflow_id, hour, daily, 'cancelled',"
        " seconds, cost, tokens, lowest_bin, counts FROM gathered_rollups"
        " WHERE daily AND hour = $1 AND status = 'failed'",
        third,
    )

    assert await rebuilt(rollups) == 7
    assert await dal.fetch(DAYS, True) == right
    assert await counted(dal) == kept
    assert await rows(dal, "execution_rollups") == 0
    assert await rebuilt(rollups) == 0


async def test_days_of_nodes_are_made_anew_that_are_not_their_hours(dal: AsyncDAL) -> None:
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    hours = [
        (WORKFLOW, midnight - timedelta(hours=ago), False, f"node{node}", "t", ago, 1, 0.5, 2.0)
        for ago in range(1, 49)
        for node in range(3)
    ]
    async with dal.acquire() as connection:
        await connection.copy_records_to_table("gathered_nodes", records=hours)
    _, nodes = upkeep.DAYS_OF_HOURS
    assert await dal.fetchval(nodes, WORKFLOW) == 2 * 3
    right = await dal.fetch(NODE_DAYS, True)
    assert await days_agree(dal)
    changed = {"node0": "runs = runs + 1", "node1": "seconds = 7", "node2": "longest_seconds = 1"}
    for node_id, change in changed.items():
        await dal.execute(
            f"UPDATE gathered_nodes SET {change} WHERE daily AND node_id = $1 AND hour < $2",
            node_id, midnight - DAY,
        )  # fmt: skip
    await dal.execute("DELETE FROM gathered_nodes WHERE daily AND hour > $1", midnight - 1.5 * DAY)
    await dal.execute(
        "INSERT INTO gathered_nodes SELECT workflow_id, hour, daily, 'none', node_type, runs,"
        " failures, seconds, longest_seconds FROM gathered_nodes WHERE daily LIMIT 1"
    )

    assert await dal.fetchval(nodes, WORKFLOW) == 3 + 3 + 1
    assert await dal.fetch(NODE_DAYS, True) == right
    assert await dal.fetchval(nodes, WORKFLOW) == 0


async def test_a_bin_tells_every_duration_within_five_percent(dal: AsyncDAL) -> None:
    chance = random.Random(11)
    durations = [10 ** chance.uniform(-3, 8) for _ in range(2000)] + [0.001, 1.0, 86400.0]

    bins = await dal.fetch(
        "SELECT d, duration_bin(d) AS bin FROM unnest($1::float8[]) d", durations
    )

    assert max(abs(middle_of(row["bin"]) - row["d"]) / row["d"] for row in bins) <= 0.0500001
    below = "SELECT duration_bin(d) FROM unnest('{0, -1, 0.0004, 0.001}'::float8[]) d"
    assert {row[0] for row in await dal.fetch(below)} == {0}
    assert await dal.fetchval("SELECT duration_bin(NULL)") == -1


async def test_reading_gives_buckets_statuses_durations_and_nodes(
    store: PostgresExecutionStore, dal: AsyncDAL, rollups: Rollups
) -> None:
    await dal.execute(
        "INSERT INTO workflows (workflow_id, community_id, name, document, created_by)"
        " VALUES ($1, 1, 'w', '{}', 456)",
        WORKFLOW,
    )
    for number in range(4):
        context = await begun(store)
        batch = end_of(context, FAILED if number == 3 else COMPLETED, 2.0, total_cost=0.5)
        batch.steps = [took(context, 2, 1.5)]
        await store.flush(FIRST, batch)
    start = (NOW - DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    span = Span(start, start + 3 * DAY, DAY)

    tallies = await rollups.read(Viewer(456), span)

    [(bucket, tally)] = tallies.buckets.items()
    completed, failed = (tally.ends[status] for status in ("completed", "failed"))
    assert bucket == NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    assert (completed.executions, completed.cost, failed.executions) == (3, 1.5, 1)
    measured, (middle,) = completed.durations.quantiles((0.5,))
    assert (measured, middle) == (3, pytest.approx(2.0, rel=0.05))
    assert figures(tallies) == figures(Tallies({bucket: tally}, tally))
    [(node, runs)] = tally.nodes.items()
    assert (node, runs.runs, runs.longest_seconds) == ((WORKFLOW, "node2"), 4, 1.5)
    for other in (Viewer(457), Viewer(457, everything=True, community_id=2)):
        assert await rollups.read(other, span) == Tallies({}, Tally())
