"""Signals, retries, sub-workflows and error workflows over HTTP, on PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from models.dal import AsyncDAL
from services.clock import new_id
from tests.controllers.conftest import COMMUNITY, Answer, Api, greeting
from tests.controllers.test_execution_api import HELLO
from tests.waiting import until

START = {"node_type": "trigger_command", "config": {"command": "!go"}}
STRANGER, NOBODY = 789, "0190a000-0000-7000-8000-000000000001"


def flow(nodes: dict[str, Any], *edges: str, **fields: Any) -> dict[str, Any]:
    """A workflow from `start` through these nodes; an edge is `"a.port -> b"`."""
    connections = []
    for edge in edges:
        source, _, target = edge.partition(" -> ")
        node, _, port = source.partition(".")
        connections.append(
            {"from_node_id": node, "from_port_name": port or "output", "to_node_id": target}
        )
    return {"nodes": {"start": START, **nodes}, "connections": connections, **fields}


def asking(**config: Any) -> dict[str, Any]:
    return flow(
        {
            "ask": {"node_type": "flow_wait", "config": {"signal": "approved", **config}},
            "end": {"node_type": "flow_end"},
        },
        "start -> ask",
        "ask -> end",
    )


def picky() -> dict[str, Any]:
    """Fails unless the variable `ok` is true; says something before and after."""
    return flow(
        {
            "before": {"node_type": "action_chat_message", "config": {"message": "before {{ n }}"}},
            "check": {
                "node_type": "data_transform",
                "config": {"transformations": {"checked": "1 if ok else 1 / 0"}},
            },
            "after": {"node_type": "action_chat_message", "config": {"message": "after {{ n }}"}},
        },
        "start -> before",
        "before -> check",
        "check -> after",
    )


async def started(api: Api, workflow_id: str, wait: int = 0, **variables: Any) -> Answer:
    url = f"/workflows/{workflow_id}/execute?wait={wait}"
    return await api.call("POST", url, {"community_id": COMMUNITY, "variables": variables})


async def once(api: Api, execution_id: str, *statuses: str) -> dict[str, Any]:
    """The execution once it has one of these statuses."""
    state: dict[str, Any] = {}

    async def it_has() -> bool:
        nonlocal state
        state = (await api.call("GET", f"/workflows/executions/{execution_id}")).data
        return state["status"] in statuses

    await until(it_has)
    return state


async def send(api: Api, execution_id: str, name: str = "approved", **options: Any) -> Answer:
    return await api.call("POST", f"/workflows/executions/{execution_id}/signals/{name}", **options)


async def retry(api: Api, execution_id: str, json: Any, **options: Any) -> Answer:
    return await api.call("POST", f"/workflows/executions/{execution_id}/retry", json, **options)


async def waiting_execution(api: Api, **config: Any) -> str:
    answer = await started(api, await api.stored(**asking(**config)))
    execution_id: str = answer.data["execution_id"]
    await once(api, execution_id, "waiting")
    return execution_id


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        ({"by": "ada"}, {"by": "ada"}),
        ({"payload": [1, 2]}, [1, 2]),
        ({"payload": 1, "more": 2}, {"payload": 1, "more": 2}),
        ("text", "text"),
        (None, None),
    ],
)
async def test_a_signal_wakes_a_parked_execution(api: Api, body: Any, payload: Any) -> None:
    execution_id = await waiting_execution(api)
    answer = await send(api, execution_id, json=body)
    assert answer.status == 202
    assert answer.data == {"execution_id": execution_id, "signal": "approved"}
    state = await once(api, execution_id, "completed", "failed")
    assert state["final_output"] == payload


async def test_a_signal_repeated_with_its_key_counts_once(api: Api, dal: AsyncDAL) -> None:
    execution_id = await waiting_execution(api)
    key = {"Idempotency-Key": "yes-1"}
    first = await send(api, execution_id, json={"n": 1}, headers=key)
    await once(api, execution_id, "completed")
    again = await send(api, execution_id, json={"n": 1}, headers=key)
    assert (first.status, again.status) == (202, 202)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert await dal.fetchval("SELECT count(*) FROM workflow_letters") == 1
    other = await send(api, execution_id, json={"n": 2}, headers=key)
    assert (other.status, other.code) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_a_signal_that_does_not_fit_says_where(api: Api) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    execution_id = await waiting_execution(api, schema=schema)
    answer = await send(api, execution_id, json={"n": "many"})
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert [problem["path"] for problem in answer.body["details"]] == ["/n"]
    assert (await send(api, execution_id, json={"n": 3})).status == 202


async def test_a_signal_nobody_waits_for_is_not_found_naming_those_that_are(api: Api) -> None:
    execution_id = await waiting_execution(api)
    answer = await send(api, execution_id, "aproved", json={})
    assert (answer.status, answer.code) == (404, "SIGNAL_NOT_FOUND")
    assert answer.body["details"] == {"signals": ["approved"]}


async def test_a_signal_to_what_has_ended_or_never_was(api: Api) -> None:
    execution_id = await waiting_execution(api)
    await api.call("POST", f"/workflows/executions/{execution_id}/cancel")
    answer = await send(api, execution_id, json={})
    assert (answer.status, answer.code) == (409, "EXECUTION_NOT_RUNNING")
    answer = await send(api, NOBODY, json={})
    assert (answer.status, answer.code) == (404, "EXECUTION_NOT_FOUND")


async def test_only_who_may_cancel_may_signal_and_retry(api: Api) -> None:
    execution_id = await waiting_execution(api)
    member = await api.new_key(user=STRANGER)
    foreign = await api.new_key(user=STRANGER, community=999)
    for key, status in ((member, 403), (foreign, 404)):
        assert (await send(api, execution_id, json={}, key=key)).status == status
        assert (await retry(api, execution_id, {}, key=key)).status == status


async def test_a_retry_reuses_what_was_recorded_before_the_failure(api: Api) -> None:
    workflow_id = await api.stored(**picky())
    failed = await started(api, workflow_id, wait=10, n=1, ok=False)
    assert failed.data["status"] == "failed"

    answer = await retry(api, failed.data["execution_id"], {"variables": {"ok": True, "n": 2}})

    assert answer.status == 202
    assert answer.data["retry_of"] == failed.data["execution_id"]
    assert answer.data["execution_path"] == ["start", "before"]
    again = await once(api, answer.data["execution_id"], "completed", "failed")
    assert again["status"] == "completed"
    assert again["retry_of"] == failed.data["execution_id"]
    assert {step["node_id"]: step["reused"] for step in again["steps"]} == {
        "start": True,
        "before": True,
        "check": False,
        "after": False,
    }
    assert api.log.getvalue().count("before 1") == 1
    assert "before 2" not in api.log.getvalue()
    assert "after 2" in api.log.getvalue()


async def test_a_retry_without_a_body_is_from_the_failure(api: Api) -> None:
    workflow_id = await api.stored(**picky())
    failed = await started(api, workflow_id, wait=10, n=1, ok=False)
    answer = await retry(api, failed.data["execution_id"], None)
    assert answer.status == 202
    assert answer.data["execution_path"] == ["start", "before"]
    for body in ([], "failed", {"form": "failed"}):
        answer = await retry(api, failed.data["execution_id"], body)
        assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


async def test_a_retry_from_the_start_reuses_nothing(api: Api) -> None:
    workflow_id = await api.stored(**picky())
    done = await started(api, workflow_id, wait=10, n=1, ok=True)
    answer = await retry(api, done.data["execution_id"], {"from": "start", "variables": {"n": 7}})
    again = await once(api, answer.data["execution_id"], "completed")
    assert not any(step["reused"] for step in again["steps"])
    assert "before 7" in api.log.getvalue()


async def test_a_retry_from_a_node_runs_it_and_what_follows(api: Api) -> None:
    workflow_id = await api.stored(**picky())
    done = await started(api, workflow_id, wait=10, n=1, ok=True)
    answer = await retry(api, done.data["execution_id"], {"from": "after", "variables": {"n": 9}})
    again = await once(api, answer.data["execution_id"], "completed")
    assert [s["node_id"] for s in again["steps"] if s["reused"]] == ["start", "before", "check"]
    assert "after 9" in api.log.getvalue()


async def test_what_cannot_be_retried_says_why(api: Api) -> None:
    workflow_id = await api.stored(**picky())
    done = await started(api, workflow_id, wait=10, n=1, ok=True)
    execution_id = done.data["execution_id"]
    answer = await retry(api, execution_id, {})
    assert (answer.status, answer.code) == (409, "NOTHING_FAILED")
    answer = await retry(api, execution_id, {"from": "nowhere"})
    assert (answer.status, answer.code) == (400, "BAD_REQUEST")
    assert "before" in answer.body["message"]
    answer = await retry(api, execution_id, {"from": "start", "variables": {"nodes": 1}})
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    answer = await retry(api, await waiting_execution(api), {})
    assert (answer.status, answer.code) == (409, "EXECUTION_NOT_ENDED")
    await api.call("DELETE", f"/workflows/{workflow_id}")
    answer = await retry(api, execution_id, {"from": "start"})
    assert (answer.status, answer.code) == (409, "WORKFLOW_NOT_ACTIVE")


async def test_an_unknown_field_of_a_retry_is_told_with_the_names_of_those_there_are(
    api: Api,
) -> None:
    answer = await retry(api, new_id(), {"form": "start"})
    assert answer.body["details"] == [
        {
            "path": "/form",
            "message": "unknown field; known: from, variables",
            "hint": "Did you mean 'from'?",
        }
    ]


async def test_g02_a_retry_repeated_with_its_key_starts_once(api: Api, dal: AsyncDAL) -> None:
    done = await started(api, await api.stored(**picky()), wait=10, n=1, ok=True)
    execution_id = done.data["execution_id"]
    key = {"Idempotency-Key": "again-1"}
    wrong = await retry(api, execution_id, {"from": "nowhere"}, headers=key)
    assert wrong.status == 400
    body = {"from": "start"}
    answers = await asyncio.gather(*(retry(api, execution_id, body, headers=key) for _ in range(4)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.data["execution_id"] for answer in answers}) == 1
    assert await dal.fetchval("SELECT count(*) FROM workflow_executions") == 2
    other = await retry(api, execution_id, {"from": "after"}, headers=key)
    assert (other.status, other.code) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_a_sub_workflow_runs_as_a_child(api: Api) -> None:
    child = await api.stored(
        **flow(
            {"end": {"node_type": "flow_end", "config": {"output": "{{ a + 1 }}"}}},
            "start -> end",
            name="Child",
        )
    )
    sub = {
        "node_type": "flow_subworkflow",
        "config": {"workflow_id": child, "variables": {"a": 41}},
    }
    parent = await api.stored(
        **flow({"sub": sub, "end": {"node_type": "flow_end"}}, "start -> sub", "sub -> end")
    )
    done = await started(api, parent, wait=10)
    assert done.data["final_output"] == 42
    child_id = done.data["node_states"]["sub"]["child_execution_id"]
    seen = await api.call("GET", f"/workflows/executions/{child_id}")
    assert seen.data["parent_execution_id"] == done.data["execution_id"]
    assert seen.data["workflow_id"] == child


@pytest.mark.parametrize("kind", ["unknown", "foreign", "draft", "not granted"])
async def test_a_sub_workflow_that_may_not_be_started_fails_the_step(api: Api, kind: str) -> None:
    code = "SUBWORKFLOW_NOT_FOUND"
    child = NOBODY
    if kind == "draft":
        child, code = await api.stored(publish=False), "SUBWORKFLOW_NOT_ACTIVE"
    elif kind != "unknown":
        community = 999 if kind == "foreign" else COMMUNITY
        other = await api.new_key(user=STRANGER, community=community)
        answer = await api.call(
            "POST", "/workflows?publish=true", greeting(community_id=community), key=other
        )
        child = answer.data["workflow_id"]
    sub = {"node_type": "flow_subworkflow", "config": {"workflow_id": child}}
    done = await started(api, await api.stored(**flow({"sub": sub}, "start -> sub")), wait=10)
    assert (done.data["status"], done.data["error_code"]) == ("failed", code)


async def test_whoever_may_execute_the_parent_reaches_what_its_publisher_may(
    api: Api, dal: AsyncDAL
) -> None:
    child = await api.stored()
    sub = {
        "node_type": "flow_subworkflow",
        "config": {"workflow_id": child, "variables": {"username": "Eve"}},
    }
    parent = await api.stored(**flow({"sub": sub}, "start -> sub"))
    await dal.execute(
        "INSERT INTO workflow_permissions (permission_id, workflow_id, permission_type, target_id,"
        " can_execute, granted_by) VALUES (gen_random_uuid(), $1, 'user', $2, true, 1)",
        parent,
        str(STRANGER),
    )
    member = await api.new_key(user=STRANGER)
    url = f"/workflows/{parent}/execute?wait=10"
    done = await api.call("POST", url, {"community_id": COMMUNITY}, key=member)
    assert done.data["status"] == "completed"
    assert "Hello, Eve!" in api.log.getvalue()


async def test_a_failure_starts_its_error_workflow(api: Api) -> None:
    say = {"node_type": "action_chat_message", "config": {"message": "!! {{ trigger.error_code }}"}}
    answering = await api.stored(**flow({"say": say}, "start -> say", name="On error"))
    failing = await api.stored(**picky(), error_workflow_id=answering)
    failed = await started(api, failing, wait=10, n=1, ok=False)
    assert failed.data["status"] == "failed"
    listed = f"/workflows/{answering}/executions?status=completed"

    async def answered() -> bool:
        return bool((await api.call("GET", listed)).data)

    await until(answered)
    (answer,) = (await api.call("GET", listed)).data
    assert answer["trigger_source"] == "error"
    assert "!! EXPRESSION_ERROR" in api.log.getvalue()
    assert HELLO["community_id"] == answer["community_id"]
