"""What one community may keep: workflows, bytes of definitions, bytes of executions."""

from __future__ import annotations

import asyncio
import io
import random
import string
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from app import create_app
from composition import running
from config import Config
from models.api_keys import ApiKeys
from models.dal import AsyncDAL
from services.api_keys import ApiKeyService
from services.clock import SystemClock, new_id
from tests.controllers.conftest import COMMUNITY, Api, greeting

OTHER = COMMUNITY + 1
KEPT = """
SELECT coalesce(sum(pg_column_size(document)), 0)::int FROM (
    SELECT document FROM workflows UNION ALL SELECT document FROM workflow_versions) d
"""

Open = Callable[..., Any]


@pytest.fixture
async def process(database_url: str, tmp_path: Path, dal: AsyncDAL) -> AsyncIterator[Open]:
    """Starts services with quotas on one database, one after the other."""
    keys = ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)
    async with AsyncExitStack() as stack:

        async def opened(**quotas: int) -> Api:
            config = Config(
                database_url=database_url, data_dir=tmp_path, shutdown_grace_seconds=1, **quotas
            )
            log = io.StringIO()
            service = await stack.enter_async_context(running(config, log))
            api = Api(create_app(config, service=service), keys, log)
            api.key = await api.new_key()
            return api

        yield opened


async def create(api: Api, *, publish: bool = False, **changes: Any) -> Any:
    return await api.call("POST", f"/workflows?publish={publish}", greeting(**changes))


def noise(length: int) -> str:
    """A text that does not become shorter by compression."""
    return "".join(random.Random(length).choices(string.ascii_letters + string.digits, k=length))


async def test_a_community_has_so_many_workflows_and_archiving_makes_room(process: Open) -> None:
    api = await process(max_workflows_per_community=2)
    first, second, third = [await create(api) for _ in range(3)]
    assert [first.status, second.status, third.status] == [201, 201, 429]
    assert third.code == "RATE_LIMIT_EXCEEDED"
    assert "as many workflows as it may have" in third.body["message"]
    assert third.body["details"] == {"limit": 2, "used": 2}
    assert int(third.headers["retry-after"]) > 0
    stranger = await api.new_key(community=OTHER)
    elsewhere = greeting(community_id=OTHER)
    assert (await api.call("POST", "/workflows", elsewhere, key=stranger)).status == 201

    gone = f"/workflows/{first.data['workflow_id']}"
    assert (await api.call("DELETE", gone)).status == 200
    assert (await create(api)).status == 201
    back = await api.call("POST", f"{gone}/publish")
    assert (back.status, back.code) == (429, "RATE_LIMIT_EXCEEDED")
    assert (await api.call("GET", gone)).data["status"] == "archived"


async def test_edits_and_versions_of_what_is_there_need_no_room_for_another(process: Open) -> None:
    api = await process(max_workflows_per_community=1)
    stored = (await create(api)).data["workflow_id"]
    for number in range(3):
        edit = {"description": f"the {number}th"}
        assert (await api.call("PUT", f"/workflows/{stored}", edit)).status == 200
        assert (await api.call("POST", f"/workflows/{stored}/publish")).status == 200


async def test_definitions_take_so_much_room_with_their_versions_and_archived_or_not(
    process: Open, dal: AsyncDAL
) -> None:
    most = 4096
    api = await process(max_definition_bytes_per_community=most)
    stored = (await create(api, publish=True)).data["workflow_id"]
    path = f"/workflows/{stored}"
    answers = []
    while not answers or answers[-1].status == 200:
        answers.append(await api.call("POST", f"{path}/publish"))
    assert len(answers) > 3
    assert (answers[-1].status, answers[-1].code) == (413, "PAYLOAD_TOO_LARGE")
    assert "more room than they may" in answers[-1].body["message"]
    kept = await dal.fetchval(KEPT)
    assert answers[-1].body["details"] == {"limit": most, "used": kept}
    assert kept <= most

    assert (await create(api)).status == 413
    longer = await api.call("PUT", path, {"description": noise(1000)})
    assert (longer.status, longer.code) == (413, "PAYLOAD_TOO_LARGE")
    assert (await api.call("DELETE", path)).status == 200
    assert (await create(api)).status == 413, "what is archived is still kept"
    assert await dal.fetchval(KEPT) == kept


async def test_what_is_too_much_already_may_become_less(process: Open, dal: AsyncDAL) -> None:
    """The operator has lowered the quotas below what was there."""
    free = await process()
    rows = [(await create(free, description=noise(1500))).data for _ in range(2)]
    path = f"/workflows/{rows[0]['workflow_id']}"
    api = await process(max_workflows_per_community=1, max_definition_bytes_per_community=1024)
    before = await dal.fetchval(KEPT)
    assert (await api.call("PUT", path, {"description": "short"})).status == 200
    assert await dal.fetchval(KEPT) < before
    assert (await api.call("PUT", path, {"description": noise(200)})).status == 413
    assert (await api.call("DELETE", path)).status == 200


async def test_a_first_start_loads_as_many_examples_as_there_is_room_for(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path, shutdown_grace_seconds=1, max_workflows_per_community=2)
    async with running(config, io.StringIO()) as service:
        assert len(service.examples) == 2


async def test_several_at_once_in_two_processes_cannot_pass_a_quota_together(
    process: Open, dal: AsyncDAL
) -> None:
    quotas = {"max_workflows_per_community": 5}
    one, other = await process(**quotas), await process(**quotas)
    found = await asyncio.gather(*(create(api) for _ in range(10) for api in (one, other)))
    assert sorted(answer.status for answer in found) == [201] * 5 + [429] * 15
    assert await dal.fetchval("SELECT count(*) FROM workflows") == 5


async def test_several_versions_at_once_cannot_pass_a_quota_together(
    process: Open, dal: AsyncDAL
) -> None:
    most = 8192
    quotas = {"max_definition_bytes_per_community": most}
    one, other = await process(**quotas), await process(**quotas)
    paths = [f"/workflows/{(await create(one)).data['workflow_id']}/publish" for _ in range(4)]
    found = await asyncio.gather(
        *(api.call("POST", path) for _ in range(5) for path in paths for api in (one, other))
    )
    assert {answer.status for answer in found} == {200, 413}
    assert most - 1024 < await dal.fetchval(KEPT) <= most


async def test_a_community_whose_executions_take_too_much_starts_no_more_until_some_are_gone(
    process: Open, dal: AsyncDAL
) -> None:
    most = 20_000
    one, other = await process(max_history_bytes_per_community=most), await process()
    workflow_id = await one.stored()
    run = f"/workflows/{workflow_id}/execute"
    body = {"community_id": COMMUNITY, "variables": {"username": "Ada", "note": noise(15_000)}}
    first = await other.call("POST", f"{run}?wait=10", body)
    assert (first.status, first.data["status"]) == (200, "completed")
    kept = await dal.fetchval("SELECT sum(bytes)::int FROM community_history")
    assert most < kept < 3 * most

    item = {"community_id": COMMUNITY, "variables": {"username": "Ada"}}
    retry = f"/workflows/executions/{first.data['execution_id']}/retry"
    for path, wanted in (
        (run, item),
        (
            f"/workflows/{workflow_id}/execute/batch",
            {"items": [item]},
        ),
        (retry, {"from": "start"}),
    ):
        refused = await one.call("POST", path, wanted, headers={"Idempotency-Key": path})
        assert (refused.status, refused.code) == (413, "PAYLOAD_TOO_LARGE"), path
        assert "take as much room as they may" in refused.body["message"]
        assert refused.body["details"] == {"limit": most, "used": kept}
    assert await dal.fetchval("SELECT count(*) FROM workflow_executions") == 1
    assert (await one.call("POST", f"/workflows/{workflow_id}/test", item)).status == 200

    stranger = await one.new_key(community=OTHER)
    elsewhere = await one.call(
        "POST", "/workflows?publish=true", greeting(community_id=OTHER), key=stranger
    )
    path = f"/workflows/{elsewhere.data['workflow_id']}/execute"
    assert (
        await one.call("POST", path, item | {"community_id": OTHER}, key=stranger)
    ).status == 202

    await dal.execute("DELETE FROM workflow_executions WHERE workflow_id = $1", workflow_id)
    await asyncio.sleep(1.5)  # the answer of a second ago still counts
    again = await one.call("POST", run, item, headers={"Idempotency-Key": run})
    assert again.status == 202
