"""What every `ExecutionStore` must keep about pausing, and about who is claimed next.

Mixed into the classes that run `StoreContract`, whose workers and executions it uses.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from engine.context import ExecutionContext, ExecutionStatus
from engine.ports import ExecutionStore, Room
from engine.records import Batch
from tests.store_contract import (
    FIRST,
    NOW,
    SECOND,
    a_context,
    a_step,
    created,
    progress_of,
)

PENDING, WAITING, PAUSED = (
    ExecutionStatus.PENDING,
    ExecutionStatus.WAITING,
    ExecutionStatus.PAUSED,
)
RUNNING, CANCELLED = ExecutionStatus.RUNNING, ExecutionStatus.CANCELLED
LATER = NOW + timedelta(days=1)


async def queue(store: ExecutionStore, community: int, length: int, **changes: object) -> list[str]:
    """So many pending executions of a community, the first first."""
    contexts = [
        a_context(
            community_id=community, created_at=NOW - timedelta(seconds=length - number), **changes
        )
        for number in range(length)
    ]
    pairs = [(context, progress_of(context, PENDING, start_time=None)) for context in contexts]
    await store.flush(FIRST, created(*pairs))
    return [context.execution_id for context in contexts]


async def claimed(store: ExecutionStore, worker_id: str, room: Room) -> list[ExecutionContext]:
    return [stored.context for stored in await store.claim(worker_id, room)]


def communities(contexts: list[ExecutionContext]) -> list[int]:
    return sorted(context.community_id for context in contexts)


class QueueContract:
    """The contract."""

    # Pausing

    async def _parked(self, store: ExecutionStore, **changes: object) -> ExecutionContext:
        context = a_context(**changes)
        await store.flush(FIRST, created((context, progress_of(context))))
        await self._leaves(store, context, WAITING, wake_at=LATER)
        return context

    async def _leaves(
        self,
        store: ExecutionStore,
        context: ExecutionContext,
        status: ExecutionStatus,
        **changes: object,
    ) -> None:
        progress = progress_of(context, status, **changes)
        await store.flush(FIRST, Batch(updates={context.execution_id: progress}))

    async def test_one_that_nobody_holds_is_paused_at_once(self, store: ExecutionStore) -> None:
        [waiting] = await queue(store, 1, 1)
        parked = await self._parked(store)
        for key in (waiting, parked.execution_id):
            assert await store.request_pause(key) is PAUSED
            assert await store.request_pause(key) is PAUSED
            assert await store.status(key) is PAUSED
        assert not (await store.look(FIRST)).claimable
        assert await store.claim(FIRST, Room(10)) == []

    async def test_one_that_runs_is_asked_to_pause(self, store: ExecutionStore) -> None:
        context = a_context()
        await store.flush(FIRST, created((context, progress_of(context))))
        assert await store.request_pause(context.execution_id) is RUNNING
        assert (await store.look(FIRST)).pause == (context.execution_id,)
        await self._leaves(store, context, PAUSED)
        assert await store.status(context.execution_id) is PAUSED
        assert await store.held(FIRST) == {}
        assert await store.claim(FIRST, Room(10)) == []

    async def test_a_pause_and_its_end_take_the_next_numbers(self, store: ExecutionStore) -> None:
        [waiting] = await queue(store, 1, 1)
        context = a_context()
        batch = created((context, progress_of(context)))
        batch.steps.extend([a_step(context, 2), a_step(context, 3)])
        await store.flush(FIRST, batch)
        await store.request_pause(context.execution_id)
        await self._leaves(store, context, PAUSED, last_seq=3)
        await store.request_pause(waiting)
        assert await self._last_numbers(store, context.execution_id, waiting) == [4, 2]
        for key in (context.execution_id, waiting) * 2:
            await store.request_pause(key)
        assert await self._last_numbers(store, context.execution_id, waiting) == [4, 2]
        for key in (context.execution_id, waiting) * 2:
            await store.request_resume(key)
        assert await self._last_numbers(store, context.execution_id, waiting) == [5, 3]
        await store.request_cancel(waiting)
        assert await self._last_numbers(store, waiting) == [4]

    async def test_the_pause_of_what_was_freed_in_the_middle_is_numbered_after_its_records(
        self, store: ExecutionStore
    ) -> None:
        context = a_context()
        batch = created((context, progress_of(context)))
        batch.steps.extend([a_step(context, 2), a_step(context, 3)])
        await store.flush(FIRST, batch)
        await store.let_go(FIRST, await store.held(FIRST))
        assert await store.request_pause(context.execution_id) is PAUSED
        assert await self._last_numbers(store, context.execution_id) == [4]

    async def test_a_pause_that_was_called_off_has_no_number(self, store: ExecutionStore) -> None:
        context = a_context()
        await store.flush(FIRST, created((context, progress_of(context))))
        await store.request_pause(context.execution_id)
        await store.request_resume(context.execution_id)
        await self._leaves(store, context, PAUSED, last_seq=1)
        assert await self._last_numbers(store, context.execution_id) == [1]

    async def _last_numbers(self, store: ExecutionStore, *keys: str) -> list[int]:
        stored = [await store.load(key) for key in keys]
        return [each.progress.last_seq for each in stored if each is not None]

    async def test_a_resumed_one_is_claimed_and_its_pause_does_not_count(
        self, store: ExecutionStore
    ) -> None:
        context = await self._parked(store)
        await store.request_pause(context.execution_id)
        assert await store.request_resume(context.execution_id) is WAITING
        (taken,) = await store.claim(SECOND, Room(10))
        assert not taken.pause_requested
        assert taken.progress.paused_seconds >= 0

    async def test_one_that_was_paused_before_it_started_is_pending_again(
        self, store: ExecutionStore
    ) -> None:
        [key] = await queue(store, 1, 1)
        await store.request_pause(key)
        assert await store.request_resume(key) is PENDING
        (taken,) = await store.claim(SECOND, Room(10))
        assert taken.progress.paused_seconds == 0

    async def test_a_resume_that_comes_before_the_pause_is_recorded_is_not_lost(
        self, store: ExecutionStore
    ) -> None:
        context = a_context()
        await store.flush(FIRST, created((context, progress_of(context))))
        await store.request_pause(context.execution_id)
        assert await store.request_resume(context.execution_id) is RUNNING
        await self._leaves(store, context, PAUSED)
        assert await store.status(context.execution_id) is WAITING
        assert await claimed(store, SECOND, Room(10)) == [context]

    async def test_one_that_parks_while_it_is_asked_to_pause_is_due_at_once(
        self, store: ExecutionStore
    ) -> None:
        context = a_context()
        await store.flush(FIRST, created((context, progress_of(context))))
        await store.request_pause(context.execution_id)
        await self._leaves(store, context, WAITING, wake_at=LATER)
        (taken,) = await store.claim(SECOND, Room(10))
        assert taken.pause_requested

    async def test_one_that_is_cancelled_while_it_pauses_is_due_at_once(
        self, store: ExecutionStore
    ) -> None:
        context = a_context()
        await store.flush(FIRST, created((context, progress_of(context))))
        await store.request_pause(context.execution_id)
        await store.request_cancel(context.execution_id)
        await self._leaves(store, context, PAUSED)
        (taken,) = await store.claim(SECOND, Room(10))
        assert taken.cancel_requested

    async def test_a_paused_one_can_be_cancelled(self, store: ExecutionStore) -> None:
        context = await self._parked(store)
        await store.request_pause(context.execution_id)
        answer = await store.request_cancel(context.execution_id)
        assert answer is not None
        assert answer.state == "cancelled"
        assert await store.status(context.execution_id) is CANCELLED

    async def test_what_has_ended_or_never_was_is_not_paused(self, store: ExecutionStore) -> None:
        context = await self._parked(store)
        await store.request_cancel(context.execution_id)
        assert await store.request_pause(context.execution_id) is CANCELLED
        assert await store.request_resume(context.execution_id) is CANCELLED
        unknown = "0190d000-0000-7000-8000-999999999999"
        assert await store.request_pause(unknown) is None
        assert await store.request_resume(unknown) is None

    async def test_resuming_what_is_not_paused_changes_nothing(self, store: ExecutionStore) -> None:
        context = await self._parked(store)
        assert await store.request_resume(context.execution_id) is WAITING
        assert await store.claim(FIRST, Room(10)) == []

    async def test_a_paused_one_keeps_its_place_in_a_limited_workflow(
        self, store: ExecutionStore
    ) -> None:
        context = await self._parked(store, max_parallel_executions=1)
        await queue(store, 1, 1, max_parallel_executions=1)
        await store.request_pause(context.execution_id)
        assert await store.claim(SECOND, Room(10)) == []
        await store.request_resume(context.execution_id)
        assert await claimed(store, SECOND, Room(10)) == [context]

    async def test_one_paused_before_it_started_keeps_nobody_else_waiting(
        self, store: ExecutionStore
    ) -> None:
        first, second = await queue(store, 1, 2, max_parallel_executions=1)
        await store.request_pause(first)
        assert [c.execution_id for c in await claimed(store, SECOND, Room(10))] == [second]

    # Fairness (G13)

    @pytest.mark.parametrize("limit", [None, 1000])
    async def test_g13_a_long_queue_of_one_community_does_not_delay_another(
        self, store: ExecutionStore, limit: int | None
    ) -> None:
        await queue(store, 1, 300, max_parallel_executions=limit)
        [other] = await queue(store, 2, 1)
        taken = await claimed(store, SECOND, Room(2))
        assert communities(taken) == [1, 2]
        assert other in [context.execution_id for context in taken]

    async def test_g13_communities_take_turns_and_each_in_its_own_order(
        self, store: ExecutionStore
    ) -> None:
        queues = {number: await queue(store, number, 5) for number in (1, 2, 3)}
        for turn in range(5):
            taken = await claimed(store, SECOND, Room(3))
            assert communities(taken) == [1, 2, 3]
            for context in taken:
                assert context.execution_id == queues[context.community_id][turn]

    async def test_g13_who_runs_little_here_comes_first(self, store: ExecutionStore) -> None:
        await queue(store, 1, 5)
        await queue(store, 2, 5)
        taken = await claimed(store, SECOND, Room(4, running={1: 3}))
        assert communities(taken) == [1, 2, 2, 2] or communities(taken) == [2, 2, 2, 2]

    async def test_g13_many_due_of_one_community_leave_room_for_a_fresh_one(
        self, store: ExecutionStore
    ) -> None:
        for _ in range(20):
            parked = await self._parked(store)
            await store.request_pause(parked.execution_id)
            await store.request_resume(parked.execution_id)
        await queue(store, 2, 1)
        assert communities(await claimed(store, SECOND, Room(2))) == [1, 2]

    async def test_g13_one_community_takes_no_more_than_its_share_of_a_worker(
        self, store: ExecutionStore
    ) -> None:
        await queue(store, 1, 5)
        assert len(await claimed(store, SECOND, Room(10, each=4, running={1: 2}))) == 2
        assert len(await claimed(store, SECOND, Room(10, each=4, running={1: 4}))) == 0

    async def test_a_community_runs_no_more_at_once_everywhere_than_it_may(
        self, store: ExecutionStore
    ) -> None:
        await queue(store, 1, 5)
        await queue(store, 2, 1)
        assert communities(await claimed(store, FIRST, Room(10, everywhere=2))) == [1, 1, 2]
        assert await claimed(store, SECOND, Room(10, everywhere=2)) == []
        assert communities(await claimed(store, SECOND, Room(10, everywhere=3))) == [1]

    async def test_a_claim_goes_through_a_long_queue_to_its_end(
        self, store: ExecutionStore
    ) -> None:
        await queue(store, 1, 45)
        for number in range(2, 32):
            await queue(store, number, 1)
        rounds = 0
        while await claimed(store, SECOND, Room(20)):
            rounds += 1
        assert await store.pending(100) == 0
        assert rounds <= 6

    async def test_pending_executions_are_counted_by_community(self, store: ExecutionStore) -> None:
        await queue(store, 1, 3)
        await queue(store, 2, 2, max_parallel_executions=1)
        assert await store.pending(100) == 5
        assert await store.pending(100, 1) == 3
        assert await store.pending(100, 2) == 2
        assert await store.pending(100, 3) == 0

    async def test_those_that_have_ended_are_told_from_the_others(
        self, store: ExecutionStore
    ) -> None:
        alive, dead = await queue(store, 1, 2)
        await store.request_cancel(dead)
        assert await store.ended([alive, dead, "0190d000-0000-7000-8000-999999999999"]) == {dead}
