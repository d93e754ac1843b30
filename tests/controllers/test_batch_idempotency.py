"""One start per Idempotency-Key, for whole batches (G2)."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from models.dal import AsyncDAL
from tests.controllers.conftest import COMMUNITY, Api
from tests.controllers.test_execution_api import HELLO

KEY = {"Idempotency-Key": "batch-1"}
ITEMS: list[Any] = [
    HELLO,
    {**HELLO, "trigger_node_id": "nope"},
    {"community_id": COMMUNITY, "variables": {"username": "Linus"}},
    {"community_id": COMMUNITY + 1},
    "no object",
]
COUNT = "SELECT count(*) FROM workflow_executions"


async def batch(api: Api, workflow_id: str, items: Any = ITEMS, **options: Any) -> Any:
    url = f"/workflows/{workflow_id}/execute/batch"
    return await api.call("POST", url, {"items": items}, headers=KEY, **options)


async def test_g02_a_repeated_batch_gets_the_same_answer_and_starts_nothing(
    api: Api, dal: AsyncDAL
) -> None:
    workflow_id = await api.stored()
    first, again = [await batch(api, workflow_id) for _ in range(2)]
    assert (first.status, again.status) == (202, 202)
    assert first.body == again.body
    assert [item["execution_id"] is not None for item in first.data["items"]] == [
        *(True, False, True, False, False)
    ]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert await dal.fetchval(COUNT) == 2


async def test_g02_its_executions_have_ids_of_version_7_and_run(api: Api) -> None:
    answer = await batch(api, await api.stored(), [HELLO] * 3)
    ids = [item["execution_id"] for item in answer.data["items"]]
    assert len({*ids}) == 3
    assert {UUID(each).version for each in ids} == {7}
    for each in ids:
        cancelled = await api.call("POST", f"/workflows/executions/{each}/cancel")
        assert cancelled.status in (200, 409)


async def test_g02_batches_at_the_same_time_start_their_items_once(api: Api, dal: AsyncDAL) -> None:
    workflow_id = await api.stored()
    answers = await asyncio.gather(*(batch(api, workflow_id) for _ in range(6)))
    assert {answer.status for answer in answers} == {202}
    assert all(answer.body == answers[0].body for answer in answers)
    assert await dal.fetchval(COUNT) == 2


async def test_g02_a_batch_whose_executions_were_never_made_makes_them_under_the_same_ids(
    api: Api, dal: AsyncDAL
) -> None:
    workflow_id = await api.stored()
    first = await batch(api, workflow_id)
    await dal.execute("DELETE FROM workflow_executions")
    again = await batch(api, workflow_id)
    assert again.body == first.body
    assert await dal.fetchval(COUNT) == 2


async def test_g02_the_answer_stays_the_first_one_when_the_workflow_changes(
    api: Api, dal: AsyncDAL
) -> None:
    workflow_id = await api.stored()
    first = await batch(api, workflow_id)
    await api.call("DELETE", f"/workflows/{workflow_id}")
    again = await batch(api, workflow_id)
    assert (again.status, again.body) == (202, first.body)


async def test_g02_what_is_answered_is_started_even_if_the_workflow_changed_before_it_was(
    api: Api, dal: AsyncDAL
) -> None:
    workflow_id = await api.stored()
    first = await batch(api, workflow_id)
    await dal.execute("DELETE FROM workflow_executions")
    shown = (await api.call("GET", f"/workflows/{workflow_id}")).data
    another = {"node_type": "trigger_command", "config": {"command": "!other"}}
    nodes = {**shown["nodes"], "nope": another}
    changed = await api.call(
        "PUT", f"/workflows/{workflow_id}", {"nodes": nodes, "version": shown["version"]}
    )
    assert changed.status == 200, changed.body
    await api.call("POST", f"/workflows/{workflow_id}/publish")
    again = await batch(api, workflow_id)
    started = [i["execution_id"] for i in again.data["items"] if i["execution_id"]]
    assert again.data["items"] != first.data["items"]
    rows = await dal.fetch("SELECT execution_id FROM workflow_executions")
    assert {row["execution_id"] for row in rows} == {*started}
    assert (await batch(api, workflow_id)).body == again.body


async def test_g02_another_batch_or_route_under_the_same_key_is_refused(
    api: Api, dal: AsyncDAL
) -> None:
    workflow_id = await api.stored()
    await batch(api, workflow_id)
    other = await batch(api, workflow_id, [HELLO])
    single = await api.call("POST", f"/workflows/{workflow_id}/execute", HELLO, headers=KEY)
    for answer in (other, single):
        assert (answer.status, answer.code) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await dal.fetchval(COUNT) == 2


async def test_g02_a_batch_of_which_nothing_is_accepted_is_answered_the_same_way(api: Api) -> None:
    workflow_id = await api.stored()
    first, again = [await batch(api, workflow_id, ["no object"]) for _ in range(2)]
    assert first.data["accepted"] == 0
    assert again.body == first.body
