"""The execution endpoints: started, seen, listed, cancelled, rehearsed."""

from __future__ import annotations

from typing import Any

import pytest

from models.dal import AsyncDAL
from tests.controllers.conftest import COMMUNITY, OWNER, Api, greeting

HELLO: dict[str, Any] = {"community_id": COMMUNITY, "variables": {"username": "Ada"}}


def waiting() -> dict[str, Any]:
    """Nodes and connections of a workflow that waits for an hour."""
    return {
        "nodes": {
            "start": {"node_type": "trigger_command", "config": {"command": "!wait"}},
            "wait": {"node_type": "action_delay", "config": {"delay_seconds": 3600}},
        },
        "connections": [{"from_node_id": "start", "to_node_id": "wait"}],
    }


async def test_execute_answers_202_with_a_durable_execution(api: Api, dal: AsyncDAL) -> None:
    workflow_id = await api.stored()
    answer = await api.call("POST", f"/workflows/{workflow_id}/execute", HELLO)
    assert answer.status == 202
    assert set(answer.data) == {
        "execution_id",
        "workflow_id",
        "status",
        "start_time",
        "execution_path",
    }
    execution_id = answer.data["execution_id"]
    assert answer.headers["location"] == f"/api/v1/workflows/executions/{execution_id}"
    stored = await dal.fetchrow("SELECT * FROM workflow_executions")
    assert stored is not None
    assert (stored["execution_id"], stored["user_id"]) == (execution_id, OWNER)


async def test_waiting_gives_the_whole_execution_once_it_has_ended(api: Api) -> None:
    workflow_id = await api.stored()
    answer = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", HELLO)
    assert answer.status == 200
    assert answer.data["status"] == "completed"
    assert answer.data["execution_path"] == ["start", "greet"]
    greet = answer.data["node_states"]["greet"]
    assert greet["input_data"]["message"] == "Hello, Ada!"
    assert "Hello, Ada!" in api.log.getvalue()


async def test_an_execution_that_outlasts_the_wait_is_202(api: Api) -> None:
    workflow_id = await api.stored(**waiting())
    answer = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=0.01", HELLO)
    assert answer.status == 202


async def test_details_show_logs_and_metrics_as_asked(api: Api) -> None:
    workflow_id = await api.stored()
    ran = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", HELLO)
    url = f"/workflows/executions/{ran.data['execution_id']}"
    plain = await api.call("GET", url)
    assert "metrics" not in plain.data
    more = await api.call("GET", f"{url}?include_metrics=true&include_logs=false")
    assert more.data["metrics"]["nodes_executed"] == 2


async def test_steps_are_paged(api: Api) -> None:
    workflow_id = await api.stored()
    ran = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", HELLO)
    url = f"/workflows/executions/{ran.data['execution_id']}/steps?limit=1"
    first = await api.call("GET", url)
    second = await api.call("GET", f"{url}&cursor={first.body['meta']['next_cursor']}")
    shown = [*first.data, *second.data]
    assert [step["step_key"] for step in shown] == ["start", "greet"]
    assert second.body["meta"]["next_cursor"] is None
    assert (await api.call("GET", f"{url}&cursor=x")).code == "INVALID_CURSOR"


async def test_a_cancelled_execution_is_cancelled_when_it_is_said(api: Api) -> None:
    workflow_id = await api.stored(**waiting())
    started = await api.call("POST", f"/workflows/{workflow_id}/execute", HELLO)
    url = f"/workflows/executions/{started.data['execution_id']}"
    answer = await api.call("POST", f"{url}/cancel")
    assert (answer.status, answer.data["status"]) == (200, "cancelled")
    assert (await api.call("GET", url)).data["status"] == "cancelled"
    again = await api.call("POST", f"{url}/cancel")
    assert (again.status, again.code) == (409, "EXECUTION_NOT_RUNNING")


async def test_a_batch_gives_an_id_or_an_error_per_item(api: Api, dal: AsyncDAL) -> None:
    workflow_id = await api.stored()
    items = [
        HELLO,
        {"community_id": COMMUNITY + 1},
        {"community_id": COMMUNITY, "variables": {"nodes": 1}},
        {"community_id": COMMUNITY, "varibles": {}},
        "text",
        HELLO,
    ]
    url = f"/workflows/{workflow_id}/execute/batch"
    answer = await api.call("POST", url, {"items": items})
    assert (answer.status, answer.data["accepted"], answer.data["rejected"]) == (202, 2, 4)
    codes = [item["error"] and item["error"]["error_code"] for item in answer.data["items"]]
    invalid = "VALIDATION_ERROR"
    assert codes == [None, "WORKFLOW_NOT_FOUND", invalid, invalid, invalid, None]
    assert await dal.fetchval("SELECT count(*) FROM workflow_executions") == 2


@pytest.mark.parametrize("items", [[], [HELLO] * 1001, {}, None])
async def test_a_batch_has_between_one_and_a_thousand_items(api: Api, items: Any) -> None:
    workflow_id = await api.stored()
    url = f"/workflows/{workflow_id}/execute/batch"
    answer = await api.call("POST", url, {"items": items})
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


async def test_a_draft_is_rehearsed_but_not_executed(api: Api, dal: AsyncDAL) -> None:
    workflow_id = await api.stored(publish=False)
    refused = await api.call("POST", f"/workflows/{workflow_id}/execute", HELLO)
    assert (refused.status, refused.code) == (409, "WORKFLOW_NOT_ACTIVE")
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", HELLO)
    assert (answer.status, answer.data["test_mode"]) == (200, True)
    greet = next(step for step in answer.data["trace"] if step["node_id"] == "greet")
    assert greet["would_send"]["message"] == "Hello, Ada!"
    assert "Hello, Ada!" not in api.log.getvalue()
    assert await dal.fetchval("SELECT count(*) FROM workflow_executions") == 0


async def test_a_rehearsal_takes_mocks_and_a_definition_of_its_own(api: Api) -> None:
    workflow_id = await api.stored(publish=False)
    definition = greeting(name="Other")
    definition["nodes"]["greet"]["config"]["message"] = "Bye"
    body = {**HELLO, "definition": definition, "mocks": {"greet": {"output": {"seen": 1}}}}
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", body)
    greet = next(step for step in answer.data["trace"] if step["node_id"] == "greet")
    assert (greet["would_send"]["message"], greet["output"]) == ("Bye", {"seen": 1})


async def test_a_rehearsal_of_another_communitys_definition_is_refused(api: Api) -> None:
    workflow_id = await api.stored()
    body = {**HELLO, "definition": greeting(community_id=COMMUNITY + 1)}
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", body)
    assert answer.status == 400
    assert answer.body["details"][0]["path"] == "/definition/community_id"


async def test_a_rehearsal_of_a_wrong_definition_is_refused(api: Api) -> None:
    workflow_id = await api.stored(publish=False)
    body = {**HELLO, "definition": greeting(nodes={}, connections=[])}
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", body)
    assert (answer.status, answer.code) == (422, "INVALID_DEFINITION")


async def test_a_rehearsal_that_takes_too_long_is_504(api: Api) -> None:
    workflow_id = await api.stored(publish=False, max_execution_time_seconds=60, **waiting())
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", HELLO)
    assert (answer.status, answer.code) == (504, "EXECUTION_TIMEOUT")


async def test_several_triggers_and_no_choice_are_ambiguous(api: Api) -> None:
    nodes = {
        "one": {"node_type": "trigger_command", "config": {"command": "!one"}},
        "two": {"node_type": "trigger_command", "config": {"command": "!two"}},
        "greet": {"node_type": "action_chat_message", "config": {"message": "Hi"}},
    }
    connections = [{"from_node_id": name, "to_node_id": "greet"} for name in ("one", "two")]
    workflow_id = await api.stored(nodes=nodes, connections=connections)
    url = f"/workflows/{workflow_id}/execute"
    answer = await api.call("POST", url, HELLO)
    assert (answer.status, answer.code) == (400, "AMBIGUOUS_TRIGGER")
    assert answer.body["details"] == {"triggers": ["one", "two"]}
    chosen = await api.call("POST", f"{url}?wait=10", {**HELLO, "trigger_node_id": "two"})
    assert chosen.data["execution_path"] == ["two", "greet"]
    unknown = await api.call("POST", url, {**HELLO, "trigger_node_id": "three"})
    assert (unknown.status, unknown.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"variables": {"execution": 1}}, "/variables/execution"),
        ({"variables": []}, "/variables"),
        ({"variables": None}, "/variables"),
        ({"metadata": "x"}, "/metadata"),
        ({"metadata": {"session_id": 5}}, "/metadata/session_id"),
        ({"community_id": "123"}, "/community_id"),
        ({"community_id": True}, "/community_id"),
        ({"execution_name": ""}, "/execution_name"),
        ({"variabels": {}}, "/variabels"),
    ],
)
async def test_a_wrong_body_is_refused_at_its_place_and_starts_nothing(
    api: Api, dal: AsyncDAL, changes: dict[str, Any], path: str
) -> None:
    workflow_id = await api.stored()
    answer = await api.call("POST", f"/workflows/{workflow_id}/execute", {**HELLO, **changes})
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert [problem["path"] for problem in answer.body["details"]] == [path]
    assert await dal.fetchval("SELECT count(*) FROM workflow_executions") == 0


@pytest.mark.parametrize("wait", ["61", "-1", "nan", "inf", "soon", ""])
async def test_a_wait_is_a_number_of_seconds_up_to_sixty(api: Api, wait: str) -> None:
    workflow_id = await api.stored()
    answer = await api.call("POST", f"/workflows/{workflow_id}/execute?wait={wait}", HELLO)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


async def test_executions_are_listed_sorted_filtered_and_paged(api: Api) -> None:
    workflow_id = await api.stored(**waiting())
    url = f"/workflows/{workflow_id}/executions"
    made = []
    for _ in range(3):
        started = await api.call("POST", f"/workflows/{workflow_id}/execute", HELLO)
        made.append(started.data["execution_id"])
    await api.call("POST", f"/workflows/executions/{made[1]}/cancel")

    newest = await api.call("GET", f"{url}?per_page=2")
    assert [row["execution_id"] for row in newest.data] == made[:0:-1]
    pagination = newest.body["meta"]["pagination"]
    cursor = pagination.pop("next_cursor")
    assert pagination == {
        "page": 1,
        "per_page": 2,
        "total": 3,
        "total_pages": 2,
        "has_next": True,
        "has_prev": False,
    }
    last = await api.call("GET", f"{url}?per_page=2&cursor={cursor}")
    assert [row["execution_id"] for row in last.data] == made[:1]
    assert last.body["meta"]["pagination"] == {
        "page": 2,
        "per_page": 2,
        "total": 3,
        "total_pages": 2,
        "has_next": False,
        "has_prev": True,
        "next_cursor": None,
    }
    oldest = await api.call("GET", f"{url}?sort_order=asc&page=1&per_page=1")
    assert [row["execution_id"] for row in oldest.data] == made[:1]
    cancelled = await api.call("GET", f"{url}?status=cancelled,failed")
    assert [row["execution_id"] for row in cancelled.data] == [made[1]]
    assert cancelled.data[0]["success"] is False
    by_status = await api.call("GET", f"{url}?sort_by=status&sort_order=asc&per_page=1")
    assert by_status.data[0]["status"] == "cancelled"


@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "page=0",
        "per_page=101",
        f"page=1{'0' * 30}",
        "sort_by=name",
        "sort_order=up",
        "community_id=x",
        "pages=1",
        "page=1&page=2",
        "page=1&cursor=x",
    ],
)
async def test_a_wrong_list_query_is_refused(api: Api, query: str) -> None:
    workflow_id = await api.stored()
    answer = await api.call("GET", f"/workflows/{workflow_id}/executions?{query}")
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


async def test_an_execution_keeps_the_version_it_started_with(api: Api) -> None:
    workflow_id = await api.stored()
    before = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", HELLO)
    await api.call("PUT", f"/workflows/{workflow_id}", {"name": "New"})
    await api.call("POST", f"/workflows/{workflow_id}/publish")
    after = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", HELLO)
    assert (before.data["workflow_version"], after.data["workflow_version"]) == (1, 2)
    assert after.data["workflow_name"] == "New"
