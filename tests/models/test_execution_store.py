"""The PostgreSQL store keeps the contract, and what only PostgreSQL can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from engine.context import ExecutionStatus
from engine.errors import StoreUnavailable
from engine.records import Batch
from models import worker_sql
from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore, lock_key
from tests.family_contract import FamilyContract
from tests.queue_contract import QueueContract
from tests.store_contract import FIRST, SECOND, Kill, StoreContract, a_context, created, progress_of

CUT_OFF = "SELECT pg_terminate_backend(pg_backend_pid()), $1::bigint"


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
