"""Group commit and output commit."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from engine.context import ExecutionContext, ExecutionStatus
from engine.errors import LeaseLost, StoreUnavailable
from engine.journal import Journal
from engine.memory_store import MemoryStore
from engine.records import Batch
from tests.engine.world import Log
from tests.store_contract import FIRST, a_context, a_step, progress_of
from tests.virtual_time import VirtualClock, simulate


class SlowStore(MemoryStore):
    """A memory store whose flush takes a second, and fails when told to."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.batches: list[Batch] = []
        self.failures: list[Exception] = []

    async def flush(self, worker_id: str, batch: Batch) -> None:
        self.batches.append(batch)
        await asyncio.sleep(1)
        if self.failures:
            raise self.failures.pop(0)
        await super().flush(worker_id, batch)


class Journaled:
    """A journal whose writer runs."""

    def __init__(self) -> None:
        self.store = SlowStore()
        self.refused: list[str] = []
        self.lost: list[LeaseLost] = []
        self.journal = Journal(
            self.store, FIRST, lambda key, _: self.refused.append(key), self.lost.append, Log()
        )

    async def __aenter__(self) -> Journaled:
        await self.store.register(FIRST, "first", 1e6)
        self.writer = asyncio.create_task(self.journal.run())
        return self

    async def __aexit__(self, *failure: object) -> None:
        self.journal.close()
        await self.writer


def test_what_collects_during_a_flush_is_written_by_the_next_one_together() -> None:
    async def main() -> None:
        async with Journaled() as j:
            contexts = [a_context() for _ in range(10)]
            j.journal.create(contexts[0], progress_of(contexts[0]))
            await asyncio.sleep(0.5)
            for context in contexts[1:]:
                j.journal.create(context, progress_of(context))
            await j.journal.committed(j.journal.position)
            assert [len(batch.created) for batch in j.store.batches] == [1, 9]

    simulate(main())


def test_those_that_one_flush_held_up_are_not_all_held_up_by_the_next_one() -> None:
    """Else the store would rest while they compute, and they while it writes."""

    async def main() -> None:
        async with Journaled() as j:
            contexts = [a_context() for _ in range(40)]

            async def five_steps(context: ExecutionContext) -> None:
                await j.journal.committed(j.journal.position)
                for seq in range(2, 7):
                    await j.journal.committed(j.journal.step(a_step(context, seq)))

            for context in contexts:
                j.journal.create(context, progress_of(context))
            await asyncio.gather(*map(five_steps, contexts))
            sizes = [len(batch.created) + len(batch.steps) for batch in j.store.batches]
            assert sizes == [40, *[20] * 10]

    simulate(main())


def test_a_few_that_one_flush_held_up_go_on_together() -> None:
    async def main() -> None:
        async with Journaled() as j:
            contexts = [a_context() for _ in range(10)]
            for context in contexts:
                j.journal.create(context, progress_of(context))
            await j.journal.committed(j.journal.position)

            async def a_step_of(context: ExecutionContext, seq: int) -> None:
                await j.journal.committed(j.journal.step(a_step(context, seq)))

            for seq in (2, 3):
                await asyncio.gather(*(a_step_of(context, seq) for context in contexts))
            assert [len(batch.steps) for batch in j.store.batches] == [0, 10, 10]

    simulate(main())


def test_committed_waits_for_the_flush_that_holds_the_position_and_no_longer() -> None:
    async def main() -> None:
        async with Journaled() as j:
            loop = asyncio.get_running_loop()
            context = a_context()
            first = j.journal.create(context, progress_of(context))
            await asyncio.sleep(0.1)
            second = j.journal.step(a_step(context))
            waiting = asyncio.create_task(j.journal.committed(second))
            await j.journal.committed(first)
            assert loop.time() == pytest.approx(1.0)
            assert not waiting.done()
            await waiting
            assert loop.time() == pytest.approx(2.0)

    simulate(main())


def test_progress_of_an_execution_that_is_not_flushed_yet_joins_its_creation() -> None:
    async def main() -> None:
        async with Journaled() as j:
            context = a_context()
            progress = progress_of(context)
            j.journal.create(context, progress)
            ended = replace(
                progress, status=ExecutionStatus.COMPLETED, held=False, end_time=context.created_at
            )
            j.journal.progress(ended)
            await j.journal.committed(j.journal.position)
            assert j.journal.flushes == 1
            assert await j.store.status(context.execution_id) is ExecutionStatus.COMPLETED

    simulate(main())


def test_a_failed_flush_is_repeated_with_the_same_batch() -> None:
    async def main() -> None:
        async with Journaled() as j:
            j.store.failures = [StoreUnavailable(), StoreUnavailable()]
            context = a_context()
            await j.journal.committed(j.journal.create(context, progress_of(context)))
            assert len(j.store.batches) == 3
            assert j.store.batches[0] is j.store.batches[2]
            assert j.journal.flushes == 1

    simulate(main())


def test_a_lost_lease_ends_the_journal_and_everybody_who_waits() -> None:
    async def main() -> None:
        async with Journaled() as j:
            j.store.kill(FIRST)
            context = a_context()
            position = j.journal.create(context, progress_of(context))
            with pytest.raises(LeaseLost):
                await j.journal.committed(position)
            assert len(j.lost) == 1
            with pytest.raises(LeaseLost):
                j.journal.step(a_step(context))

    simulate(main())


def test_a_value_the_store_refuses_does_not_hurt_its_neighbours() -> None:
    async def main() -> None:
        async with Journaled() as j:
            j.store.failures = [ValueError("together")]
            good, bad = a_context(), a_context()
            refuse = j.store.flush

            async def flush(worker_id: str, batch: Batch) -> None:
                if set(batch.executions()) == {bad.execution_id}:
                    raise ValueError("unstorable")
                await refuse(worker_id, batch)

            j.store.flush = flush  # type: ignore[method-assign]  # a store that dislikes one
            for context in (good, bad):
                j.journal.create(context, progress_of(context))
            await j.journal.committed(j.journal.position)
            assert j.refused == [bad.execution_id]
            assert await j.store.load(good.execution_id) is not None

    simulate(main())


def test_a_creation_can_be_withdrawn_until_a_flush_takes_it() -> None:
    async def main() -> None:
        async with Journaled() as j:
            first, second = a_context(), a_context()
            j.journal.create(first, progress_of(first))
            await asyncio.sleep(0.5)
            j.journal.create(second, progress_of(second))
            assert not j.journal.withdraw(first.execution_id)
            assert j.journal.withdraw(second.execution_id)
            await j.journal.committed(j.journal.position)
            assert await j.store.load(first.execution_id) is not None
            assert await j.store.load(second.execution_id) is None

    simulate(main())
