"""One community's queue is not another's, and limits hold for each (G13)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.context import ExecutionContext, ExecutionStatus, JsonObject
from engine.errors import CommunityFull, CommunityOverloaded, ExecutionNotRunning, Overloaded
from simulation.virtual_time import simulate
from tests.engine.world import World, after, document

RUNNING, PENDING = ExecutionStatus.RUNNING, ExecutionStatus.PENDING


def message(text: str) -> JsonObject:
    return {"node_type": "action_chat_message", "config": {"message": text}}


SLOW = message("slow")


def in_world(main: Callable[[World], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        world = World(**settings)
        world.outside.answers["slow"] = after(10)
        await world.engine.start()
        await main(world)
        await world.engine.shutdown()

    simulate(run())


async def contexts(world: World, community: int, count: int) -> list[ExecutionContext]:
    first = await world.context(document({"m": SLOW}, "start -> m"))
    return [
        replace(first, execution_id=world.new_id(), community_id=community) for _ in range(count)
    ]


async def statuses(world: World, those: list[ExecutionContext]) -> list[ExecutionStatus | None]:
    return [await world.store.status(context.execution_id) for context in those]


def test_g13_another_community_starts_at_once_beside_a_full_queue() -> None:
    async def main(world: World) -> None:
        many = await contexts(world, 1, 500)
        await world.engine.execute_many(many)
        await world.turn()
        assert (await statuses(world, many)).count(RUNNING) == 9
        [one] = await contexts(world, 2, 1)
        await world.engine.execute_workflow(one)
        await world.turn()
        assert await statuses(world, [one]) == [RUNNING]

    in_world(main, max_concurrent_executions=10)


def test_g13_two_queues_share_what_becomes_free() -> None:
    async def main(world: World) -> None:
        many, few = await contexts(world, 1, 100), await contexts(world, 2, 10)
        await world.engine.execute_many(many)
        await world.engine.execute_many(few)
        await asyncio.sleep(30)
        begun = [s for s in await statuses(world, few) if s is not PENDING]
        assert len(begun) == len(few), "its share of three rounds of ten"

    in_world(main, max_concurrent_executions=10)


def test_g13_a_full_room_of_one_community_is_used_up_to_the_share_and_to_the_end() -> None:
    async def main(world: World) -> None:
        many = await contexts(world, 1, 40)
        await world.engine.execute_many(many)
        for context in many:
            assert await world.engine.wait(context.execution_id, 200)
        assert world.outside.most_running == 9

    in_world(main, max_concurrent_executions=10)


def test_a_community_runs_no_more_at_once_than_it_may_in_all_processes_together() -> None:
    async def main(world: World) -> None:
        other = world.another_engine()
        await other.start()
        mine, others = await contexts(world, 1, 12), await contexts(world, 2, 1)
        for context in mine:
            await world.engine.execute_workflow(context)
        await other.execute_many(others)
        await asyncio.sleep(2)
        assert (await statuses(world, mine)).count(RUNNING) == 3
        assert await statuses(world, others) == [RUNNING]
        for context in mine:
            assert await other.wait(context.execution_id, 200)
        assert world.outside.most_running == 4
        await other.shutdown()

    in_world(main, max_concurrent_per_community=3)


def test_g11_a_community_with_too_many_waiting_is_refused_and_no_other() -> None:
    async def main(world: World) -> None:
        for _ in range(2):
            await world.engine.execute_many(await contexts(world, 1, 12))
            await asyncio.sleep(2)
        with pytest.raises(CommunityOverloaded):
            await world.engine.execute_many(await contexts(world, 1, 12))
        assert await world.store.pending(100, 1) == 15
        await world.engine.execute_many(await contexts(world, 2, 15))

    in_world(main, max_concurrent_executions=10, max_pending_per_community=15)


def test_g11_beyond_the_limit_of_all_everybody_is_refused() -> None:
    async def main(world: World) -> None:
        await world.engine.execute_many(await contexts(world, 1, 20))
        with pytest.raises(Overloaded) as refused:
            await world.engine.execute_many(await contexts(world, 2, 20))
        assert not isinstance(refused.value, CommunityOverloaded)

    in_world(main, max_concurrent_executions=10, max_pending_executions=20)


def test_g11_of_many_that_come_at_once_as_many_are_let_in_as_there_is_room_for() -> None:
    """They all find the count too old, ask together, and must not each be let in on the answer."""

    async def main(world: World) -> None:
        await world.engine.execute_many(await contexts(world, 1, 10))
        await asyncio.sleep(2)
        asked, pending = 0, world.store.pending

        async def slowly(most: int, community_id: int | None = None) -> int:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.1)
            return await pending(most, community_id)

        world.store.pending = slowly  # type: ignore[method-assign]  # it counts the questions
        those = await contexts(world, 1, 30)
        answers = await asyncio.gather(
            *(world.engine.execute_workflow(each) for each in those), return_exceptions=True
        )
        refused = [each for each in answers if isinstance(each, CommunityOverloaded)]
        assert await pending(100, 1) == 15
        assert len(refused) == 30 - (15 - 1)
        assert asked == 2

    in_world(main, max_concurrent_executions=10, max_pending_per_community=15)


def test_what_finds_no_room_here_is_told_to_the_others() -> None:
    async def main(world: World) -> None:
        idle = world.another_engine()
        await idle.start()
        await asyncio.sleep(0.5)
        heard: list[str] = []
        await world.store.listen(heard.append)
        many = await contexts(world, 1, 4)
        await world.engine.execute_many(many)
        await world.engine.execute_many(await contexts(world, 1, 4))
        assert heard.count("pending") == 1, "once for all of them"
        await world.turn()
        assert (await statuses(world, many)).count(RUNNING) == 4
        await idle.shutdown()

    in_world(main, max_concurrent_executions=2)


def test_a_process_that_runs_nothing_calls_the_others_each_time() -> None:
    async def main(world: World) -> None:
        world.settings = replace(world.settings, runs=False)
        door = world.another_engine()
        await door.start()
        await asyncio.sleep(0.5)
        two = await contexts(world, 1, 2)
        for context in two:
            await door.execute_workflow(context)
            await world.turn()
        assert await statuses(world, two) == [RUNNING, RUNNING]
        await door.shutdown()

    in_world(main)


def test_a_community_whose_executions_keep_too_much_starts_no_more() -> None:
    """What it has started goes on, children included, and others start as before."""

    async def main(world: World) -> None:
        child = "0190a000-0000-7000-8000-000000000002"
        world.publish(document({"m": message("child")}, "start -> m"), child)
        raw = document(
            {
                "wait": {"node_type": "action_delay", "config": {"delay_seconds": 30}},
                "sub": {"node_type": "flow_subworkflow", "config": {"workflow_id": child}},
            },
            "start -> wait",
            "wait -> sub",
        )
        filling = await world.context(raw, variables={"text": "x" * 5_000})
        own = filling.community_id
        await world.engine.execute_workflow(filling)
        await asyncio.sleep(10)
        assert await world.store.kept_bytes(own) > 10_000

        with pytest.raises(CommunityFull) as refused:
            await world.engine.execute_workflow(await world.context(raw))
        used = await world.store.kept_bytes(own)
        assert refused.value.details == {"limit": 10_000, "used": used}
        other = replace(await world.context(raw), community_id=own + 1)
        await world.engine.execute_workflow(other)

        for context in (filling, other):
            assert await world.engine.wait(context.execution_id, 200)
            assert await world.store.status(context.execution_id) is ExecutionStatus.COMPLETED
        assert world.outside.messages() == ["child", "child"]
        with pytest.raises(CommunityFull):
            await world.engine.retry_execution(
                filling.execution_id, "start", again_id=world.new_id(), user_id=1, variables={}
            )

    in_world(main, max_history_bytes_per_community=10_000)


def test_a_community_whose_executions_keep_too_much_is_sent_no_more_signals() -> None:
    """Unread ones fill it as well; one that is there already is still known."""

    async def main(world: World) -> None:
        raw = document(
            {"ask": {"node_type": "flow_wait", "config": {"signal": "yes"}}}, "start -> ask"
        )
        asked, other = await world.context(raw), await world.context(raw)
        for context in (asked, other):
            await world.engine.execute_workflow(context)
        await world.engine.pause_execution(asked.execution_id)

        async def send(context: ExecutionContext, letter_id: str, size: int = 3_000) -> bool:
            return await world.engine.signal_execution(
                context.execution_id, "yes", "x" * size, sent_by=1, letter_id=letter_id
            )

        first = world.new_id()
        assert await send(asked, first)
        for _ in range(2):
            assert await send(asked, world.new_id())
        await asyncio.sleep(world.settings.poll_seconds + 0.1)
        assert await send(asked, world.new_id())
        await asyncio.sleep(world.settings.poll_seconds + 0.1)
        for context in (asked, other):
            with pytest.raises(CommunityFull):
                await send(context, world.new_id())
        assert not await send(asked, first)
        assert len(await world.store.letters(asked.execution_id)) == 4

        await world.engine.resume_execution(asked.execution_id)
        assert await world.engine.wait(asked.execution_id, 60)
        with pytest.raises(ExecutionNotRunning):
            await send(asked, world.new_id())

    in_world(main, max_history_bytes_per_community=14_000)


def test_one_asks_how_much_a_community_keeps_and_the_others_hear_the_answer() -> None:
    async def main(world: World) -> None:
        asked = 0
        kept_bytes = world.store.kept_bytes

        async def counted(community_id: int) -> int:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.1)
            return await kept_bytes(community_id)

        world.store.kept_bytes = counted  # type: ignore[method-assign]
        several = await contexts(world, 1, 20)
        await asyncio.gather(*map(world.engine.execute_workflow, several))
        assert asked == 1
        await asyncio.sleep(world.settings.poll_seconds + 0.1)
        await world.engine.execute_many(await contexts(world, 1, 20))
        assert asked == 2

    in_world(main, max_history_bytes_per_community=1_000_000)
