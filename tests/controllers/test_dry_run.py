"""`POST /workflows/:id/test`: what a client asks for and gets, and that no trace of it remains."""

from __future__ import annotations

from typing import Any

import pytest

from models.dal import AsyncDAL
from tests.controllers.conftest import COMMUNITY, Api, greeting

HELLO: dict[str, Any] = {"community_id": COMMUNITY, "variables": {"username": "Ada"}}

ASKING: dict[str, Any] = {
    "nodes": {
        "start": {"node_type": "trigger_command", "config": {"command": "!ask"}},
        "answer": {
            "node_type": "flow_wait",
            "config": {"signal": "approved", "schema": {"type": "object", "required": ["ok"]}},
        },
        "greet": {
            "node_type": "action_chat_message",
            "config": {"message": "{{ username }}: {{ input.ok }}"},
        },
    },
    "connections": [
        {"from_node_id": "start", "to_node_id": "answer"},
        {"from_node_id": "answer", "to_node_id": "greet"},
    ],
    "max_execution_time_seconds": 604_800,
}


def calling(workflow_id: str) -> dict[str, Any]:
    """Nodes and connections of a workflow that calls another and says what that gave."""
    return {
        "nodes": {
            "start": {"node_type": "trigger_command", "config": {"command": "!call"}},
            "call": {
                "node_type": "flow_subworkflow",
                "config": {
                    "workflow_id": workflow_id,
                    "variables": {"username": "{{ username }}"},
                },
            },
            "say": {"node_type": "action_chat_message", "config": {"message": "{{ json(input) }}"}},
        },
        "connections": [
            {"from_node_id": "start", "to_node_id": "call"},
            {"from_node_id": "call", "to_node_id": "say"},
        ],
    }


async def test_a_draft_is_tried_with_mocks_signals_and_assertions(api: Api) -> None:
    workflow_id = await api.stored(publish=False, **ASKING)
    body = {
        **HELLO,
        "mocks": {"greet": {"output": {"message_id": "m"}, "duration_seconds": 3}},
        "signals": [{"name": "approved", "payload": {"ok": 1}, "after_seconds": 86_400}],
        "assertions": [
            {"expression": "nodes.answer.output.ok == 1"},
            {"expression": "final_output.greet.message_id == 'n'", "message": "It is n"},
        ],
    }
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", body)
    assert answer.status == 200, answer.body
    data = answer.data
    assert (data["status"], data["execution_time_seconds"]) == ("completed", 86_403)
    assert [entry["step_key"] for entry in data["trace"]] == ["start", "answer", "greet"]
    assert data["trace"][-1]["would_send"]["message"] == "Ada: 1"
    assert [one["passed"] for one in data["assertions"]] == [True, False]
    coverage = data["coverage"]
    assert (coverage["percentage"], coverage["nodes_not_covered"]) == (100.0, [])
    assert data["summary"] == {
        "nodes_executed": 3,
        "nodes_failed": 0,
        "nodes_skipped": 0,
        "nodes_covered": 3,
        "total_duration": 86_403,
        "passed": False,
    }


async def test_an_inline_definition_is_tried_and_not_kept(api: Api) -> None:
    workflow_id = await api.stored()
    body = {**HELLO, "definition": greeting(**ASKING), "signals": {"approved": {"ok": 2}}}
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", body)
    assert (answer.status, answer.data["summary"]["passed"]) == (200, True)
    kept = await api.call("GET", f"/workflows/{workflow_id}")
    assert set(kept.data["nodes"]) == {"start", "greet"}


async def test_a_failure_that_was_expected_passes(api: Api) -> None:
    workflow_id = await api.stored(publish=False)
    body = {**HELLO, "mocks": {"greet": {"error": "down"}}, "expected_status": "failed"}
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", body)
    assert (answer.data["status"], answer.data["summary"]["passed"]) == ("failed", True)


async def test_a_sub_workflow_is_tried_inside(api: Api) -> None:
    child = await api.stored()
    workflow_id = await api.stored(publish=False, **calling(child))
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", HELLO)
    assert answer.status == 200, answer.body
    call = answer.data["trace"][1]
    assert (call["child"]["workflow_id"], call["child"]["status"]) == (child, "completed")
    assert call["child"]["trace"][-1]["would_send"]["message"] == "Hello, Ada!"


async def test_nobody_tries_a_sub_workflow_that_they_may_not_execute(api: Api) -> None:
    secret = await api.stored()
    mine = await api.stored()
    api.key = await api.new_key(user=789)
    workflow_id = await api.stored(publish=False, **calling(secret))
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", HELLO)
    assert (answer.status, answer.data["error_code"]) == (200, "SUBWORKFLOW_NOT_FOUND")
    assert "child" not in answer.data["trace"][-1]
    body = {**HELLO, "definition": greeting(**calling(secret))}
    assert (await api.call("POST", f"/workflows/{mine}/test", body)).status == 403


async def test_no_trace_of_a_dry_run_remains(api: Api, dal: AsyncDAL) -> None:
    child = await api.stored()
    workflow_id = await api.stored(**calling(child))
    ran = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=20", HELLO)
    assert ran.data["status"] == "completed"

    async def history() -> tuple[Any, ...]:
        lists = [
            (await api.call("GET", f"/workflows/{one}/executions")).data
            for one in (workflow_id, child)
        ]
        tables = ("workflow_executions", "workflow_steps")
        return lists, [
            await dal.fetchval(f"SELECT json_agg(t ORDER BY t::text)::text FROM {table} t")
            for table in tables
        ]

    before = await history()
    said = api.log.getvalue().count("» ")
    for _ in range(2):
        answer = await api.call("POST", f"/workflows/{workflow_id}/test", HELLO)
        assert answer.data["status"] == "completed"
    assert await history() == before
    assert api.log.getvalue().count("» ") == said
    tried = await api.call("GET", f"/workflows/executions/{answer.data['execution_id']}")
    assert (tried.status, tried.code) == (404, "EXECUTION_NOT_FOUND")


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"assertions": [{"expression": "1 +"}]}, "/assertions/0/expression"),
        ({"assertions": {}}, "/assertions"),
        ({"mocks": {"gret": {"output": 1}}}, "/mocks/gret"),
        ({"mocks": []}, "/mocks"),
        ({"signals": 5}, "/signals"),
        ({"signals": {"aproved": {"ok": 1}}}, "/signals/aproved"),
        ({"signals": [{"name": "approved", "payload": {}}]}, "/signals/0/payload"),
        ({"expected_status": "cancelled"}, "/expected_status"),
        ({"signal": {}}, "/signal"),
        ({"definition": {"nodes": {}}}, "/definition/name"),
    ],
)
async def test_what_cannot_be_meant_is_refused_before_anything_runs(
    api: Api, part: dict[str, Any], path: str
) -> None:
    workflow_id = await api.stored(publish=False, **ASKING)
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", {**HELLO, **part})
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.body["details"][0]["path"] == path


async def test_a_misspelt_name_comes_with_the_right_one(api: Api) -> None:
    workflow_id = await api.stored(publish=False, **ASKING)
    body = {**HELLO, "signals": {"aproved": {"ok": 1}}}
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", body)
    assert answer.body["details"][0]["hint"] == "Did you mean 'approved'?"


async def test_a_wait_that_nothing_ends_is_504_and_names_its_signal(api: Api) -> None:
    workflow_id = await api.stored(publish=False, **ASKING)
    answer = await api.call("POST", f"/workflows/{workflow_id}/test", HELLO)
    assert (answer.status, answer.code) == (504, "EXECUTION_TIMEOUT")
    assert "'answer' waits for ever for the signal 'approved'" in answer.body["message"]
