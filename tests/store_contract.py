"""What every `ExecutionStore` must keep; one suite, run on memory and on PostgreSQL.

A test module subclasses `StoreContract` and gives it a fixture `store` and a fixture `kill`
that declares a worker dead as another process would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from engine.context import ExecutionContext, ExecutionStatus, Json, Kind
from engine.errors import LeaseLost
from engine.ports import ExecutionStore, Room
from engine.records import ROW_BYTES, Batch, Progress, StepRow, json_bytes

WORKFLOW = "0190a000-0000-7000-8000-000000000001"
FIRST, SECOND = (f"0190c000-0000-7000-8000-00000000000{n}" for n in (1, 2))
NOW = datetime.now(UTC)
_ids = count(1)

Kill = Callable[[str], Awaitable[None]]


def a_context(**changes: object) -> ExecutionContext:
    context = ExecutionContext(
        execution_id=f"0190d000-0000-7000-8000-{next(_ids):012d}",
        workflow_id=WORKFLOW,
        workflow_name="a workflow",
        workflow_version=1,
        community_id=1,
        user_id=456,
        trigger_node_id="start",
        created_at=NOW,
        max_execution_seconds=300,
        variables={"name": "Ada", "n": 1.5, "deep": [{"x": None}]},
    )
    return replace(context, **changes)


def progress_of(
    context: ExecutionContext,
    status: ExecutionStatus = ExecutionStatus.RUNNING,
    **changes: object,
) -> Progress:
    fresh = Progress(
        execution_id=context.execution_id,
        status=status,
        start_time=NOW,
        held=status is ExecutionStatus.RUNNING,
    )
    return replace(fresh, **changes)


def a_step(context: ExecutionContext, seq: int = 2, **changes: object) -> StepRow:
    row = StepRow(
        execution_id=context.execution_id,
        seq=seq,
        step_key=f"node{seq}",
        node_id=f"node{seq}",
        node_type="data_variable_set",
        kind=Kind.FINISHED,
        status="completed",
        attempt=1,
        started_at=NOW,
        completed_at=NOW,
        port="output",
        output=b'{"set": [1, "two", null]}',
    )
    return replace(row, **changes)


def created(*pairs: tuple[ExecutionContext, Progress]) -> Batch:
    return Batch(created={context.execution_id: (context, p) for context, p in pairs})


class StoreContract:
    """The contract."""

    @pytest.fixture(autouse=True)
    async def workers(self, store: ExecutionStore) -> None:
        await store.register(FIRST, "first", 60)
        await store.register(SECOND, "second", 60)

    async def running(self, store: ExecutionStore, **changes: object) -> ExecutionContext:
        context = a_context(**changes)
        await store.flush(FIRST, created((context, progress_of(context))))
        return context

    async def test_what_was_flushed_is_loaded(self, store: ExecutionStore) -> None:
        context = await self.running(store)
        ended = progress_of(
            context, ExecutionStatus.COMPLETED, end_time=NOW, final_output=b'{"a": 1}', last_seq=4
        )
        steps = [a_step(context, 3), a_step(context, 2, variables={"x": [1]})]
        await store.flush(FIRST, Batch(steps=steps, updates={context.execution_id: ended}))

        stored = await store.load(context.execution_id)

        assert stored is not None
        assert stored.context == context
        assert stored.progress.status is ExecutionStatus.COMPLETED
        assert stored.progress.final_output == {"a": 1}
        assert [row.seq for row in stored.steps] == [2, 3]
        assert stored.steps[0].output == {"set": [1, "two", None]}
        assert stored.steps[0].variables == {"x": [1]}
        assert stored.steps[0].completed_at == NOW

    @pytest.mark.parametrize(
        "value", [[], [1, 2], [[1], [2, 3]], {}, {"b": [], "a": [[]]}, "text", "", 0, 1.5, False]
    )
    async def test_every_shape_of_json_comes_back(self, store: ExecutionStore, value: Json) -> None:
        context = await self.running(store, variables={"v": value}, metadata={"m": [value]})
        steps = [a_step(context, 2, input=value, output=value), a_step(context, 3, output=[value])]
        ended = progress_of(context, ExecutionStatus.COMPLETED, end_time=NOW, final_output=value)
        await store.flush(FIRST, Batch(steps=steps, updates={context.execution_id: ended}))

        stored = await store.load(context.execution_id)

        assert stored is not None
        assert stored.context == context
        assert stored.progress.final_output == value
        assert [row.output for row in stored.steps] == [value, [value]]
        assert stored.steps[0].input == value

    async def test_the_keys_of_an_object_keep_their_order(self, store: ExecutionStore) -> None:
        context = await self.running(store, variables={"zz": 1, "a": 2, "m": 3})

        stored = await store.load(context.execution_id)

        assert stored is not None
        assert list(stored.context.variables) == ["zz", "a", "m"]

    async def test_an_unknown_execution_is_none(self, store: ExecutionStore) -> None:
        assert await store.load(a_context().execution_id) is None
        assert await store.status(a_context().execution_id) is None

    async def test_flushing_a_batch_twice_changes_nothing(self, store: ExecutionStore) -> None:
        context = a_context()
        batch = created((context, progress_of(context)))
        batch.steps.append(a_step(context))
        await store.flush(FIRST, batch)
        ended = progress_of(context, ExecutionStatus.FAILED, end_time=NOW, error_message="no")
        end = Batch(updates={context.execution_id: ended})
        await store.flush(FIRST, end)

        await store.flush(FIRST, batch)
        await store.flush(FIRST, end)

        stored = await store.load(context.execution_id)
        assert stored is not None
        assert stored.progress.status is ExecutionStatus.FAILED
        assert len(stored.steps) == 1

    async def test_a_dead_worker_writes_nothing(self, store: ExecutionStore, kill: Kill) -> None:
        context = await self.running(store)
        await kill(FIRST)
        late = a_context()
        batch = created((late, progress_of(late)))
        batch.steps.append(a_step(context))
        batch.updates[context.execution_id] = progress_of(
            context, ExecutionStatus.COMPLETED, end_time=NOW
        )

        with pytest.raises(LeaseLost):
            await store.flush(FIRST, batch)

        assert await store.load(late.execution_id) is None
        stored = await store.load(context.execution_id)
        assert stored is not None
        assert stored.progress.status is ExecutionStatus.RUNNING
        assert stored.steps == []

    async def test_a_worker_cannot_move_what_another_one_holds(self, store: ExecutionStore) -> None:
        context = await self.running(store)
        ended = progress_of(context, ExecutionStatus.COMPLETED, end_time=NOW)

        await store.flush(SECOND, Batch(updates={context.execution_id: ended}))

        assert await store.status(context.execution_id) is ExecutionStatus.RUNNING

    async def test_pending_executions_are_claimed_oldest_first_and_once(
        self, store: ExecutionStore
    ) -> None:
        contexts = [a_context(created_at=NOW + timedelta(seconds=-n)) for n in range(4)]
        pending = [(c, progress_of(c, ExecutionStatus.PENDING, start_time=None)) for c in contexts]
        await store.flush(FIRST, created(*pending))
        assert await store.pending(10) == 4

        first = await store.claim(FIRST, Room(3))
        second = await store.claim(SECOND, Room(3))

        oldest = [c.execution_id for c in reversed(contexts)]
        assert {s.context.execution_id for s in first} == set(oldest[:3])
        assert [s.context.execution_id for s in second] == oldest[3:]
        assert first[0].progress.status is ExecutionStatus.RUNNING
        assert first[0].progress.held
        assert first[0].progress.start_time is not None
        assert await store.pending(10) == 0

    async def test_a_dead_worker_claims_nothing(self, store: ExecutionStore, kill: Kill) -> None:
        context = a_context()
        await store.flush(SECOND, created((context, progress_of(context, ExecutionStatus.PENDING))))
        await kill(FIRST)

        assert await store.claim(FIRST, Room(10)) == []

    async def test_only_parked_executions_that_are_due_are_claimed_with_their_steps(
        self, store: ExecutionStore
    ) -> None:
        due, later = await self.running(store), await self.running(store)
        for context, seconds in ((due, -1), (later, 3600)):
            parked = progress_of(
                context,
                ExecutionStatus.WAITING,
                wake_at=NOW + timedelta(seconds=seconds),
                last_seq=2,
            )
            await store.flush(
                FIRST,
                Batch(steps=[a_step(context)], updates={context.execution_id: parked}),
            )

        assert (await store.look(FIRST)).claimable
        claimed = await store.claim(SECOND, Room(10))

        assert [s.context.execution_id for s in claimed] == [due.execution_id]
        assert [row.step_key for row in claimed[0].steps] == ["node2"]
        outlook = await store.look(FIRST)
        assert not outlook.claimable
        assert outlook.next_wake is not None
        assert 3000 < outlook.next_wake <= 3600

    async def test_a_workflow_runs_no_more_executions_at_once_than_it_allows(
        self, store: ExecutionStore
    ) -> None:
        contexts = [
            a_context(max_parallel_executions=2, created_at=NOW + timedelta(seconds=n))
            for n in range(4)
        ]
        pending = [(c, progress_of(c, ExecutionStatus.PENDING)) for c in contexts]
        await store.flush(FIRST, created(*pending))

        first = await store.claim(FIRST, Room(10))
        none = await store.claim(SECOND, Room(10))

        assert len(first) == 2
        assert none == []

    async def test_cancelling_what_nobody_holds_is_done_at_once(
        self, store: ExecutionStore
    ) -> None:
        context = a_context()
        await store.flush(FIRST, created((context, progress_of(context, ExecutionStatus.PENDING))))

        answer = await store.request_cancel(context.execution_id)

        assert answer is not None
        assert answer.state == "cancelled"
        assert answer.at is not None
        assert await store.status(context.execution_id) is ExecutionStatus.CANCELLED
        again = await store.request_cancel(context.execution_id)
        assert again is not None
        assert (again.state, again.status) == ("ended", "cancelled")

    async def test_cancelling_what_a_worker_holds_is_asked_of_it(
        self, store: ExecutionStore
    ) -> None:
        context = await self.running(store)

        answer = await store.request_cancel(context.execution_id)

        assert answer is not None
        assert answer.state == "requested"
        assert await store.status(context.execution_id) is ExecutionStatus.RUNNING
        assert (await store.look(FIRST)).cancel == (context.execution_id,)
        assert (await store.look(SECOND)).cancel == ()

    async def test_cancelling_what_does_not_exist_is_none(self, store: ExecutionStore) -> None:
        assert await store.request_cancel(a_context().execution_id) is None

    async def test_a_heartbeat_of_a_dead_worker_is_refused(
        self, store: ExecutionStore, kill: Kill
    ) -> None:
        assert await store.heartbeat(FIRST, 60)
        await kill(FIRST)
        assert not await store.heartbeat(FIRST, 60)

    async def test_a_silent_workers_executions_are_freed_and_counted(
        self, store: ExecutionStore
    ) -> None:
        context = await self.running(store)
        await store.heartbeat(FIRST, -1)

        assert await store.reap(SECOND, max_recoveries=5) == 1

        (taken,) = await store.claim(SECOND, Room(10))
        assert taken.context == context
        assert taken.recoveries == 1
        with pytest.raises(LeaseLost):
            await store.flush(FIRST, Batch(steps=[a_step(context)]))

    async def test_an_execution_that_keeps_killing_workers_fails(
        self, store: ExecutionStore
    ) -> None:
        context = await self.running(store)
        await store.heartbeat(FIRST, -1)

        assert await store.reap(SECOND, max_recoveries=0) == 1

        stored = await store.load(context.execution_id)
        assert stored is not None
        assert stored.progress.status is ExecutionStatus.FAILED
        assert stored.progress.error_code == "WORKER_LOST"

    async def test_what_an_execution_keeps_is_counted_when_it_rests_and_when_it_ends(
        self, store: ExecutionStore
    ) -> None:
        context = await self.running(store)
        await self.running(store, community_id=2)
        assert await store.kept_bytes(1) == 0

        parked = progress_of(
            context, ExecutionStatus.WAITING, last_seq=3, recorded_bytes=1_000, wake_at=NOW
        )
        batch = Batch(steps=[a_step(context), a_step(context, 3)])
        batch.updates[context.execution_id] = parked
        for _ in range(2):  # the copy of a flush counts nothing
            await store.flush(FIRST, batch)
        assert await store.kept_bytes(1) == 1_000 + 4 * ROW_BYTES

        (taken,) = await store.claim(SECOND, Room(10))
        assert taken.progress.recorded_bytes == 1_000
        ended = replace(
            taken.progress, status=ExecutionStatus.COMPLETED, held=False, end_time=NOW,
            last_seq=4, recorded_bytes=1_500,
        )  # fmt: skip
        await store.flush(SECOND, Batch(updates={context.execution_id: ended}))
        assert await store.kept_bytes(1) == 1_500 + 5 * ROW_BYTES
        assert await store.kept_bytes(2) == 0

    async def test_one_that_is_born_and_ends_at_once_is_counted(
        self, store: ExecutionStore
    ) -> None:
        context = a_context()
        ended = progress_of(
            context, ExecutionStatus.COMPLETED, end_time=NOW, last_seq=2, recorded_bytes=70
        )
        await store.flush(FIRST, created((context, ended)))
        assert await store.kept_bytes(1) == 70 + 3 * ROW_BYTES

    async def test_what_nobody_has_measured_is_measured_at_an_end_by_somebody_else(
        self, store: ExecutionStore
    ) -> None:
        """One that was never taken up, one parked and then lost, one that kills its workers."""
        given = json_bytes(a_context().variables, {})
        value = {"x": "é" * 100}
        fresh = a_context()
        await store.flush(FIRST, created((fresh, progress_of(fresh, ExecutionStatus.PENDING))))
        await store.request_cancel(fresh.execution_id)
        cancelled = await store.load(fresh.execution_id)
        assert cancelled is not None
        assert cancelled.progress.recorded_bytes == given
        assert await store.kept_bytes(1) == given + 3 * ROW_BYTES

        parked = await self.running(store, community_id=2)
        killer = await self.running(store, community_id=3)
        for number, context in enumerate((parked, killer), start=2):
            step = a_step(
                context, input=value, variables=value, output=value, details=value,
                error={"message": "m", "type": "T", "details": value}, error_type="T",
            )  # fmt: skip
            a_step_of_it = json_bytes(*[value] * 4, step.error)
            batch = Batch(steps=[step])
            if context is parked:
                rest = progress_of(
                    parked, ExecutionStatus.WAITING, last_seq=2, recorded_bytes=500, wake_at=NOW
                )
                batch.updates[parked.execution_id] = rest
            await store.flush(FIRST, batch)
            assert await store.kept_bytes(number) == (500 + 3 * ROW_BYTES) * (context is parked)
        (taken,) = await store.claim(FIRST, Room(10))
        assert taken.context == parked
        await store.flush(FIRST, Batch(steps=[a_step(parked, 3, input=value, output=None)]))
        await store.heartbeat(FIRST, -1)
        assert await store.reap(SECOND, max_recoveries=5) == 2
        await store.request_cancel(parked.execution_id)
        kept = given + a_step_of_it + json_bytes(value)
        assert await store.kept_bytes(2) == kept + 5 * ROW_BYTES

        assert [one.context for one in await store.claim(SECOND, Room(10))] == [killer]
        await store.heartbeat(SECOND, -1)
        last = "0190c000-0000-7000-8000-000000000031"
        await store.register(last, "the last", 60)
        assert await store.reap(last, max_recoveries=0) == 1
        assert await store.kept_bytes(3) == given + a_step_of_it + 4 * ROW_BYTES

    async def test_only_losses_without_progress_in_between_are_counted(
        self, store: ExecutionStore
    ) -> None:
        context = await self.running(store)
        worker = FIRST
        for number, recorded in enumerate((True, True, False, True, False), start=2):
            if recorded:
                await store.flush(worker, Batch(steps=[a_step(context, number)]))
            await store.heartbeat(worker, -1)
            assert await store.reap(SECOND, max_recoveries=2) == 1
            worker = f"0190c000-0000-7000-8000-00000000001{number}"
            await store.register(worker, "the next", 60)
            (taken,) = await store.claim(worker, Room(10))
        assert taken.recoveries == 2

        claims = taken.progress.claims
        parked = progress_of(
            context, ExecutionStatus.WAITING, wake_at=NOW, last_seq=9, claims=claims
        )
        await store.flush(worker, Batch(updates={context.execution_id: parked}))

        (taken,) = await store.claim(worker, Room(10))
        assert taken.recoveries == 0

    async def test_g05_the_late_copy_of_a_flush_does_not_touch_what_was_claimed_since(
        self, store: ExecutionStore
    ) -> None:
        context = await self.running(store)
        parked = progress_of(context, ExecutionStatus.WAITING, wake_at=NOW)
        await store.flush(FIRST, Batch(updates={context.execution_id: parked}))
        (taken,) = await store.claim(FIRST, Room(10))
        assert taken.progress.claims == 1

        await store.flush(FIRST, Batch(updates={context.execution_id: parked}))

        assert await store.status(context.execution_id) is ExecutionStatus.RUNNING
        assert await store.held(FIRST) == {context.execution_id: 1}

    async def test_what_a_worker_holds_can_be_let_go_without_counting(
        self, store: ExecutionStore
    ) -> None:
        stray, kept = await self.running(store), await self.running(store)
        parked = await self.running(store)
        waiting = progress_of(parked, ExecutionStatus.WAITING, wake_at=NOW + timedelta(hours=1))
        await store.flush(FIRST, Batch(updates={parked.execution_id: waiting}))

        assert await store.held(FIRST) == {stray.execution_id: 0, kept.execution_id: 0}
        assert (await store.look(FIRST)).held == 2
        assert (await store.look(SECOND)).held == 0

        freed = await store.let_go(FIRST, {stray.execution_id: 0, parked.execution_id: 0})

        assert freed == 1
        assert await store.held(FIRST) == {kept.execution_id: 0}
        assert await store.status(parked.execution_id) is ExecutionStatus.WAITING
        (taken,) = await store.claim(SECOND, Room(10))
        assert taken.context == stray
        assert taken.recoveries == 0

    async def test_g05_the_late_copy_of_a_letting_go_does_not_free_what_was_claimed_since(
        self, store: ExecutionStore
    ) -> None:
        context = await self.running(store)
        held = await store.held(FIRST)
        assert await store.let_go(FIRST, held) == 1
        (again,) = await store.claim(FIRST, Room(10))
        assert again.context == context
        assert await store.let_go(FIRST, held) == 0
        assert (await store.held(FIRST)).keys() == {context.execution_id}

    async def test_release_frees_without_counting(self, store: ExecutionStore) -> None:
        context = await self.running(store)

        assert await store.release(FIRST) == 1

        (taken,) = await store.claim(SECOND, Room(10))
        assert taken.context == context
        assert taken.recoveries == 0
        assert not await store.heartbeat(FIRST, 60)
