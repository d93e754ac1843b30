"""Families under `max_parallel_executions`: an execution and what it waits for of its own workflow
have one place, so nobody waits for a place that is held by who waits for him."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.context import ExecutionContext, ExecutionStatus, JsonObject
from tests.engine.test_subworkflows import CHILD, GRANDCHILD, calling
from tests.engine.world import WORKFLOW_ID, World, after, document
from tests.virtual_time import simulate

COMPLETED, PENDING = ExecutionStatus.COMPLETED, ExecutionStatus.PENDING
SAY: JsonObject = {"node_type": "action_chat_message", "message": "hello"}


def going_down(to: str = WORKFLOW_ID, most: int | None = None, **fields: Any) -> JsonObject:
    """Calls another one with `n - 1` until `n` is 0, and then says hello."""
    nodes = {
        "if": {"node_type": "condition_if", "condition": "n > 0"},
        "sub": calling(workflow_id=to, variables={"n": "{{ n - 1 }}"}, **fields),
        "say": SAY,
    }
    edges = ("start -> if", "if.true -> sub", "if.false -> say")
    return document(nodes, *edges, max_parallel_executions=most)


async def several(world: World, raw: JsonObject, count: int, depth: int) -> list[ExecutionContext]:
    """So many executions, started at once."""
    await world.engine.start()
    contexts = [await world.context(raw, variables={"n": depth}) for _ in range(count)]
    for context in contexts:
        await world.engine.execute_workflow(context)
    return contexts


async def statuses(world: World, contexts: list[ExecutionContext]) -> list[ExecutionStatus | None]:
    return [await world.store.status(context.execution_id) for context in contexts]


@pytest.mark.parametrize("most", [1, 2])
def test_as_many_families_as_there_are_places_come_to_their_end(most: int) -> None:
    async def scenario() -> tuple[list[ExecutionStatus | None], int]:
        world = World()
        contexts = await several(world, going_down(most=most), most, depth=3)
        await asyncio.sleep(30)
        return await statuses(world, contexts), len(world.outside.messages())

    assert simulate(scenario()) == ([COMPLETED] * most, most)


def test_a_workflow_that_calls_itself_through_another_one_comes_to_its_end() -> None:
    async def scenario() -> list[ExecutionStatus | None]:
        world = World()
        world.publish(going_down(to=GRANDCHILD, most=1), CHILD)
        world.publish(going_down(to=WORKFLOW_ID), GRANDCHILD)
        contexts = await several(world, going_down(to=CHILD, most=2), 2, depth=7)
        await asyncio.sleep(60)
        return await statuses(world, contexts)

    assert simulate(scenario()) == [COMPLETED, COMPLETED]


def test_a_family_takes_one_place_and_not_none() -> None:
    async def scenario() -> tuple[list[ExecutionStatus | None], list[ExecutionStatus | None]]:
        world = World()
        world.outside.answers["hello"] = after(20)
        contexts = await several(world, going_down(most=2), 3, depth=2)
        await asyncio.sleep(10)
        during = await statuses(world, contexts)
        await asyncio.sleep(100)
        return during, await statuses(world, contexts)

    during, at_last = simulate(scenario())
    assert during == [ExecutionStatus.WAITING, ExecutionStatus.WAITING, PENDING]
    assert at_last == [COMPLETED] * 3


def test_a_child_of_another_workflow_waits_for_a_place_of_its_own() -> None:
    async def scenario() -> int:
        world = World()
        world.outside.answers["hello"] = after(20)
        world.publish(document({"say": SAY}, "start -> say", max_parallel_executions=2), CHILD)
        await several(world, document({"sub": calling()}, "start -> sub"), 5, depth=0)
        await asyncio.sleep(100)
        return world.outside.most_running

    assert simulate(scenario()) == 2


def test_a_child_that_nobody_waits_for_waits_for_a_place_of_its_own() -> None:
    async def scenario() -> tuple[list[bool], int]:
        world = World()
        raw = going_down(most=1, wait=False)
        await several(world, raw, 1, depth=2)
        await asyncio.sleep(30)
        limited = [row.limited for row in world.store._rows.values()]
        return limited, len(world.outside.messages())

    assert simulate(scenario()) == ([True, True, True], 1)


def test_a_family_goes_on_after_its_worker_has_died() -> None:
    async def scenario() -> list[ExecutionStatus | None]:
        world = World()
        world.outside.answers["hello"] = after(5)
        contexts = await several(world, going_down(most=2), 2, depth=2)
        await asyncio.sleep(1)
        world.store.kill(world.store.workers()[0])
        await asyncio.sleep(60)
        return await statuses(world, contexts)

    assert simulate(scenario()) == [COMPLETED, COMPLETED]
