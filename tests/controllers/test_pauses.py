"""Pausing and resuming by HTTP."""

from __future__ import annotations

from typing import Any

from models.dal import AsyncDAL
from tests.controllers.conftest import Api
from tests.controllers.test_execution_api import HELLO, waiting


async def parked(api: Api) -> str:
    """The id of an execution that sleeps for an hour."""
    url = f"/workflows/{await api.stored(**waiting())}/execute"
    answer = await api.call("POST", url, HELLO)
    return str(answer.data["execution_id"])


async def ask(api: Api, execution_id: str, what: str, **options: Any) -> Any:
    return await api.call("POST", f"/workflows/executions/{execution_id}/{what}", **options)


async def test_a_pause_and_a_resume_are_202_with_the_status(api: Api, dal: AsyncDAL) -> None:
    execution_id = await parked(api)
    first, again = [await ask(api, execution_id, "pause") for _ in range(2)]
    assert (first.status, again.status) == (202, 202)
    assert again.data == {"execution_id": execution_id, "status": "paused"}
    shown = await api.call("GET", f"/workflows/executions/{execution_id}")
    assert shown.data["status"] == "paused"
    resumed = await ask(api, execution_id, "resume")
    assert resumed.status == 202
    assert resumed.data["status"] in ("waiting", "running")
    assert await dal.fetchval("SELECT pause_requested_at FROM workflow_executions") is None


async def test_what_has_ended_is_neither_paused_nor_resumed(api: Api) -> None:
    execution_id = await parked(api)
    await ask(api, execution_id, "cancel")
    for what in ("pause", "resume"):
        answer = await ask(api, execution_id, what)
        assert (answer.status, answer.code) == (409, "EXECUTION_NOT_RUNNING")


async def test_only_who_may_cancel_may_pause_and_resume(api: Api) -> None:
    execution_id = await parked(api)
    stranger, outsider = await api.new_key(user=9), await api.new_key(user=9, community=999)
    for what in ("pause", "resume"):
        assert (await ask(api, execution_id, what, key=stranger)).status == 403
        answer = await ask(api, execution_id, what, key=outsider)
        assert (answer.status, answer.code) == (404, "EXECUTION_NOT_FOUND")
    reader = await api.new_key(scopes=("executions:read",))
    assert (await ask(api, execution_id, "pause", key=reader)).status == 403


async def test_a_pause_takes_no_query(api: Api) -> None:
    answer = await ask(api, await parked(api), "pause?wait=1")
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
