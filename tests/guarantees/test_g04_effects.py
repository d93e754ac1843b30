"""G4: an effect that a crash cuts off is repeated with its key, or not at all where that was asked
for."""

from __future__ import annotations

import asyncio

from tests.guarantees.stage import Process, Stage
from tests.peer import calling
from tests.processes import published

TOKEN = "tok-4c1f0a9b7d2e"


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


async def test_g04_a_secret_is_sent_again_by_whoever_takes_over(stage: Stage) -> None:
    first, second = await stage.start_several(2, SECRETS_KEY="a5" * 32)
    await keep_secret(stage, first)
    retry = {"max_attempts": 50, "initial_seconds": 1, "backoff": "fixed"}
    url, body = stage.peer.url + "/refused", {"token": "{{ secrets.token }}"}
    node = calling(url, retry=retry, config={"url": url, "body": body})
    workflow_id = await published(stage.http, first.url, node)
    execution_id = await stage.begun(first, workflow_id)
    waits = "SELECT count(*) > 0 FROM workflow_steps WHERE execution_id = $1 AND kind = 'retrying'"
    await stage.comes_true(waits, execution_id)
    holder = await stage.holder(execution_id)
    await holder.kill()
    other = second if holder is first else first
    stage.peer.open = True  # nothing is refused any more

    assert (await stage.ends(other, execution_id))["status"] == "completed"
    assert [call.body for call in stage.peer.calls] == [{"token": TOKEN}] * len(stage.peer.calls)
    assert len(stage.peer.to("/refused")) > 1
    recorded = "SELECT string_agg(s::text, '') FROM workflow_steps s"
    assert "{{secrets.token}}" in await stage.value(recorded)
    assert TOKEN not in await stage.value(recorded)


async def keep_secret(stage: Stage, process: Process) -> None:
    """Sets the secret `token`, which may go to the peer."""
    url = f"{process.url}/api/v1/communities/1/secrets/token"
    body = {"value": TOKEN, "allowed_hosts": ["127.0.0.1"]}
    async with stage.http.put(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
