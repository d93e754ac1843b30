"""What every `ExecutionStore` must keep about letters, children and failures; run on both stores.

A test module subclasses `FamilyContract` beside `StoreContract`, whose fixtures it uses.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from engine.context import ExecutionContext, ExecutionStatus, Json
from engine.errors import StoreUnavailable
from engine.ports import MOST_SIGNALS, ExecutionStore, Room
from engine.records import ROW_BYTES, Batch, Letter, json_bytes
from tests.store_contract import FIRST, NOW, SECOND, a_context, a_step, created, progress_of

LATER = NOW + timedelta(days=1)
RUNNING, WAITING, PENDING = (
    ExecutionStatus.RUNNING, ExecutionStatus.WAITING, ExecutionStatus.PENDING,
)  # fmt: skip
COMPLETED, FAILED, CANCELLED = (
    ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED,
)  # fmt: skip
ERROR_WORKFLOW = "0190a000-0000-7000-8000-00000000000e"


def a_letter(number: int = 1, name: str = "approved", payload: Json = None) -> Letter:
    return Letter(f"0190e000-0000-7000-8000-{number:012d}", "signal", name, payload, NOW, 456)


class FamilyContract:
    """The contract. `SECOND` is a worker that holds nothing."""

    async def _put(
        self, store: ExecutionStore, status: ExecutionStatus = RUNNING, **changes: object
    ) -> ExecutionContext:
        context = a_context(**changes)
        await store.flush(FIRST, created((context, progress_of(context, status))))
        return context

    async def _child(
        self, store: ExecutionStore, parent: ExecutionContext, status: ExecutionStatus = RUNNING
    ) -> ExecutionContext:
        return await self._put(
            store, status, parent_execution_id=parent.execution_id, parent_step_key="sub", depth=1
        )

    async def _move(
        self,
        store: ExecutionStore,
        context: ExecutionContext,
        status: ExecutionStatus,
        **changes: object,
    ) -> None:
        end = {"end_time": NOW} if status.terminal else {}
        progress = progress_of(context, status, **end, **changes)
        await store.flush(FIRST, Batch(updates={context.execution_id: progress}))

    async def test_depth_and_error_workflow_are_kept(self, store: ExecutionStore) -> None:
        context = await self._put(store, depth=3, error_workflow_id=ERROR_WORKFLOW)
        stored = await store.load(context.execution_id)
        assert stored is not None
        assert stored.context == context

    @pytest.mark.parametrize("payload", [None, 0, "text", [1, [2]], {"a": {"b": None}}])
    async def test_a_letter_comes_back_as_it_was_posted(
        self, store: ExecutionStore, payload: Json
    ) -> None:
        context = await self._put(store)
        letter = a_letter(payload=payload)
        assert await store.post(context.execution_id, letter) == "kept"
        assert await store.letters(context.execution_id) == [letter]
        stored = await store.load(context.execution_id)
        assert stored is not None
        assert stored.letters == [letter]

    async def test_letters_keep_the_order_in_which_they_came(self, store: ExecutionStore) -> None:
        context = await self._put(store)
        for number in (5, 3, 9):
            await store.post(context.execution_id, a_letter(number))
        letters = await store.letters(context.execution_id)
        assert letters == [a_letter(5), a_letter(3), a_letter(9)]

    async def test_a_letter_posted_again_is_kept_once(self, store: ExecutionStore) -> None:
        context = await self._put(store)
        answers = [await store.post(context.execution_id, a_letter()) for _ in range(2)]
        both = [store.post(context.execution_id, a_letter(2)) for _ in range(4)]
        answers += await asyncio.gather(*both)
        assert sorted(map(str, answers)) == ["kept", "kept", *["known"] * 4]
        assert len(await store.letters(context.execution_id)) == 2
        assert (await store.look(FIRST)).letters == {context.execution_id: 2}

    async def test_letters_are_counted_as_they_come_whether_it_runs_or_waits(
        self, store: ExecutionStore
    ) -> None:
        context = await self._put(store)
        first, second = (a_letter(number, payload={"x": "é" * number}) for number in (7, 8))
        for _ in range(2):  # one that is sent again counts nothing
            await store.post(context.execution_id, first)
        letters = ROW_BYTES + json_bytes(first.payload)
        assert await store.kept_bytes(1) == letters
        await self._move(store, context, WAITING, last_seq=3, recorded_bytes=1_000)
        await store.post(context.execution_id, second)
        letters += ROW_BYTES + json_bytes(second.payload)
        assert await store.kept_bytes(1) == 1_000 + 4 * ROW_BYTES + letters
        await store.request_cancel(context.execution_id)
        assert await store.post(context.execution_id, a_letter(9)) == "ended"
        assert await store.kept_bytes(1) == 1_000 + 5 * ROW_BYTES + letters

    async def test_no_letter_reaches_what_has_ended_or_never_was(
        self, store: ExecutionStore
    ) -> None:
        context = await self._put(store)
        await self._move(store, context, COMPLETED)
        assert await store.post(context.execution_id, a_letter()) == "ended"
        assert await store.post(a_context().execution_id, a_letter()) is None
        assert await store.letters(context.execution_id) == []

    async def test_letters_are_bounded_and_a_known_one_stays_known(
        self, store: ExecutionStore
    ) -> None:
        context = await self._put(store)
        child = await self._child(store, context)
        await self._move(store, child, COMPLETED)  # what children say does not count
        for number in range(MOST_SIGNALS):
            assert await store.post(context.execution_id, a_letter(number)) == "kept"
        assert await store.post(context.execution_id, a_letter(MOST_SIGNALS)) == "full"
        assert await store.post(context.execution_id, a_letter(7)) == "known"
        await self._move(store, context, COMPLETED)
        assert await store.post(context.execution_id, a_letter(7)) == "known"
        (last,) = await store.letters(context.execution_id, MOST_SIGNALS)
        assert last == a_letter(MOST_SIGNALS - 1)

    async def test_a_peek_shows_all_but_steps_and_letters(self, store: ExecutionStore) -> None:
        context = await self._put(store)
        await store.post(context.execution_id, a_letter())
        seen = await store.peek(context.execution_id)
        assert seen is not None
        assert (seen.context, seen.steps, seen.letters) == (context, [], [])
        assert await store.peek(a_context().execution_id) is None

    async def test_a_letter_makes_a_parked_execution_due(self, store: ExecutionStore) -> None:
        context = await self._put(store)
        await self._move(store, context, WAITING, wake_at=LATER)
        assert await store.claim(SECOND, Room(5)) == []

        await store.post(context.execution_id, a_letter())

        assert (await store.look(SECOND)).claimable
        (claimed,) = await store.claim(SECOND, Room(5))
        assert claimed.letters == [a_letter()]

    async def test_one_that_parks_with_a_letter_unread_is_due_at_once(
        self, store: ExecutionStore
    ) -> None:
        context = await self._put(store)
        await store.post(context.execution_id, a_letter())
        await self._move(store, context, WAITING, wake_at=LATER, letters_read=0)
        assert len(await store.claim(SECOND, Room(5))) == 1

    async def test_one_that_parks_having_read_its_letters_sleeps(
        self, store: ExecutionStore
    ) -> None:
        context = await self._put(store)
        await store.post(context.execution_id, a_letter())
        await self._move(store, context, WAITING, wake_at=LATER, letters_read=1)
        assert await store.claim(SECOND, Room(5)) == []

    @pytest.mark.parametrize("first", ["letter", "park"])
    async def test_a_letter_and_a_park_at_once_lose_no_wake_up(
        self, store: ExecutionStore, first: str
    ) -> None:
        contexts = [await self._put(store) for _ in range(10)]
        posts = [store.post(c.execution_id, a_letter()) for c in contexts]
        parks = [self._move(store, c, WAITING, wake_at=LATER) for c in contexts]
        pairs = (
            zip(posts, parks, strict=True) if first == "letter" else zip(parks, posts, strict=True)
        )
        await asyncio.gather(*(work for pair in pairs for work in pair))
        assert len(await store.claim(SECOND, Room(20))) == 10

    async def test_a_parent_hears_how_its_child_ended(self, store: ExecutionStore) -> None:
        parent = await self._put(store)
        child = await self._child(store, parent)
        await self._move(
            store, child, FAILED, error_message="No.", error_code="DOWN", error_node_id="x"
        )
        (letter,) = await store.letters(parent.execution_id)
        assert (letter.letter_id, letter.kind, letter.name) == (child.execution_id, "child", "sub")
        assert letter.payload == {
            "status": "failed",
            "output": None,
            "workflow_name": child.workflow_name,
            "error_message": "No.",
            "error_code": "DOWN",
            "error_node_id": "x",
        }

    async def test_a_parked_parent_is_due_when_its_child_ends(self, store: ExecutionStore) -> None:
        parent = await self._put(store)
        child = await self._child(store, parent)
        await self._move(store, parent, WAITING, wake_at=LATER)
        await self._move(store, child, COMPLETED, final_output=b'{"n": 1}')
        (claimed,) = await store.claim(SECOND, Room(5))
        assert claimed.letters[0].payload["output"] == {"n": 1}

    async def test_a_child_that_ends_in_the_flush_that_parks_its_parent_wakes_it(
        self, store: ExecutionStore
    ) -> None:
        parent = await self._put(store)
        child = await self._child(store, parent)
        updates = {
            parent.execution_id: progress_of(parent, WAITING, wake_at=LATER),
            child.execution_id: progress_of(child, COMPLETED, end_time=NOW),
        }
        await store.flush(FIRST, Batch(updates=updates))
        assert len(await store.claim(SECOND, Room(5))) == 1

    async def test_a_child_born_and_ended_in_one_flush_is_heard_of(
        self, store: ExecutionStore
    ) -> None:
        parent = await self._put(store)
        child = a_context(parent_execution_id=parent.execution_id, parent_step_key="sub", depth=1)
        ended = progress_of(child, COMPLETED, end_time=NOW, final_output=b"7")
        await store.flush(FIRST, created((child, ended)))
        await store.flush(FIRST, created((child, ended)))
        (letter,) = await store.letters(parent.execution_id)
        assert letter.payload["output"] == 7

    async def test_a_child_nobody_waits_for_is_not_heard_of(self, store: ExecutionStore) -> None:
        parent = await self._put(store)
        child = await self._put(store, parent_execution_id=parent.execution_id)
        await self._move(store, child, COMPLETED)
        assert await store.letters(parent.execution_id) == []

    @pytest.mark.parametrize("end", [COMPLETED, FAILED, CANCELLED])
    async def test_the_end_of_a_parent_cancels_children_that_nobody_holds(
        self, store: ExecutionStore, end: ExecutionStatus
    ) -> None:
        parent = await self._put(store)
        parked = await self._child(store, parent)
        grandchild = await self._child(store, parked)
        await self._move(store, grandchild, WAITING, wake_at=LATER)
        await self._move(store, parked, WAITING, wake_at=LATER)
        pending = await self._child(store, parent, PENDING)
        detached = await self._put(store, PENDING, parent_execution_id=parent.execution_id)

        await self._move(store, parent, end)

        for one in (parked, grandchild, pending):
            assert await store.status(one.execution_id) is CANCELLED
        assert await store.status(detached.execution_id) is PENDING

    async def test_the_end_of_a_parent_asks_the_holder_of_its_child_to_cancel_it(
        self, store: ExecutionStore
    ) -> None:
        parent = await self._put(store)
        child = await self._child(store, parent)
        await self._move(store, parent, COMPLETED)
        assert await store.status(child.execution_id) is RUNNING
        assert (await store.look(FIRST)).cancel == (child.execution_id,)

    async def test_cancelling_a_parked_parent_cancels_its_parked_child(
        self, store: ExecutionStore
    ) -> None:
        parent = await self._put(store)
        child = await self._child(store, parent)
        await self._move(store, child, WAITING, wake_at=LATER)
        await self._move(store, parent, WAITING, wake_at=LATER)
        cancelled = await store.request_cancel(parent.execution_id)
        assert cancelled is not None
        assert cancelled.state == "cancelled"
        assert await store.status(child.execution_id) is CANCELLED

    async def test_a_cancelled_child_is_heard_of(self, store: ExecutionStore) -> None:
        parent = await self._put(store)
        child = await self._child(store, parent)
        await self._move(store, child, WAITING, wake_at=LATER)
        await store.request_cancel(child.execution_id)
        (letter,) = await store.letters(parent.execution_id)
        assert letter.payload["status"] == "cancelled"

    async def test_families_that_end_from_both_sides_at_once_all_end(
        self, store: ExecutionStore
    ) -> None:
        """Cancellations lock parents before children, ends children before parents."""
        pairs = []
        for _ in range(15):
            parent = await self._put(store)
            child = await self._child(store, parent)
            await self._move(store, parent, WAITING, wake_at=LATER)
            pairs.append((parent, child))
        ends = [self._end_patiently(store, child) for _, child in pairs]
        cancels = [store.request_cancel(parent.execution_id) for parent, _ in pairs]
        await asyncio.gather(*ends, *cancels)
        for parent, child in pairs:
            assert await store.status(parent.execution_id) is CANCELLED
            status = await store.status(child.execution_id)
            assert status is COMPLETED

    async def _end_patiently(self, store: ExecutionStore, child: ExecutionContext) -> None:
        """As the journal does: again, until it is written."""
        for _ in range(5):
            try:
                await self._move(store, child, COMPLETED)
            except StoreUnavailable:
                continue
            return

    async def test_a_failure_with_an_error_workflow_is_unanswered_until_it_is_answered(
        self, store: ExecutionStore
    ) -> None:
        answered = await self._put(store, error_workflow_id=ERROR_WORKFLOW)
        plain = await self._put(store)
        fine = await self._put(store, error_workflow_id=ERROR_WORKFLOW)
        assert not (await store.look(FIRST)).unanswered
        await self._move(store, answered, FAILED, error_message="No.", error_code="DOWN")
        await self._move(store, plain, FAILED)
        await self._move(store, fine, COMPLETED)

        assert (await store.look(SECOND)).unanswered
        (failure,) = await store.unanswered(10)
        assert failure.context == answered
        assert failure.progress.error_message == "No."

        await store.answered([answered.execution_id])
        assert await store.unanswered(10) == []
        assert not (await store.look(SECOND)).unanswered

    async def test_an_execution_that_begins_with_records_is_claimed_with_them(
        self, store: ExecutionStore
    ) -> None:
        context = a_context()
        batch = created((context, progress_of(context, PENDING, start_time=None, last_seq=2)))
        batch.steps.append(a_step(context, 2))
        await store.flush(FIRST, batch)
        (claimed,) = await store.claim(SECOND, Room(5))
        assert [row.seq for row in claimed.steps] == [2]
