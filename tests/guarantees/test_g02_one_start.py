"""G2: one start per Idempotency-Key, whichever processes are asked and whatever became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.guarantees.stage import Stage

EACH = 3
ONE = {"community_id": 1}
COUNT = "SELECT count(*) FROM workflow_executions"

Kind = Callable[[Stage, str], Awaitable[tuple[str, Any]]]
"""Which path to post to, and what."""


async def execution(stage: Stage, workflow_id: str) -> tuple[str, Any]:
    return f"{workflow_id}/execute", ONE


async def batch(stage: Stage, workflow_id: str) -> tuple[str, Any]:
    return f"{workflow_id}/execute/batch", {"items": [ONE, ONE, ONE]}


async def retry(stage: Stage, workflow_id: str) -> tuple[str, Any]:
    process = stage.processes[0]
    ended = await stage.begun(process, workflow_id)
    await stage.ends(process, ended)
    return f"executions/{ended}/retry", {"from": "start"}


@pytest.mark.parametrize(("kind", "starts"), [(execution, 1), (batch, 3), (retry, 1)])
async def test_g02_processes_that_get_a_key_at_the_same_time_start_it_once(
    stage: Stage, kind: Kind, starts: int
) -> None:
    processes = await stage.start_several(2)
    workflow_id = await stage.calls(processes[0], "/quick")
    path, body = await kind(stage, workflow_id)
    before = await stage.value(COUNT)
    async with stage.holding("LOCK TABLE idempotency_keys IN SHARE MODE"):
        asking = [
            asyncio.create_task(stage.post(process, path, body, Idempotency_Key="one"))
            for process in processes * EACH
        ]
        await stage.blocked(len(asking))  # All have found that the key is new.
    answers = await asyncio.gather(*asking)

    assert {answer.status for answer in answers} == {202}
    assert all(answer.data == answers[0].data for answer in answers)
    started = answers[0].data.get("items", [answers[0].data])
    for each in started:
        state = await stage.ends(processes[1], each["execution_id"])
        assert state["status"] == "completed"
    assert await stage.value(COUNT) - before == len(started) == starts
    assert set(stage.peer.keys.values()) == {1}


async def test_g02_a_key_is_known_to_the_others_when_who_answered_is_dead(stage: Stage) -> None:
    first, second = await stage.start_several(2)
    workflow_id = await stage.calls(first, "/quick")
    answer = await stage.execute(first, workflow_id, Idempotency_Key="one")
    await first.kill()

    again = await stage.execute(second, workflow_id, Idempotency_Key="one")
    path = f"{workflow_id}/execute"
    other = {**ONE, "variables": {"x": 1}}
    changed = await stage.post(second, path, other, Idempotency_Key="one")

    assert (again.status, again.data, again.replayed) == (202, answer.data, True)
    assert changed.status == 422
    await stage.ends(second, answer.data["execution_id"])
    assert await stage.value(COUNT) == 1
