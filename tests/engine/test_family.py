"""Children, error workflows and letters in the engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.context import JsonObject
from engine.records import Batch
from tests.engine.test_subworkflows import CHILD, calling, parent, speaking
from tests.engine.world import WORKFLOW_ID, World, document
from tests.virtual_time import simulate

ERRORS = "0190a000-0000-7000-8000-00000000000e"


def test_an_error_workflow_that_cannot_be_compiled_harms_nobody_else() -> None:
    async def scenario() -> tuple[str, list[tuple[str, str, JsonObject]]]:
        world = World()
        version = world.publish(speaking(), ERRORS)
        world.store.definitions[ERRORS, version] = {"name": "broken", "nodes": None}
        raw = document(
            {"t": {"node_type": "data_transform", "transformations": {"x": "1 / 0"}}},
            "start -> t",
            error_workflow_id=ERRORS,
        )
        register = world.store.register
        sessions = 0

        async def counted(*given: Any) -> None:
            nonlocal sessions
            sessions += 1
            if sessions > 20:
                await asyncio.Event().wait()  # else time would never pass again
            await register(*given)

        world.store.register = counted  # type: ignore[method-assign]
        await world.engine.start()
        await world.engine.execute_workflow(await world.context(raw))
        await asyncio.sleep(60)
        return "", world.log.lines

    _, lines = simulate(scenario())
    lost = [line for line in lines if line[0] in ("claims", "lease")]
    assert lost == []


def test_a_child_that_is_late_is_cancelled_only_once_that_is_recorded() -> None:
    """Output commit: a parent taken over before its TIMEOUT was durable must not find its child
    cancelled and take that for its end."""
    slow = document({"nap": {"node_type": "action_delay", "delay_seconds": 900}}, "start -> nap")

    async def scenario() -> list[str]:
        world = World()
        world.publish(slow, CHILD)
        order: list[str] = []
        flush, cancel = world.store.flush, world.store.request_cancel

        async def noted(worker_id: str, batch: Batch) -> None:
            late = [r for r in batch.steps if r.error_type == "TIMEOUT"]
            if late:
                await asyncio.sleep(1)
            await flush(worker_id, batch)
            if late:
                order.append("recorded")

        async def cancelled(execution_id: str) -> Any:
            order.append("cancelled")
            return await cancel(execution_id)

        world.store.flush = noted  # type: ignore[method-assign]
        world.store.request_cancel = cancelled  # type: ignore[method-assign]
        raw = document(
            {
                "sub": calling(timeout_seconds=30, continue_on_error=True),
                "nap": {"node_type": "action_delay", "delay_seconds": 60},
            },
            "start -> sub",
            "sub -> nap",
        )
        await world.run(raw)
        return order

    order = simulate(scenario())
    assert order[0] == "recorded", order


def test_children_do_not_pass_the_limit_of_waiting_executions() -> None:
    async def scenario() -> int:
        world = World(max_pending_executions=20, max_concurrent_executions=2)
        nap = document({"nap": {"node_type": "action_delay", "delay_seconds": 0.9}}, "start -> nap")
        world.publish(nap, CHILD)
        loop = document(
            {
                "each": {"node_type": "loop_foreach", "items": "{{ range(100) }}"},
                "sub": calling(wait=False),
            },
            "start -> each",
            "each.loop -> sub",
        )
        await world.engine.start()
        await world.engine.execute_workflow(await world.context(loop))
        await asyncio.sleep(0.5)
        return await world.store.pending(100_000)

    assert simulate(scenario()) <= 20


def test_an_abandoned_child_is_cancelled_although_the_process_stopped_before() -> None:
    """A child whose step timed out must not run on for as long as its parent lives."""
    slow = document(
        {
            "nap": {"node_type": "action_delay", "delay_seconds": 3600},
            "say": {"node_type": "action_chat_message", "message": "hello"},
        },
        "start -> nap",
        "nap -> say",
        max_execution_time_seconds=86400,
    )

    async def scenario() -> list[str]:
        world = World()
        world.publish(slow, CHILD)
        raw = document(
            {
                "sub": calling(timeout_seconds=30, continue_on_error=True),
                "nap": {"node_type": "action_delay", "delay_seconds": 7200},
            },
            "start -> sub",
            "sub -> nap",
            max_execution_time_seconds=86400,
        )
        context = await world.context(raw)
        await world.engine.start()
        first = world.engine._session
        assert first is not None

        async def never(execution_id: str) -> Any:
            await asyncio.Event().wait()  # the process dies before it gets to it

        keep = world.store.request_cancel
        world.store.request_cancel = never  # type: ignore[method-assign]
        await world.engine.execute_workflow(context)
        await asyncio.sleep(40)
        await world.engine.shutdown()
        world.store.request_cancel = keep  # type: ignore[method-assign]
        second = world.another_engine()
        await second.start()
        assert await second.wait(context.execution_id, 40_000)
        return world.outside.messages()

    assert simulate(scenario()) == []


def test_an_error_workflow_is_never_answered_by_itself() -> None:
    """The error workflow sends a child off that fails and has the same error workflow."""

    async def scenario() -> int:
        world = World()
        failing_child = document(
            {"t": {"node_type": "data_transform", "transformations": {"x": "1 / 0"}}},
            "start -> t",
            error_workflow_id=ERRORS,
        )
        world.publish(failing_child, CHILD)
        world.publish(parent(wait=False), ERRORS)
        world.publish(failing_child, WORKFLOW_ID)
        await world.run(failing_child)
        await asyncio.sleep(300)
        return sum(1 for r in world.store._rows.values() if r.context.workflow_id == ERRORS)

    assert simulate(scenario()) == 1


def test_a_flood_of_letters_is_not_read_once_per_letter() -> None:
    async def scenario() -> int:
        world = World()
        raw = document(
            {
                "d": {"node_type": "action_chat_message", "message": "slow"},
                "w": {"node_type": "flow_wait", "signal": "go"},
            },
            "start -> d",
            "d -> w",
        )

        async def answered() -> None:
            await asyncio.sleep(5)

        world.outside.answers["slow"] = answered
        await world.engine.start()
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        await asyncio.sleep(0.1)
        reads = 0
        letters = world.store.letters

        async def counted(execution_id: str) -> Any:
            nonlocal reads
            reads += 1
            return await letters(execution_id)

        world.store.letters = counted  # type: ignore[method-assign]
        await asyncio.gather(
            *(
                world.engine.signal_execution(
                    context.execution_id, "go", n, sent_by=1, letter_id=world.new_id()
                )
                for n in range(200)
            )
        )
        await asyncio.sleep(1)
        return reads

    assert simulate(scenario()) <= 10


def test_there_is_a_bound_on_the_letters_of_an_execution() -> None:
    async def scenario() -> int:
        world = World()
        raw = document(
            {
                "w": {"node_type": "flow_wait", "signal": "go", "schema": {"const": 1}},
                "v": {"node_type": "flow_wait", "signal": "go"},
            },
            "start -> w",
            "w -> v",
        )
        await world.engine.start()
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        await asyncio.sleep(0.1)
        for _ in range(1200):
            await world.engine.signal_execution(
                context.execution_id, "go", "x", sent_by=1, letter_id=world.new_id()
            )
        return len(await world.store.letters(context.execution_id))

    with pytest.raises(Exception, match="signals"):
        simulate(scenario())
