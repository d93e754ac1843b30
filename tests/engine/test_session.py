"""A worker's session: what it claims, what it rejects, and when it parks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.context import ExecutionStatus
from engine.ports import Outlook
from tests.engine.test_engine import in_world
from tests.engine.test_running import message, setting
from tests.engine.world import WORKFLOW_ID, World, after, document

LONG_WAIT = {"node_type": "action_delay", "config": {"delay_seconds": 100}}


def test_a_parked_execution_ends_when_its_time_is_up() -> None:
    async def main(world: World) -> None:
        raw = document({"wait": LONG_WAIT}, "start -> wait", max_execution_time_seconds=50)
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        assert await world.engine.wait(context.execution_id, 60)
        state = await world.engine.get_execution_status(context.execution_id)
        assert state is not None
        assert state["error_code"] == "EXECUTION_TIMEOUT"
        assert state["execution_time_seconds"] == pytest.approx(50, abs=1)

    in_world(main)


def test_a_version_that_cannot_be_run_fails_its_execution_and_no_other() -> None:
    async def main(world: World) -> None:
        raw = document({"wait": LONG_WAIT, "done": setting(x=1)}, "start -> wait", "wait -> done")
        broken, sound = await world.context(raw), await world.context(raw)
        await world.engine.execute_many([broken, sound])
        await asyncio.sleep(5)
        version = (WORKFLOW_ID, broken.workflow_version)
        world.engine.graphs._graphs.pop(version)
        world.store.definitions[version]["nodes"]["wait"]["node_type"] = "of_another_release"
        assert await world.engine.wait(broken.execution_id, 200)
        assert await world.engine.wait(sound.execution_id, 200)
        assert await world.store.status(broken.execution_id) is ExecutionStatus.FAILED
        assert await world.store.status(sound.execution_id) is ExecutionStatus.COMPLETED
        assert world.engine.ready

    in_world(main)


def test_a_full_worker_does_not_ask_for_what_is_due_over_and_over() -> None:
    async def main(world: World) -> None:
        world.outside.answers["slow"] = after(30)
        parked = await world.context(document({"wait": {**LONG_WAIT}}, "start -> wait"))
        await world.engine.execute_workflow(parked)
        await asyncio.sleep(90)
        slow = document({"m": message("slow", timeout_seconds=60)}, "start -> m")
        await world.engine.execute_workflow(await world.context(slow))
        looks: list[float] = []
        look = world.store.look

        async def counted(worker_id: str) -> Outlook:
            looks.append(asyncio.get_running_loop().time())
            return await look(worker_id)

        store: Any = world.store
        store.look = counted
        await asyncio.sleep(25)
        assert len(looks) < 60

    in_world(main, max_concurrent_executions=1)
