"""G12 inside one process: what runs finishes, nothing more starts, the rest is handed over."""

from __future__ import annotations

import asyncio

from engine.context import ExecutionStatus
from tests.engine.test_engine import in_world
from tests.engine.test_running import message
from tests.engine.world import World, after, document

GRACE_SECONDS = 5.0


def two_slow_steps(world: World, seconds: float) -> dict[str, object]:
    """Steps of so many seconds; the second of them would not finish within the grace time."""
    world.outside.answers |= {"first": after(seconds), "second": after(seconds)}
    nodes = {name: message(name, timeout_seconds=100) for name in ("first", "second")}
    return document(nodes, "start -> first", "first -> second")


def test_g12_no_step_starts_that_the_end_of_the_grace_time_would_cut_off() -> None:
    async def main(world: World) -> None:
        context = await world.context(two_slow_steps(world, 3))
        await world.engine.execute_workflow(context)
        await asyncio.sleep(1)
        await world.engine.shutdown()
        assert world.outside.messages() == ["first"]
        other = world.another_engine()
        await other.start()
        assert await other.wait(context.execution_id, 60)
        await other.shutdown()
        assert await world.store.status(context.execution_id) is ExecutionStatus.COMPLETED
        assert world.outside.messages() == ["first", "second"]

    in_world(main, shutdown_grace_seconds=GRACE_SECONDS)


def test_g12_what_is_left_is_handed_over_before_the_process_has_ended() -> None:
    async def main(world: World) -> None:
        world.outside.answers["long"] = after(100)
        long = document({"m": message("long", timeout_seconds=200)}, "start -> m")
        contexts = [await world.context(two_slow_steps(world, 3)), await world.context(long)]
        await world.engine.execute_many(contexts)
        other = world.another_engine()
        await other.start()
        await asyncio.sleep(1)
        world.engine.wind_down()
        assert await other.wait(contexts[0].execution_id, 20)
        assert world.outside.messages().count("long") == 1
        await other.shutdown()

    in_world(main, shutdown_grace_seconds=50.0)


def test_g12_what_comes_in_on_the_way_out_is_accepted_for_others() -> None:
    async def main(world: World) -> None:
        world.engine.wind_down()
        context = await world.context(two_slow_steps(world, 1))
        started = await world.engine.execute_workflow(context)
        assert started.status == "pending"
        await asyncio.sleep(10)
        assert world.outside.messages() == []
        other = world.another_engine()
        await other.start()
        assert await other.wait(context.execution_id, 20)
        await other.shutdown()

    in_world(main, shutdown_grace_seconds=30.0)


def test_g12_nobody_is_kept_waiting_by_a_process_that_leaves() -> None:
    async def main(world: World) -> None:
        context = await world.context(two_slow_steps(world, 40))
        await world.engine.execute_workflow(context)
        waiting = asyncio.create_task(world.engine.wait(context.execution_id, 1_000))
        await asyncio.sleep(1)
        world.engine.wind_down()
        before = asyncio.get_running_loop().time()
        assert not await waiting
        assert asyncio.get_running_loop().time() - before < 1  # of virtual time

    in_world(main, shutdown_grace_seconds=GRACE_SECONDS)


def test_g12_a_second_word_ends_the_grace_time() -> None:
    async def main(world: World) -> None:
        context = await world.context(two_slow_steps(world, 40))
        await world.engine.execute_workflow(context)
        await asyncio.sleep(1)
        leaving = asyncio.create_task(world.engine.shutdown())
        await asyncio.sleep(1)
        assert not leaving.done()
        world.engine.departure.hurry()
        before = asyncio.get_running_loop().time()
        await leaving
        assert asyncio.get_running_loop().time() - before < 10  # of virtual time
        assert await world.store.status(context.execution_id) is ExecutionStatus.PENDING

    in_world(main, shutdown_grace_seconds=1_000.0)


def test_a_process_that_runs_nothing_accepts_for_those_that_do() -> None:
    async def main(world: World) -> None:
        context = await world.context(two_slow_steps(world, 1))
        assert (await world.engine.execute_workflow(context)).status == "pending"
        await asyncio.sleep(10)
        assert world.outside.messages() == []
        assert await world.store.status(context.execution_id) is ExecutionStatus.PENDING

    in_world(main, runs=False)
