"""Pages by number that lie behind the end of a list, or where nobody reads on by number."""

from __future__ import annotations

import random

import pytest

from models.dal import AsyncDAL
from models.execution_pages import COUNT_CAP
from tests.controllers.conftest import COMMUNITY, OWNER, Answer, Api
from tests.listed import row, uuid_of, write, write_workflows

FLOW = uuid_of(78)
MANAGED = "/workflow-management/executions?page={}&page_size={}"
OF_WORKFLOW = f"/workflows/{FLOW}/executions?page={{}}&per_page={{}}"


async def history(dal: AsyncDAL, count: int, seed: int = 4) -> None:
    rng = random.Random(seed)
    await write(dal, [row(rng, FLOW, COMMUNITY, OWNER) for _ in range(count)])


async def page(api: Api, number: int, size: int) -> list[Answer]:
    """The same page of both lists."""
    return [
        await api.call("GET", address.format(number, size)) for address in (MANAGED, OF_WORKFLOW)
    ]


def found(answers: list[Answer]) -> tuple[int, int]:
    """How many executions two equal pages have, and their total."""
    managed, of_workflow = answers
    assert (managed.status, of_workflow.status) == (200, 200), (managed.body, of_workflow.body)
    pagination = of_workflow.body["meta"]["pagination"]
    assert len(managed.body["executions"]) == len(of_workflow.data)
    assert managed.body["total"] == pagination["total"]
    assert managed.body["page"] == pagination["page"]
    assert (managed.body["has_more"], managed.body["next_cursor"]) == (False, None)
    assert (pagination["has_next"], pagination["next_cursor"]) == (False, None)
    assert pagination["has_prev"]
    return len(of_workflow.data), pagination["total"]


@pytest.mark.parametrize("number", [3, 501, 9999, 10_001, 10**9, 2**63 - 1])
async def test_a_page_behind_the_end_of_a_list_is_empty(
    api: Api, dal: AsyncDAL, number: int
) -> None:
    await write_workflows(dal, [FLOW], COMMUNITY, OWNER)
    await history(dal, 30)

    assert found(await page(api, number, 20)) == (0, 30)


async def test_a_far_page_of_an_empty_list_says_so(api: Api, dal: AsyncDAL) -> None:
    await write_workflows(dal, [FLOW], COMMUNITY, OWNER)

    assert found(await page(api, 10**9, 100)) == (0, 0)


async def test_a_filter_decides_where_a_list_ends(api: Api, dal: AsyncDAL) -> None:
    await write_workflows(dal, [FLOW], COMMUNITY, OWNER)
    await history(dal, 30)

    answer = await api.call("GET", MANAGED.format(9999, 20) + "&q=nothing%20like%20it")

    assert (answer.status, answer.body["total"], answer.body["executions"]) == (200, 0, [])


async def test_only_a_list_that_goes_on_beyond_what_is_counted_sends_to_the_cursor(
    api: Api, dal: AsyncDAL
) -> None:
    await write_workflows(dal, [FLOW], COMMUNITY, OWNER)
    await history(dal, COUNT_CAP)
    managed, of_workflow = await page(api, 167, 60)
    assert (len(managed.body["executions"]), len(of_workflow.data)) == (40, 40)
    assert found(await page(api, 101, 100)) == (0, COUNT_CAP)

    await history(dal, 1, seed=5)

    for number, size in ((167, 60), (101, 100), (10**9, 20)):
        for answer in await page(api, number, size):
            assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
            [problem] = answer.body["details"]
            assert problem["path"] == "/page"
            assert "use the cursor" in problem["message"]
            assert "next_cursor" in problem["hint"]
    last, of_workflow = await page(api, 100, 100)
    assert (len(last.body["executions"]), last.body["has_more"]) == (100, True)
    assert of_workflow.body["meta"]["pagination"]["has_next"] is True
