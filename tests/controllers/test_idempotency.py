"""One start per Idempotency-Key."""

from __future__ import annotations

import asyncio

import pytest

from models.dal import AsyncDAL
from tests.controllers.conftest import Api
from tests.controllers.test_execution_api import HELLO, waiting

KEY = {"Idempotency-Key": "order-1"}


async def test_g02_a_repeated_request_gets_the_same_answer_and_starts_nothing(
    api: Api, dal: AsyncDAL
) -> None:
    url = f"/workflows/{await api.stored()}/execute"
    first = await api.call("POST", url, HELLO, headers=KEY)
    again = await api.call("POST", url, dict(reversed(HELLO.items())), headers=KEY)
    assert (first.status, again.status) == (202, 202)
    assert again.body == first.body
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert await dal.fetchval("SELECT count(*) FROM workflow_executions") == 1


async def test_g02_requests_at_the_same_time_start_one_execution(api: Api, dal: AsyncDAL) -> None:
    url = f"/workflows/{await api.stored()}/execute?wait=10"
    answers = await asyncio.gather(*(api.call("POST", url, HELLO, headers=KEY) for _ in range(8)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.data["execution_id"] for answer in answers}) == 1
    assert await dal.fetchval("SELECT count(*) FROM workflow_executions") == 1
    assert api.log.getvalue().count("Hello, Ada!") == 1


async def test_g02_a_request_whose_execution_was_never_made_makes_it_under_the_same_id(
    api: Api, dal: AsyncDAL
) -> None:
    url = f"/workflows/{await api.stored(**waiting())}/execute"
    first = await api.call("POST", url, HELLO, headers=KEY)
    await api.call("POST", f"/workflows/executions/{first.data['execution_id']}/cancel")
    await dal.execute("DELETE FROM workflow_executions")
    again = await api.call("POST", url, HELLO, headers=KEY)
    assert again.data == first.data
    assert await dal.fetchval("SELECT count(*) FROM workflow_executions") == 1


async def test_g02_another_body_under_the_same_key_is_refused(api: Api, dal: AsyncDAL) -> None:
    url = f"/workflows/{await api.stored()}/execute"
    await api.call("POST", url, HELLO, headers=KEY)
    answer = await api.call("POST", url, {**HELLO, "variables": {}}, headers=KEY)
    assert (answer.status, answer.code) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await dal.fetchval("SELECT count(*) FROM workflow_executions") == 1


async def test_g02_a_key_older_than_a_day_is_new_again(api: Api, dal: AsyncDAL) -> None:
    url = f"/workflows/{await api.stored()}/execute"
    first = await api.call("POST", url, HELLO, headers=KEY)
    await dal.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    again = await api.call("POST", url, HELLO, headers=KEY)
    assert again.data["execution_id"] != first.data["execution_id"]
    await dal.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    await api.call("POST", url, HELLO, headers={"Idempotency-Key": "other"})
    assert await dal.fetchval("SELECT count(*) FROM idempotency_keys") == 1


async def test_g02_a_refused_request_leaves_its_key_free(api: Api, dal: AsyncDAL) -> None:
    url = f"/workflows/{await api.stored()}/execute"
    wrong = await api.call("POST", url, {**HELLO, "trigger_node_id": "nope"}, headers=KEY)
    assert wrong.status == 400
    assert (await api.call("POST", url, HELLO, headers=KEY)).status == 202


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    url = f"/workflows/{await api.stored()}/execute"
    answer = await api.call("POST", url, HELLO, headers={"Idempotency-Key": key})
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
