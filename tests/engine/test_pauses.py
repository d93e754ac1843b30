"""Pausing: what runs finishes, nothing new starts, memory is left; and going on, whoever does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.context import ExecutionStatus, JsonObject
from engine.errors import ExecutionNotFound, ExecutionNotRunning
from simulation.virtual_time import simulate
from tests.engine.world import World, after, document

CHILD = "0190a000-0000-7000-8000-000000000002"
PAUSED, RUNNING = ExecutionStatus.PAUSED, ExecutionStatus.RUNNING
COMPLETED = ExecutionStatus.COMPLETED


def message(text: str) -> JsonObject:
    return {"node_type": "action_chat_message", "config": {"message": text}}


def delay(seconds: float) -> JsonObject:
    return {"node_type": "action_delay", "config": {"delay_seconds": seconds}}


def in_world(main: Callable[[World], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        world = World(**settings)
        await world.engine.start()
        await main(world)
        await world.engine.shutdown()

    simulate(run())


async def started(world: World, raw: JsonObject) -> str:
    context = await world.context(raw)
    await world.engine.execute_workflow(context)
    await world.turn()
    return context.execution_id


TWO = document({"a": message("a"), "b": message("b")}, "start -> a", "a -> b")


def test_what_runs_finishes_and_nothing_new_starts() -> None:
    async def main(world: World) -> None:
        world.outside.answers["a"] = after(5)
        key = await started(world, TWO)
        assert await world.engine.pause_execution(key) is RUNNING
        await asyncio.sleep(60)
        assert await world.store.status(key) is PAUSED
        assert world.outside.messages() == ["a"]
        stored = await world.store.load(key)
        assert stored is not None
        assert [row.step_key for row in stored.steps] == ["start", "a"]
        assert await world.engine.resume_execution(key) is ExecutionStatus.WAITING
        assert await world.engine.wait(key, 10)
        assert world.outside.messages() == ["a", "b"]
        assert await world.store.status(key) is COMPLETED

    in_world(main)


def test_a_paused_execution_leaves_memory() -> None:
    async def main(world: World) -> None:
        world.outside.answers["a"] = after(1)
        key = await started(world, TWO)
        await world.engine.pause_execution(key)
        await asyncio.sleep(3)
        session = world.engine._session
        assert session is not None
        assert not session.holds(key)

    in_world(main)


def test_a_resume_that_comes_while_it_still_finishes_takes_the_pause_back() -> None:
    async def main(world: World) -> None:
        world.outside.answers["a"] = after(5)
        key = await started(world, TWO)
        await world.engine.pause_execution(key)
        assert await world.engine.resume_execution(key) is RUNNING
        assert await world.engine.wait(key, 10)
        assert world.outside.messages() == ["a", "b"]
        stored = await world.store.load(key)
        assert stored is not None
        assert stored.progress.claims == 0, "it never left memory"

    in_world(main)


def test_time_that_it_is_paused_does_not_count_against_its_limit() -> None:
    async def main(world: World) -> None:
        raw = document({"w": delay(20)}, "start -> w", max_execution_time_seconds=30)
        key = await started(world, raw)
        await asyncio.sleep(5)
        assert await world.engine.pause_execution(key) is PAUSED
        await asyncio.sleep(3_600)
        await world.engine.resume_execution(key)
        assert await world.engine.wait(key, 60)
        assert await world.store.status(key) is COMPLETED

    in_world(main)


def test_time_before_the_pause_counts() -> None:
    async def main(world: World) -> None:
        raw = document({"w": delay(60)}, "start -> w", max_execution_time_seconds=30)
        key = await started(world, raw)
        await asyncio.sleep(20)
        await world.engine.pause_execution(key)
        await asyncio.sleep(10)
        await world.engine.resume_execution(key)
        began = world.clock.monotonic()
        assert await world.engine.wait(key, 60)
        stored = await world.store.load(key)
        assert stored is not None
        assert stored.progress.error_code == "EXECUTION_TIMEOUT"
        assert world.clock.monotonic() - began == pytest.approx(10, abs=0.5)

    in_world(main)


def test_a_delay_that_is_no_record_yet_finishes_before_the_pause() -> None:
    """Less than a second is a timer in memory: left, it would begin anew each time."""

    async def main(world: World) -> None:
        raw = document({"w": delay(0.9), "m": message("m")}, "start -> w", "w -> m")
        key = await started(world, raw)
        began = world.clock.monotonic()
        for _ in range(2):
            await asyncio.sleep(0.1)
            assert await world.engine.pause_execution(key) is RUNNING
            await asyncio.sleep(0.01)
            assert await world.engine.resume_execution(key) is RUNNING
        assert await world.engine.wait(key, 10)
        assert world.clock.monotonic() - began == pytest.approx(0.9, abs=0.1)
        stored = await world.store.load(key)
        assert stored is not None
        assert stored.progress.claims == 0, "it never left memory"

    in_world(main)


def test_a_short_delay_ends_in_its_time_and_nothing_follows_it_while_paused() -> None:
    async def main(world: World) -> None:
        raw = document({"w": delay(0.9), "m": message("m")}, "start -> w", "w -> m")
        key = await started(world, raw)
        await asyncio.sleep(0.5)
        assert await world.engine.pause_execution(key) is RUNNING
        await asyncio.sleep(0.5)
        assert await world.store.status(key) is PAUSED
        stored = await world.store.load(key)
        assert stored is not None
        [_, slept] = stored.steps
        assert slept.completed_at is not None
        assert (slept.completed_at - slept.started_at).total_seconds() == pytest.approx(0.9)
        assert world.outside.messages() == []
        await world.engine.resume_execution(key)
        assert await world.engine.wait(key, 10)
        assert world.outside.messages() == ["m"]

    in_world(main)


def test_a_timer_that_is_over_meanwhile_counts_at_once_when_it_goes_on() -> None:
    async def main(world: World) -> None:
        raw = document({"w": delay(20), "m": message("m")}, "start -> w", "w -> m")
        key = await started(world, raw)
        await world.engine.pause_execution(key)
        await asyncio.sleep(60)
        assert world.outside.messages() == []
        await world.engine.resume_execution(key)
        assert await world.engine.wait(key, 1.5)
        assert world.outside.messages() == ["m"]

    in_world(main)


def test_a_signal_that_comes_while_it_is_paused_is_taken_when_it_goes_on() -> None:
    async def main(world: World) -> None:
        wait: JsonObject = {"node_type": "flow_wait", "config": {"signal": "go"}}
        raw = document({"w": wait, "m": message("m")}, "start -> w", "w -> m")
        key = await started(world, raw)
        await world.engine.pause_execution(key)
        await world.engine.signal_execution(key, "go", 1, sent_by=1, letter_id=world.new_id())
        await asyncio.sleep(5)
        assert await world.store.status(key) is PAUSED
        await world.engine.resume_execution(key)
        assert await world.engine.wait(key, 5)
        assert world.outside.messages() == ["m"]

    in_world(main)


def test_a_child_is_not_started_by_a_paused_parent() -> None:
    async def main(world: World) -> None:
        world.publish(document({"m": message("child")}, "start -> m"), CHILD)
        call: JsonObject = {"node_type": "flow_subworkflow", "config": {"workflow_id": CHILD}}
        world.outside.answers["a"] = after(5)
        raw = document({"a": message("a"), "c": call}, "start -> a", "a -> c")
        key = await started(world, raw)
        await world.engine.pause_execution(key)
        await asyncio.sleep(30)
        assert world.outside.messages() == ["a"]
        await world.engine.resume_execution(key)
        assert await world.engine.wait(key, 10)
        assert world.outside.messages() == ["a", "child"]

    in_world(main)


def test_a_pause_reaches_whichever_process_runs_it() -> None:
    async def main(world: World) -> None:
        world.outside.answers["a"] = after(5)
        key = await started(world, TWO)
        other = world.another_engine()
        await other.start()
        await other.pause_execution(key)
        await asyncio.sleep(10)
        assert await world.store.status(key) is PAUSED
        await other.resume_execution(key)
        assert await other.wait(key, 10)
        await other.shutdown()

    in_world(main)


@pytest.mark.parametrize("deaf", [False, True], ids=["hinted", "polled"])
def test_a_pause_whose_hint_is_lost_is_found_by_looking(deaf: bool) -> None:
    async def main(world: World) -> None:
        world.outside.answers["a"] = after(5)
        key = await started(world, TWO)
        if deaf:
            world.store._listeners.clear()
        await world.store.request_pause(key)
        await asyncio.sleep(10)
        assert await world.store.status(key) is PAUSED
        await world.store.request_resume(key)
        await asyncio.sleep(3)
        assert await world.store.status(key) is COMPLETED

    in_world(main)


def test_whoever_takes_a_pausing_execution_over_pauses_it() -> None:
    async def main(world: World) -> None:
        world.outside.answers["a"] = after(30)
        key = await started(world, TWO)
        await world.engine.pause_execution(key)
        world.store.kill(world.store.workers()[0])
        await asyncio.sleep(60)
        assert await world.store.status(key) is PAUSED
        assert world.outside.messages() == ["a"]

    in_world(main)


def test_a_cancellation_ends_a_paused_execution() -> None:
    async def main(world: World) -> None:
        world.outside.answers["a"] = after(5)
        key = await started(world, TWO)
        await world.engine.pause_execution(key)
        await world.engine.cancel_execution(key)
        assert await world.store.status(key) is ExecutionStatus.CANCELLED
        with pytest.raises(ExecutionNotRunning):
            await world.engine.pause_execution(key)
        with pytest.raises(ExecutionNotRunning):
            await world.engine.resume_execution(key)

    in_world(main)


def test_what_never_was_is_not_found() -> None:
    async def main(world: World) -> None:
        for ask in (world.engine.pause_execution, world.engine.resume_execution):
            with pytest.raises(ExecutionNotFound):
                await ask("0190d000-0000-7000-8000-999999999999")

    in_world(main)
