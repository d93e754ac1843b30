"""G4: an effect that a crash cuts off is repeated with its key, or not at all where that was asked
for."""

from __future__ import annotations

import asyncio

from tests.guarantees.stage import Stage


async def test_g04_an_effect_that_was_cut_off_is_repeated_by_another_with_its_key(
    stage: Stage,
) -> None:
    first, second = await stage.start_several(2)
    workflow_id = await stage.calls(first, "/held", "/quick")
    execution_id = await stage.begun(first, workflow_id)
    await stage.peer.called("/held")
    assert await stage.holder(execution_id) is first
    await first.kill()

    cut_off, repeated = await stage.peer.called("/held", 2)
    assert await stage.holder(execution_id) is second
    repeated.freed.set()
    assert (await stage.ends(second, execution_id))["status"] == "completed"
    assert repeated.key == cut_off.key
    assert stage.peer.keys == {f"{execution_id}:n0": 2, f"{execution_id}:n1": 1}


async def test_g04_an_at_most_once_effect_that_was_cut_off_is_not_repeated(stage: Stage) -> None:
    first, second = await stage.start_several(2)
    workflow_id = await stage.calls(first, "/held", effect="at_most_once")
    execution_id = await stage.begun(first, workflow_id)
    await stage.peer.called("/held")
    await first.kill()

    state = await stage.ends(second, execution_id)
    assert (state["status"], state["error_code"]) == ("failed", "OUTCOME_UNKNOWN")
    assert stage.peer.keys == {f"{execution_id}:n0": 1}


async def test_g04_an_at_most_once_effect_starts_once_its_intent_is_committed(
    stage: Stage,
) -> None:
    process = await stage.start()
    workflow_id = await stage.calls(process, "/quick", effect="at_most_once")
    async with stage.holding("LOCK TABLE workflow_steps IN SHARE MODE"):
        asking = asyncio.create_task(stage.execute(process, workflow_id))
        await stage.blocked()
        await stage.heard_out(process)
        called_before = list(stage.peer.calls)
    await stage.peer.called("/quick")
    await asking
    assert called_before == []
