"""What retention drops, what it spares, and that it is in nobody's way."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from engine.context import ExecutionStatus
from engine.errors import LeaseLost, StoreUnavailable
from engine.records import Batch as Flush
from models import claim_sql, execution_sql, retention
from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore
from models.retention import Batch, History, Place, Policy
from tests.models.aged import WORKFLOW, aged, left, published, rows
from tests.plans import MODES, Mode, explained, vacuumed
from tests.store_contract import FIRST, SECOND, a_context, a_step, created, progress_of
from tests.waiting import until

DAY, YEARS = 24, 24 * 365 * 10
POLICY = Policy(WORKFLOW, 7)


@pytest.fixture
def history(dal: AsyncDAL) -> History:
    return History(dal)


@pytest.fixture
async def store(dal: AsyncDAL) -> AsyncIterator[PostgresExecutionStore]:
    store = PostgresExecutionStore(dal)
    yield store
    await store.close()


async def drop(history: History, policy: Policy) -> list[int]:
    """Walks to the end; how many each batch dropped."""
    place: Place | None = Place()
    dropped = []
    while place is not None:
        walked = await history.drop(policy, place)
        dropped.append(walked.dropped)
        place = walked.onward
    return dropped


async def drop_all(history: History, days: int | None = 7) -> int:
    """A whole round with nothing left to wait for; how many executions it dropped."""
    dropped = [sum(await drop(history, policy)) async for policy in history.policies(days)]
    while (await history.clear(0)).more:
        pass
    return sum(dropped)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_what_ended_long_enough_ago_goes_with_all_that_hangs_on_it(
    dal: AsyncDAL, history: History, status: str
) -> None:
    await aged(dal, status=status, ended=7 * DAY + 1)
    assert await drop_all(history) == 1
    tables = ("executions", "steps", "letters", "events")
    assert [await rows(dal, f"workflow_{table}") for table in tables] == [0, 0, 0, 0]
    assert await rows(dal, "dropped_executions") == 0


async def test_steps_and_letters_of_others_stay(dal: AsyncDAL, history: History) -> None:
    await aged(dal, ended=8 * DAY, steps=5, letters=5)
    [young] = await aged(dal, ended=1, steps=3, letters=2)
    await drop_all(history)
    assert await left(dal) == {young}
    assert (await rows(dal, "workflow_steps"), await rows(dal, "workflow_letters")) == (3, 2)


async def test_many_pauses_go_in_batches_like_all_else(dal: AsyncDAL) -> None:
    await aged(dal, ended=8 * DAY, events=25)
    await drop_all(History(dal, Batch(executions=7, rows=10)))
    assert await rows(dal, "workflow_events") == 0
    assert await rows(dal, "dropped_executions") == 0


async def test_it_is_the_end_that_counts_and_not_the_beginning(
    dal: AsyncDAL, history: History
) -> None:
    await aged(dal, created=100 * DAY, ended=6 * DAY)
    assert await drop_all(history) == 0


@pytest.mark.parametrize("status", ["pending", "running", "waiting", "paused"])
async def test_one_that_has_not_ended_stays_however_old(
    dal: AsyncDAL, history: History, status: str
) -> None:
    ids = await aged(dal, status=status, created=YEARS, steps=3)
    assert await drop_all(history, 1) == 0
    assert await left(dal) == set(ids)
    assert await rows(dal, "workflow_steps") == 3


async def test_a_failure_stays_until_its_error_workflow_was_started(
    dal: AsyncDAL, history: History
) -> None:
    await aged(dal, status="failed", ended=YEARS, error_workflow=WORKFLOW)
    assert await drop_all(history) == 0
    await dal.execute("UPDATE workflow_executions SET error_answered = true")
    assert await drop_all(history) == 1


@pytest.mark.parametrize("step_key", ["sub", None], ids=["awaited", "sent off"])
async def test_a_child_stays_while_its_parent_runs(
    dal: AsyncDAL, history: History, step_key: str | None
) -> None:
    [parent] = await aged(dal, status="waiting", created=20 * DAY)
    await aged(dal, ended=10 * DAY, parent=parent, step_key=step_key)
    assert await drop_all(history) == 0
    await dal.execute(
        "UPDATE workflow_executions SET status = 'completed', end_time = now()"
        " WHERE execution_id = $1",
        parent,
    )
    assert await drop_all(history) == 1
    assert await left(dal) == {parent}


async def test_an_answer_stays_while_the_failure_does_not_know_of_it(
    dal: AsyncDAL, history: History
) -> None:
    """Its id follows from the failure: without its row it would be started once more."""
    [failure] = await aged(dal, status="failed", ended=YEARS, error_workflow=WORKFLOW)
    await aged(dal, ended=10 * DAY, parent=failure)
    assert await drop_all(history) == 0


async def test_a_child_of_a_parent_that_is_gone_goes_too(dal: AsyncDAL, history: History) -> None:
    await aged(dal, ended=8 * DAY, parent=str(uuid4()), step_key="sub")
    assert await drop_all(history) == 1


async def test_without_a_number_of_days_everything_is_kept(dal: AsyncDAL, history: History) -> None:
    await aged(dal, ended=YEARS)
    await published(dal, {"name": "w"})
    assert await drop_all(history, None) == 0


@pytest.mark.parametrize(
    ("own", "default", "dropped"),
    [(3, None, 1), (3, 7, 1), (7, 3, 0), (7, None, 0), (None, 3, 1), (None, 7, 0)],
)
async def test_a_workflow_may_keep_its_history_longer_or_shorter(
    dal: AsyncDAL, history: History, own: int | None, default: int | None, dropped: int
) -> None:
    await published(dal, {"retention_days": own})
    await aged(dal, ended=5 * DAY)
    assert await drop_all(history, default) == dropped


async def test_the_live_version_decides_for_executions_of_all_versions(
    dal: AsyncDAL, history: History
) -> None:
    await published(dal, {"retention_days": 1}, {"retention_days": 30}, {}, live=2)
    await aged(dal, ended=10 * DAY)
    assert await drop_all(history, 7) == 0


async def test_each_workflow_is_judged_by_its_own(dal: AsyncDAL) -> None:
    """More workflows than one page of them has."""
    kept = set()
    for number in range(205):
        workflow_id = f"0190a000-0000-7000-8000-{number:012d}"
        await published(dal, {"retention_days": 1 + number % 2 * 9}, workflow_id=workflow_id)
        ids = await aged(dal, ended=2 * DAY, workflow_id=workflow_id, steps=0, letters=0)
        kept |= set(ids) if number % 2 else set()
    assert await drop_all(History(dal), None) == 103
    assert await left(dal) == kept


async def test_no_batch_is_larger_than_it_may_be(dal: AsyncDAL) -> None:
    history = History(dal, Batch(executions=10, rows=7))
    await aged(dal, count=25, ended=8 * DAY, steps=2, letters=3)
    assert await drop(history, POLICY) == [10, 10, 5]
    cleared = []
    while not cleared or cleared[-1].more:
        cleared.append(await history.clear(0))
    assert max(one.steps for one in cleared) == 7
    assert max(one.letters for one in cleared) == 7
    assert sum(one.steps for one in cleared) == 50
    assert sum(one.letters for one in cleared) == 75
    assert await rows(dal, "dropped_executions") == 0


async def test_one_with_many_steps_is_gone_at_once_and_cleared_away_bit_by_bit(
    dal: AsyncDAL, store: PostgresExecutionStore
) -> None:
    history = History(dal, Batch(executions=10, rows=100))
    [long] = await aged(dal, ended=8 * DAY, steps=250)
    await drop(history, POLICY)
    assert await store.load(long) is None
    found = []
    while await rows(dal, "dropped_executions"):
        found.append((await history.clear(0)).steps)
    assert found == [100, 100, 50]


async def test_whoever_has_just_read_an_execution_still_finds_its_steps(
    dal: AsyncDAL, history: History
) -> None:
    ids = await aged(dal, ended=8 * DAY, steps=3)
    await drop(history, POLICY)
    cleared = await history.clear(60)
    assert (cleared.steps, cleared.more) == (0, False)
    assert len(await dal.fetch(execution_sql.LOAD_STEPS, ids)) == 3


async def test_the_walk_meets_each_of_those_that_stay_once(dal: AsyncDAL) -> None:
    history = History(dal, Batch(executions=5))
    await aged(dal, count=12, status="waiting", created=9 * DAY)
    await aged(dal, count=3, ended=8 * DAY)
    assert await drop(history, POLICY) == [0, 0, 3, 0]


async def test_the_walk_passes_many_of_the_same_moment(dal: AsyncDAL) -> None:
    history = History(dal, Batch(executions=5))
    ids = await aged(dal, count=23, ended=8 * DAY)
    await dal.execute("UPDATE workflow_executions SET created = '2020-01-01Z'")
    await dal.execute(
        "UPDATE workflow_executions SET end_time = now() WHERE execution_id = ANY($1::uuid[])",
        ids[::2],
    )
    assert sum(await drop(history, POLICY)) == 11
    assert await left(dal) == set(ids[::2])


# Beside others


async def test_one_that_somebody_has_locked_is_left_for_the_next_time(
    dal: AsyncDAL, history: History
) -> None:
    locked, _ = await aged(dal, count=2, ended=8 * DAY)
    async with dal.transaction() as tx:
        await tx.execute(
            "SELECT 1 FROM workflow_executions WHERE execution_id = $1 FOR UPDATE", locked
        )
        assert await drop(history, POLICY) == [1]
        assert await left(dal) == {locked}
    assert await drop(history, POLICY) == [1]


async def test_one_that_is_claimed_at_that_moment_stays_whole(
    dal: AsyncDAL, history: History, store: PostgresExecutionStore
) -> None:
    """The claim has not committed yet: others still see a parked execution."""
    await store.register(FIRST, "first", 60)
    [parked] = await aged(dal, status="waiting", created=YEARS, steps=4)
    await dal.execute("UPDATE workflow_executions SET wake_at = now() - interval '1 day'")
    async with dal.transaction() as tx:
        assert len(await tx.fetch(claim_sql.CLAIM, FIRST, 5, [], [], 5)) == 1
        assert await drop_all(history) == 0
    assert [row["execution_id"] for row in await dal.fetch(execution_sql.HELD, FIRST)] == [parked]
    assert await rows(dal, "workflow_steps") == 4


async def test_one_that_ends_at_that_moment_stays_whole(
    dal: AsyncDAL, history: History, store: PostgresExecutionStore
) -> None:
    """However old it is, its end is now."""
    await store.register(FIRST, "first", 60)
    context = a_context(created_at=datetime(2020, 1, 1, tzinfo=UTC))
    await store.flush(FIRST, created((context, progress_of(context))))
    over = progress_of(context, ExecutionStatus.COMPLETED, end_time=datetime.now(UTC), held=False)
    flush = Flush(steps=[a_step(context)], updates={context.execution_id: over})
    await asyncio.gather(store.flush(FIRST, flush), drop_all(history, 1))
    assert await drop_all(history, 1) == 0
    stored = await store.load(context.execution_id)
    assert stored is not None
    assert len(stored.steps) == 1


async def test_several_at_once_drop_each_execution_once_beside_flushes_and_cancellations(
    dal: AsyncDAL, store: PostgresExecutionStore
) -> None:
    await store.register(FIRST, "first", 60)
    old = await aged(dal, count=200, ended=8 * DAY)
    await dal.execute(
        "UPDATE workflow_executions SET has_children = true, parent_execution_id = $1", old[0]
    )

    async def live() -> None:
        """A family whose parent is cancelled while its child parks."""
        parent = a_context()
        child = a_context(parent_execution_id=parent.execution_id, parent_step_key="s", depth=1)
        await store.flush(FIRST, created(*((c, progress_of(c)) for c in (parent, child))))
        parks = {c.execution_id: progress_of(c, ExecutionStatus.WAITING) for c in (parent, child)}
        await asyncio.gather(
            store.flush(FIRST, Flush(updates=parks)), store.request_cancel(parent.execution_id)
        )

    history = History(dal, Batch(executions=7, rows=10))
    found = await asyncio.gather(*(drop_all(history) for _ in range(3)), *(live() for _ in "12345"))
    assert sum(n for n in found if n is not None) == 200
    assert len(await left(dal)) == 10
    await drop_all(history)  # what one had locked while the others found nothing more to do
    assert await rows(dal, "workflow_steps") == 0
    assert await rows(dal, "dropped_executions") == 0


async def test_clearing_that_began_before_another_ended_leaves_nothing_behind(
    dal: AsyncDAL,
) -> None:
    """It sees, and counts on, rows that the other one deletes before it has their lock."""
    history = History(dal, Batch(rows=5))
    await aged(dal, ended=8 * DAY, steps=8, letters=0)
    await drop(history, POLICY)
    gated = retention.CLEAR.replace(
        "WHERE dropped_at", "WHERE (SELECT true FROM pg_advisory_xact_lock(77)) AND dropped_at"
    )
    async with dal.transaction() as gate:
        await gate.execute("SELECT pg_advisory_xact_lock(77)")
        late = asyncio.ensure_future(dal.fetchrow(gated, 0.0, 10, 5))
        await until(lambda: dal.fetchval(GATED))
        assert (await history.clear(0)).steps == 5
    assert (await late)["more"]
    assert (await history.clear(0)).steps == 3
    assert await rows(dal, "dropped_executions") == 0


GATED = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'advisory'"


async def test_one_process_at_a_time_is_the_one_that_drops(
    history: History, database_url: str
) -> None:
    async with AsyncDAL(database_url, min_size=1, max_size=2) as other:
        async with history.alone() as first, History(other).alone() as second:
            assert (first, second) == (True, False)
        async with History(other).alone() as second:
            assert second


HELD_HERE = (
    "(classid, objid) = (24386, 3)"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
"""Other tests have databases of their own on the same server."""


async def test_the_lock_goes_with_the_connection_of_its_holder(
    dal: AsyncDAL, history: History
) -> None:
    async with history.alone() as first:
        assert first
        [pid] = await dal.fetch(f"SELECT pid FROM pg_locks WHERE {HELD_HERE}")
        await dal.execute("SELECT pg_terminate_backend($1, 5000)", pid["pid"])
        async with history.alone() as second:
            assert second


# What the service leaves behind


async def test_idempotency_keys_go_when_they_have_expired(dal: AsyncDAL) -> None:
    history = History(dal, Batch(rows=4))
    await dal.execute(
        "INSERT INTO idempotency_keys (user_id, workflow_id, key, request_hash, execution_id,"
        " created_at) SELECT 1, $1, i::text, '', $1, now() - make_interval(hours => i + 18)"
        " FROM generate_series(1, 12) i",
        WORKFLOW,
    )
    assert [await history.drop_expired_keys() for _ in range(3)] == [4, 3, 0]
    kept = await dal.fetch("SELECT key FROM idempotency_keys")
    assert {row["key"] for row in kept} == {"1", "2", "3", "4", "5"}


@pytest.mark.parametrize(
    ("state", "hours", "holds", "dropped"),
    [
        ("dead", 25, False, 1),
        ("dead", 23, False, 0),
        ("dead", 25, True, 0),
        ("alive", 25, False, 0),
    ],
    ids=["dead for a day", "dead since today", "dead and holding", "silent but not declared dead"],
)
async def test_workers_go_when_they_are_long_dead_and_hold_nothing(
    dal: AsyncDAL, history: History, state: str, hours: int, holds: bool, dropped: int
) -> None:
    await dal.execute(
        "INSERT INTO engine_workers (worker_id, name, state, lock_key, heartbeat_at, lease_until)"
        " SELECT $1, 'w', $2, 1, now() - make_interval(hours => $3 + 1),"
        " now() - make_interval(hours => $3)",
        FIRST,
        state,
        hours,
    )
    if holds:
        await aged(dal, status="running", worker=FIRST)
    assert await history.drop_dead_workers() == dropped


async def test_g05_a_worker_whose_row_was_dropped_can_write_nothing(
    dal: AsyncDAL, history: History, store: PostgresExecutionStore
) -> None:
    await store.register(FIRST, "first", 60)
    await store.register(SECOND, "second", 60)
    await dal.execute(
        "UPDATE engine_workers SET state = 'dead', heartbeat_at = now() - interval '2 days',"
        " lease_until = now() - interval '2 days' WHERE worker_id = $1",
        FIRST,
    )
    assert await history.drop_dead_workers() == 1
    context = a_context()
    with pytest.raises(LeaseLost):
        await store.flush(FIRST, created((context, progress_of(context))))
    assert not await store.heartbeat(FIRST, 60)
    assert await left(dal) == set()


async def test_a_server_that_is_away_is_not_taken_for_somebody_elses_lock() -> None:
    history = History(AsyncDAL("postgresql://nobody@127.0.0.1:1/none"))
    with pytest.raises(StoreUnavailable):
        async with history.alone():
            pytest.fail("there is no lock to be had")


async def test_a_connection_cut_under_the_lock_harms_nobody(
    dal: AsyncDAL, history: History
) -> None:
    await aged(dal, ended=8 * DAY)
    async with history.alone():
        await dal.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE {HELD_HERE}")
        assert await drop_all(history) == 1


# What it costs


async def test_no_statement_reads_a_whole_table(patient_dal: AsyncDAL) -> None:
    """Ten workflows, of which one has old executions; a worker's row is one of a handful."""
    dal = patient_dal
    for number in range(10):
        workflow_id = f"0190a000-0000-7000-8000-{number:012d}"
        old = 3 if number == 3 else 0
        for ended in (0, old * 10 * DAY):
            await aged(dal, count=1500, workflow_id=workflow_id, ended=ended, steps=2, letters=1)
    await dal.execute(
        "INSERT INTO dropped_executions SELECT now() - interval '1 hour', execution_id"
        " FROM workflow_executions WHERE created < now() - interval '10 days'"
    )
    await dal.execute(
        "INSERT INTO idempotency_keys (user_id, workflow_id, key, request_hash, execution_id,"
        " created_at) SELECT 1, $1, i::text, '', $1, now() - make_interval(mins => i)"
        " FROM generate_series(1, 20000) i",
        WORKFLOW,
    )
    await vacuumed(dal)
    nothing = "00000000-0000-0000-0000-000000000000"
    third, start = "0190a000-0000-7000-8000-000000000003", Place()
    statements = {
        "POLICIES": (retention.POLICIES, (nothing, 100, 7)),
        "DROP": (retention.DROP, (third, 7, start.created, start.execution_id, 100)),
        "CLEAR": (retention.CLEAR, (60.0, 100, 1000)),
        "EXPIRED_KEYS": (retention.EXPIRED_KEYS, (1000,)),
        "DEAD_WORKERS": (retention.DEAD_WORKERS, (1000,)),
    }
    read = {}
    for mode in MODES:
        for name, (statement, arguments) in statements.items():
            plan = await plan_of(dal, mode, statement, arguments)
            whole = set(re.findall(r"Seq Scan on (\w+)", plan))
            first = next((line for line in plan.splitlines() if "Buffers: " in line), "")
            buffers = sum(map(int, re.findall(r"(?:hit|read)=(\d+)", first)))
            if whole - SMALL or buffers > 20_000:
                read[mode, name] = plan
    assert read == {}


SMALL = {"engine_workers", "workflows", "workflow_versions"}
"""A row per process, and tables that this test leaves empty."""


async def plan_of(dal: AsyncDAL, mode: Mode, statement: str, arguments: tuple[Any, ...]) -> str:
    """The plan of a statement that is run and taken back."""
    async with dal.transaction() as tx:
        return "\n".join(await explained(tx, statement, arguments, mode, "ANALYZE, BUFFERS"))
