"""Families on PostgreSQL when two things happen at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from engine.context import ExecutionStatus
from engine.errors import StoreUnavailable
from engine.memory_store import MemoryStore
from engine.ports import ExecutionStore, Room
from engine.records import Batch
from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore
from services.clock import SystemClock
from tests.store_contract import FIRST, NOW, SECOND, a_context, created, progress_of

LATER = NOW + timedelta(days=1)
ENDS = [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED]


class Families:
    @pytest.fixture(autouse=True)
    async def workers(self, store: ExecutionStore) -> None:
        await store.register(FIRST, "first", 60)
        await store.register(SECOND, "second", 60)

    async def _ended_beside_its_child(
        self, store: ExecutionStore, status: ExecutionStatus, *, known: bool
    ) -> str:
        """One flush creates a child and ends its parent; `known`: the parent was there before."""
        parent = a_context()
        child = a_context(parent_execution_id=parent.execution_id, parent_step_key="sub", depth=1)
        over = progress_of(parent, ExecutionStatus.FAILED, end_time=NOW, held=False)
        born = {child.execution_id: (child, progress_of(child, status))}
        if known:
            await store.flush(FIRST, created((parent, progress_of(parent))))
            batch = Batch(created=born, updates={parent.execution_id: over})
        else:
            batch = Batch(created={parent.execution_id: (parent, over), **born})
        await store.flush(FIRST, batch)
        return child.execution_id

    @pytest.mark.parametrize("known", [True, False])
    async def test_a_pending_child_born_in_the_flush_that_ends_its_parent_is_cancelled(
        self, store: ExecutionStore, known: bool
    ) -> None:
        child = await self._ended_beside_its_child(store, ExecutionStatus.PENDING, known=known)
        assert await store.status(child) is ExecutionStatus.CANCELLED

    @pytest.mark.parametrize("known", [True, False])
    async def test_a_running_child_born_in_the_flush_that_ends_its_parent_is_asked_to_stop(
        self, store: ExecutionStore, known: bool
    ) -> None:
        child = await self._ended_beside_its_child(store, ExecutionStatus.RUNNING, known=known)
        assert (await store.look(FIRST)).cancel == (child,)

    async def test_one_that_parks_while_it_is_asked_to_stop_is_due_at_once(
        self, store: ExecutionStore
    ) -> None:
        """The request reached the row, but the runner had already left for its park."""
        context = a_context()
        await store.flush(FIRST, created((context, progress_of(context))))
        answer = await store.request_cancel(context.execution_id)
        assert answer is not None
        assert answer.state == "requested"
        parked = progress_of(context, ExecutionStatus.WAITING, wake_at=LATER)
        await store.flush(FIRST, Batch(updates={context.execution_id: parked}))
        assert [s.cancel_requested for s in await store.claim(SECOND, Room(5))] == [True]

    async def test_two_signals_with_one_id_and_different_payloads_are_told_apart(
        self, store: ExecutionStore
    ) -> None:
        from tests.family_contract import a_letter

        context = a_context()
        await store.flush(FIRST, created((context, progress_of(context))))
        assert await store.post(context.execution_id, a_letter(payload=1)) == "kept"
        again = await store.post(context.execution_id, a_letter(payload=2))
        assert again == "known"
        assert [one.payload for one in await store.letters(context.execution_id)] == [1]


class TestMemory(Families):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore(SystemClock())


class TestPostgres(Families):
    @pytest.fixture
    async def store(self, dal: AsyncDAL) -> AsyncIterator[PostgresExecutionStore]:
        store = PostgresExecutionStore(dal)
        yield store
        await store.close()

    @pytest.mark.parametrize("deep", [10, 100])
    async def test_the_end_of_the_first_of_a_deep_family_reaches_the_last(
        self, store: PostgresExecutionStore, deep: int
    ) -> None:
        """100 is the most that MAX_SUBWORKFLOW_DEPTH may be."""
        family = [a_context()]
        for depth in range(1, deep + 1):
            above = family[-1].execution_id
            family.append(a_context(parent_execution_id=above, parent_step_key="s", depth=depth))
        pairs = [(c, progress_of(c)) for c in family]
        await store.flush(FIRST, created(*pairs))
        parks = {
            c.execution_id: progress_of(c, ExecutionStatus.WAITING, wake_at=LATER)
            for c in family[1:]
        }
        await store.flush(FIRST, Batch(updates=parks))
        over = progress_of(family[0], ExecutionStatus.COMPLETED, end_time=NOW, held=False)
        await store.flush(FIRST, Batch(updates={family[0].execution_id: over}))
        assert await store.status(family[-1].execution_id) is ExecutionStatus.CANCELLED

    @pytest.mark.parametrize("what", ["release", "let_go", "answered", "reap"])
    async def test_a_deadlock_with_another_transaction_is_no_bug_of_the_callers(
        self, store: PostgresExecutionStore, dal: AsyncDAL, database_url: str, what: str
    ) -> None:
        """Another connection (a flush whose triggers go from child to parent) locks row B, the
        call locks row A and waits for B, the other one then wants A."""
        failed = {"end_time": NOW, "held": False}
        contexts = [a_context() for _ in range(2)]
        status = ExecutionStatus.FAILED if what == "answered" else ExecutionStatus.RUNNING
        for c in contexts:
            p = progress_of(c, status, **(failed if what == "answered" else {}))
            await store.flush(FIRST, created((c, p)))
        a, b = (c.execution_id for c in contexts)
        if what == "reap":
            await dal.execute(
                "UPDATE engine_workers SET lease_until = now() - interval '1 s' WHERE worker_id=$1",
                FIRST,
            )
        other = await asyncpg.connect(database_url)
        try:
            await other.execute("SET deadlock_timeout = '60s'")  # the other one is never the victim
            lock = "SELECT 1 FROM workflow_executions WHERE execution_id = $1 FOR UPDATE"
            pid = await other.fetchval("SELECT pg_backend_pid()")
            transaction = other.transaction()
            await transaction.start()
            await other.execute(lock, b)
            calls = {
                "release": lambda: store.release(FIRST),
                "let_go": lambda: store.let_go(FIRST, {a: 0, b: 0}),
                "answered": lambda: store.answered([a, b]),
                "reap": lambda: store.reap(SECOND, 5),
            }
            call = asyncio.ensure_future(calls[what]())
            for _ in range(500):
                blocked = await dal.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))",
                    pid,
                )
                if blocked:
                    break
                await asyncio.sleep(0.01)
            crossing = asyncio.ensure_future(other.execute(lock, a))
            try:
                with pytest.raises(StoreUnavailable):
                    await call
            finally:
                await crossing
                await transaction.rollback()
        finally:
            await other.close()
