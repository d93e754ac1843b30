"""The PostgreSQL store keeps the contract, and what only PostgreSQL can show."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from engine.context import ExecutionStatus
from engine.errors import StoreUnavailable
from engine.ports import Room
from engine.records import Batch
from models import claim_sql, worker_sql
from models.dal import AsyncDAL
from models.execution_rows import flush_statement
from models.execution_store import PostgresExecutionStore, lock_key
from tests.family_contract import FamilyContract
from tests.queue_contract import QueueContract
from tests.store_contract import (
    FIRST,
    NOW,
    SECOND,
    Kill,
    StoreContract,
    a_context,
    a_step,
    created,
    progress_of,
)

FAILED, WAITING = ExecutionStatus.FAILED, ExecutionStatus.WAITING
BLOCKED = "SELECT pid FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))"


async def blocked_by(dal: AsyncDAL, outsider: asyncpg.Connection) -> list[int]:
    """The backends that wait for what `outsider` has locked, once there are any."""
    return await blocked_by_backend(dal, await outsider.fetchval("SELECT pg_backend_pid()"))


async def blocked_by_backend(dal: AsyncDAL, backend: int) -> list[int]:
    """The backends that wait for this one, once there are any."""
    async with asyncio.timeout(30):
        while True:
            if rows := await dal.fetch(BLOCKED, backend):
                return [row["pid"] for row in rows]
            await asyncio.sleep(0.01)


CUT_OFF = "SELECT pg_terminate_backend(pg_backend_pid()), $1::bigint"


HOLD = 24_386_077
HELD_UP = (
    "FROM chosen JOIN workflow_executions e",
    f"FROM (SELECT c.*, pg_advisory_xact_lock({HOLD}) FROM chosen c OFFSET 0) chosen"
    " JOIN workflow_executions e",
)
"""What holds a claim up after it has looked: between the two it waits for a lock."""


class TestPostgresStore(StoreContract, FamilyContract, QueueContract):
    @pytest.fixture
    async def store(self, dal: AsyncDAL) -> AsyncIterator[PostgresExecutionStore]:
        store = PostgresExecutionStore(dal)
        yield store
        await store.close()

    @pytest.fixture
    def kill(self, dal: AsyncDAL) -> Kill:
        async def killed(worker_id: str) -> None:
            await dal.execute(
                "UPDATE engine_workers SET state = 'dead' WHERE worker_id = $1", worker_id
            )

        return killed

    async def test_a_worker_whose_connection_is_gone_is_reaped_before_its_lease_ends(
        self, store: PostgresExecutionStore, dal: AsyncDAL
    ) -> None:
        third = "0190c000-0000-7000-8000-000000000003"
        other = PostgresExecutionStore(dal)
        await other.register(third, "third", 3600)
        context = a_context()
        await other.flush(third, created((context, progress_of(context))))
        assert await store.reap(SECOND, 5) == 0

        await other.close()

        assert await store.reap(SECOND, 5) == 1
        assert await store.status(context.execution_id) is ExecutionStatus.PENDING

    async def test_a_worker_that_cannot_be_entered_is_unavailable_and_keeps_no_lock(
        self, store: PostgresExecutionStore, dal: AsyncDAL, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        third = "0190c000-0000-7000-8000-000000000003"
        monkeypatch.setattr(worker_sql, "LOCK_WORKER", CUT_OFF)

        with pytest.raises(StoreUnavailable):
            await store.register(third, "third", 3600)

        assert await dal.fetchval("SELECT pg_try_advisory_lock($1)", lock_key(third))

    async def test_a_worker_whose_lock_was_cut_off_can_be_released(
        self, store: PostgresExecutionStore, dal: AsyncDAL
    ) -> None:
        context = await self.running(store)
        await dal.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks"
            " WHERE locktype = 'advisory' AND classid::bigint << 32 | objid::bigint = $1",
            lock_key(FIRST),
        )

        assert await store.release(FIRST) == 1

        assert await store.status(context.execution_id) is ExecutionStatus.PENDING

    async def test_a_value_that_cannot_be_stored_is_a_value_error(
        self, store: PostgresExecutionStore
    ) -> None:
        context = a_context(workflow_name="bad \x00 name")

        with pytest.raises(ValueError, match="0x00"):
            await store.flush(FIRST, created((context, progress_of(context))))

    async def test_a_row_beyond_the_limits_of_the_server_is_a_value_error(
        self, store: PostgresExecutionStore, dal: AsyncDAL
    ) -> None:
        await dal.execute("CREATE INDEX narrow ON workflow_executions (execution_name)")
        try:
            wide = a_context(execution_name=random.Random(1).randbytes(20_000).hex())
            with pytest.raises(ValueError, match="index row"):
                await store.flush(FIRST, created((wide, progress_of(wide))))
        finally:
            await dal.execute("DROP INDEX narrow")

    async def test_a_flush_that_waits_does_not_hold_up_the_heartbeat_of_its_worker(
        self, store: PostgresExecutionStore, dal: AsyncDAL, database_url: str
    ) -> None:
        context = await self.running(store)
        outsider = await asyncpg.connect(database_url)
        async with outsider.transaction():
            await outsider.execute(
                "SELECT 1 FROM workflow_executions WHERE execution_id = $1 FOR UPDATE",
                context.execution_id,
            )
            moved = Batch(updates={context.execution_id: progress_of(context, last_seq=7)})
            flush = asyncio.ensure_future(store.flush(FIRST, moved))
            await blocked_by(dal, outsider)

            assert await store.heartbeat(FIRST, 3600)

            assert not flush.done()
        await flush
        await outsider.close()

    @pytest.mark.parametrize("ending", ["reap", "release"])
    async def test_whoever_ends_a_worker_waits_for_its_flush_and_frees_what_that_moved(
        self, store: PostgresExecutionStore, dal: AsyncDAL, database_url: str, ending: str
    ) -> None:
        context = await self.running(store)
        if ending == "reap":
            await dal.execute(
                "UPDATE engine_workers SET lease_until = now() - interval '1 s'"
                " WHERE worker_id = $1",
                FIRST,
            )
        outsider = await asyncpg.connect(database_url)
        async with outsider.transaction():
            await outsider.execute(
                "SELECT 1 FROM workflow_executions WHERE execution_id = $1 FOR UPDATE",
                context.execution_id,
            )
            fresh = a_context()
            batch = created((fresh, progress_of(fresh)))
            batch.updates[context.execution_id] = progress_of(context, last_seq=7)
            flush = asyncio.ensure_future(store.flush(FIRST, batch))
            (waiting,) = await blocked_by(dal, outsider)
            ends = asyncio.ensure_future(
                store.reap(SECOND, 5) if ending == "reap" else store.release(FIRST)
            )
            await blocked_by_backend(dal, waiting)
        await flush

        assert await ends == 2
        assert await store.held(FIRST) == {}
        await outsider.close()

    async def test_g03_what_another_took_and_parked_meanwhile_is_not_taken_as_if_it_were_new(
        self, store: PostgresExecutionStore, dal: AsyncDAL, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A claim is held up between looking and taking. What it has seen was new; what it would
        take waits for something, and has records."""
        assert HELD_UP[0] in claim_sql.CLAIM
        context = a_context()
        await store.flush(FIRST, created((context, progress_of(context, ExecutionStatus.PENDING))))
        async with dal.transaction() as tx:
            await tx.execute(f"SELECT pg_advisory_xact_lock({HOLD})")
            monkeypatch.setattr(claim_sql, "CLAIM", claim_sql.CLAIM.replace(*HELD_UP))
            late = asyncio.create_task(store.claim(SECOND, Room(10), limited=False))
            await blocked_by_backend(dal, await tx.fetchval("SELECT pg_backend_pid()"))
            monkeypatch.undo()
            (taken,) = await store.claim(FIRST, Room(10), limited=False)
            parked = replace(taken.progress, status=ExecutionStatus.WAITING, held=False, last_seq=2)
            batch = Batch(steps=[a_step(context)], updates={context.execution_id: parked})
            await store.flush(FIRST, batch)
        assert await late == []
        assert taken.context.execution_id == context.execution_id
        assert await store.status(context.execution_id) is ExecutionStatus.WAITING

    async def test_g08_what_is_parked_while_it_is_asked_to_stop_is_cancelled(
        self, store: PostgresExecutionStore, dal: AsyncDAL, database_url: str
    ) -> None:
        """It was neither unheld when that was asked first, nor held when that was asked next."""
        context = await self.running(store)
        outsider = await asyncpg.connect(database_url)
        try:
            parking = outsider.transaction()
            await parking.start()
            await outsider.execute(
                "UPDATE workflow_executions SET status = 'waiting', worker_id = NULL,"
                " wake_at = now() + interval '1 day' WHERE execution_id = $1",
                context.execution_id,
            )
            asking = asyncio.create_task(store.request_cancel(context.execution_id))
            await blocked_by(dal, outsider)
            await parking.commit()
            answer = await asking
        finally:
            await outsider.close()
        assert answer is not None
        assert answer.state == "cancelled"
        assert await store.status(context.execution_id) is ExecutionStatus.CANCELLED

    async def test_a_terminal_status_never_changes(
        self, store: PostgresExecutionStore, dal: AsyncDAL
    ) -> None:
        context = await self.running(store)
        ended = progress_of(context, ExecutionStatus.COMPLETED, end_time=context.created_at)
        await store.flush(FIRST, Batch(updates={context.execution_id: ended}))

        with pytest.raises(Exception, match="has ended"):
            await dal.execute(
                "UPDATE workflow_executions SET status = 'failed' WHERE execution_id = $1",
                context.execution_id,
            )

    async def test_an_end_that_the_database_writes_lasted_as_long_as_its_times_say(
        self, store: PostgresExecutionStore, dal: AsyncDAL
    ) -> None:
        parent = await self.running(store)
        family = {"parent_execution_id": parent.execution_id, "parent_step_key": "sub", "depth": 1}
        parked = [a_context() for _ in range(30)]
        children = [a_context(**family) for _ in range(30)]
        waiting = [(each, progress_of(each, WAITING)) for each in (*parked, *children)]
        await store.flush(FIRST, created(*waiting))
        lost = [await self.running(store) for _ in range(30)]
        for each in parked:
            await store.request_cancel(each.execution_id)
        await store.flush(
            FIRST,
            Batch(updates={parent.execution_id: progress_of(parent, FAILED, end_time=NOW)}),
        )
        await store.heartbeat(FIRST, -1)
        await store.reap(SECOND, max_recoveries=0)

        found = Counter()
        for each in (*parked, *children, *lost):
            stored = await store.load(each.execution_id)
            assert stored is not None
            took = await dal.fetchval(
                "SELECT execution_time_seconds FROM workflow_executions WHERE execution_id = $1",
                each.execution_id,
            )
            assert took == stored.progress.seconds()
            found[stored.progress.status] += 1
        assert found == {ExecutionStatus.CANCELLED: 60, FAILED: 30}

    async def test_a_worker_that_lost_its_lock_takes_it_again_with_its_next_heartbeat(
        self, store: PostgresExecutionStore, dal: AsyncDAL
    ) -> None:
        third = "0190c000-0000-7000-8000-000000000004"
        other = PostgresExecutionStore(dal)
        await other.register(third, "third", 3600)
        context = a_context()
        await other.flush(third, created((context, progress_of(context))))
        gone = asyncio.Event()
        other._locks[third].add_termination_listener(lambda _: gone.set())
        await dal.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND ((classid::bigint << 32) | objid::bigint) = $1",
            lock_key(third),
        )
        await asyncio.wait_for(gone.wait(), 10)

        assert await other.heartbeat(third, 3600)

        assert await store.reap(SECOND, 5) == 0
        assert await store.status(context.execution_id) is ExecutionStatus.RUNNING
        await other.close()
        assert await store.reap(SECOND, 5) == 1


async def test_a_column_without_any_value_is_not_sent_and_is_null(dal: AsyncDAL) -> None:
    store = PostgresExecutionStore(dal)
    await store.register(FIRST, "first", 60)
    one, other = a_context(platform="twitch"), a_context()
    batch = created((one, progress_of(one)), (other, progress_of(other)))
    batch.steps = [a_step(one, 2), a_step(one, 3, port=None), a_step(other, 2)]
    _, arguments = flush_statement(FIRST, batch)
    sizes = Counter(len(each) for each in arguments[1:])
    assert set(sizes) == {0, 2, 3}
    assert sizes[0] > 20
    assert ("twitch", None) in arguments
    assert ("output", None, "output") in arguments

    await store.flush(FIRST, batch)

    found = [await store.load(each.execution_id) for each in (one, other)]
    assert [each.context for each in found if each] == [one, other]
    rows = [row for each in found if each for row in each.steps]
    assert [(row.port, row.error, row.wake_at) for row in rows] == [
        ("output", None, None), (None, None, None), ("output", None, None),
    ]  # fmt: skip
    await store.close()
