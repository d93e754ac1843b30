"""An execution that no worker ever took: whatever was done to it, nothing in it has begun."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from engine.context import JsonObject
from tests.engine.test_pauses import TWO, delay, in_world, message, started
from tests.engine.world import World, document

Asked = Callable[[World, str], Awaitable[object]]


def state_of_a_queued_one(ask: Asked) -> tuple[JsonObject, JsonObject]:
    """The state and the metrics of an execution for which there was no room, once this was asked
    of it."""
    found: list[JsonObject] = []

    async def main(world: World) -> None:
        await started(world, document({"nap": delay(0.9)}, "start -> nap"))
        key = await started(world, TWO)
        await ask(world, key)
        for told in (world.engine.get_execution_status, world.engine.get_execution_metrics):
            seen = await told(key)
            assert seen is not None
            found.append(seen)

    in_world(main, max_concurrent_executions=1)
    return found[0], found[1]


def statuses(state: JsonObject) -> dict[str, str]:
    return {node_id: node["status"] for node_id, node in state["node_states"].items()}


def test_what_was_cancelled_before_it_began_is_skipped_as_a_whole() -> None:
    state, metrics = state_of_a_queued_one(lambda world, key: world.engine.cancel_execution(key))

    assert (state["status"], state["start_time"]) == ("cancelled", None)
    assert statuses(state) == {"start": "skipped", "a": "skipped", "b": "skipped"}
    assert (state["steps"], state["execution_path"]) == ([], [])
    assert (metrics["nodes_executed"], metrics["nodes_skipped"]) == (0, 3)


def test_what_was_paused_before_it_began_is_still_to_come() -> None:
    state, metrics = state_of_a_queued_one(lambda world, key: world.engine.pause_execution(key))

    assert (state["status"], state["start_time"]) == ("paused", None)
    assert statuses(state) == {"start": "pending", "a": "pending", "b": "pending"}
    assert state["steps"] == []
    assert (metrics["nodes_executed"], metrics["nodes_skipped"]) == (0, 0)


def test_what_a_cancellation_cut_off_is_cancelled_and_what_it_never_reached_is_skipped() -> None:
    async def main(world: World) -> None:
        raw = document({"nap": delay(100), "a": message("a")}, "start -> nap", "nap -> a")
        key = await started(world, raw)
        await asyncio.sleep(5)
        await world.engine.cancel_execution(key)
        state = await world.engine.get_execution_status(key)
        assert state is not None
        assert statuses(state) == {"start": "completed", "nap": "cancelled", "a": "skipped"}

    in_world(main)


def test_a_retry_that_was_cancelled_before_it_began_shows_what_it_would_have_reused() -> None:
    async def main(world: World) -> None:
        old = await started(world, TWO)
        await asyncio.sleep(5)
        await started(world, document({"nap": delay(0.9)}, "start -> nap"))
        again = await world.engine.retry_execution(
            old, "b", again_id=world.new_id(), user_id=9, variables={}
        )
        await world.engine.cancel_execution(again.execution_id)
        state = await world.engine.get_execution_status(again.execution_id)
        assert state is not None
        assert statuses(state) == {"start": "completed", "a": "completed", "b": "skipped"}
        assert [step["reused"] for step in state["steps"]] == [True, True]

    in_world(main, max_concurrent_executions=1)
