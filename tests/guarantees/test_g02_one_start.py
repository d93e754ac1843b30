"""G2: one start per Idempotency-Key, whichever processes are asked and whatever became of them."""

from __future__ import annotations

import asyncio

from tests.guarantees.stage import Stage

EACH = 4


async def test_g02_processes_that_get_a_key_at_the_same_time_start_one_execution(
    stage: Stage,
) -> None:
    processes = await stage.start_several(2)
    workflow_id = await stage.calls(processes[0], "/quick")
    async with stage.holding("LOCK TABLE idempotency_keys IN SHARE MODE"):
        asking = [
            asyncio.create_task(stage.execute(process, workflow_id, Idempotency_Key="one"))
            for process in processes * EACH
        ]
        await stage.blocked(len(asking))  # All have found that the key is new.
    answers = await asyncio.gather(*asking)

    assert {answer.status for answer in answers} == {202}
    assert all(answer.data == answers[0].data for answer in answers)
    execution_id = answers[0].data["execution_id"]
    assert (await stage.ends(processes[1], execution_id))["status"] == "completed"
    assert await stage.value("SELECT count(*) FROM workflow_executions") == 1
    assert list(stage.peer.keys.values()) == [1]


async def test_g02_a_key_is_known_to_the_others_when_who_answered_is_dead(stage: Stage) -> None:
    first, second = await stage.start_several(2)
    workflow_id = await stage.calls(first, "/quick")
    answer = await stage.execute(first, workflow_id, Idempotency_Key="one")
    await first.kill()

    again = await stage.execute(second, workflow_id, Idempotency_Key="one")
    path = f"{workflow_id}/execute"
    other = {"community_id": 1, "variables": {"x": 1}}
    changed = await stage.post(second, path, other, Idempotency_Key="one")

    assert (again.status, again.data, again.replayed) == (202, answer.data, True)
    assert changed.status == 422
    await stage.ends(second, answer.data["execution_id"])
    assert await stage.value("SELECT count(*) FROM workflow_executions") == 1
