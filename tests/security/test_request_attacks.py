"""Requests that pretend: to be another method, another path, another owner, another line of the
log. Credentials are attacked in `test_credential_attacks.py`, the connection in
`test_connection_attacks.py`, who may what in `test_matrix.py`."""

from __future__ import annotations

import io
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote

import pytest

from controllers import requests
from controllers.openapi import Provider
from engine.context import RESERVED_NAMES
from models.dal import AsyncDAL
from services.clock import new_id
from tests.controllers.conftest import COMMUNITY, OWNER, Api, greeting

START = {"community_id": COMMUNITY}


# Paths and methods


@pytest.mark.parametrize(
    "path",
    [
        "/docs/../app.py",
        "/docs/..%2f..%2fapp.py",
        "/docs/%2e%2e/%2e%2e/config.py",
        "/docs/....//app.py",
        "/docs/..%5c..%5capp.py",
        "/docs/swagger-ui.css%00.py",
        "/docs//etc/passwd",
        "/docs/%252e%252e/app.py",
        "/openapi.json/../../.data/api-key",
        "/static/app.py",
        "/.env",
        "/.data/api-key",
        "/.git/config",
        "//etc/passwd",
    ],
)
async def test_no_file_is_reached_by_climbing_out_of_the_pages(api: Api, path: str) -> None:
    answer = await api.call("GET", f"/{path}", key="")
    assert (answer.status, answer.code) in ((404, "NOT_FOUND"), (401, "UNAUTHORIZED"))


@pytest.mark.parametrize(
    "key", ["../../status", "..", "%2e%2e/%2e%2e/status", "a/../../b", "a%00b"]
)
async def test_a_step_key_that_climbs_finds_no_step(api: Api, key: str) -> None:
    workflow_id = await api.stored()
    started = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", START)
    path = f"/workflows/executions/{started.data['execution_id']}/steps/{key}"
    answer = await api.call("GET", path)
    assert answer.status == 404


@pytest.mark.parametrize(
    "header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"]
)
async def test_a_method_is_not_overridden(api: Api, header: str) -> None:
    workflow_id = await api.stored()
    path = f"/workflows/{workflow_id}"
    as_get = await api.call("GET", path, headers={header: "DELETE"})
    as_post = await api.call("POST", path, {}, headers={header: "DELETE"})
    in_query = await api.call("GET", f"{path}?_method=DELETE")
    assert [as_get.status, as_post.status, in_query.status] == [200, 405, 400]
    assert (await api.call("GET", path)).data["status"] == "active"


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PATCH", "PROPFIND", "QUERY"])
async def test_a_method_that_nobody_needs_is_not_taken(api: Api, method: str) -> None:
    answer = await api.call(method, "/workflows", headers={"X-Secret": "echo me"})
    assert (answer.status, answer.code) == (405, "METHOD_NOT_ALLOWED")
    assert "echo me" not in str(answer.body)


@pytest.mark.parametrize("header", ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix"])
async def test_a_path_is_not_overridden(api: Api, header: str) -> None:
    answer = await api.call("GET", "//health", key="", headers={header: "/api/v1/workflows"})
    assert answer.status == 200
    assert answer.body["status"]


async def test_a_made_up_host_is_in_no_answer(api: Api) -> None:
    workflow_id = await api.stored()
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    answer = await api.call("POST", f"/workflows/{workflow_id}/execute", START, headers=headers)
    assert answer.status == 202
    assert "evil.example" not in f"{answer.headers}{answer.body}"


# Bodies and queries


@pytest.mark.parametrize(
    "field",
    [
        "workflow_id", "created_by", "created_at", "status", "version", "published_version",
        "published_at", "owner", "user_id", "permissions", "__class__", "__proto__", "constructor",
    ],
)  # fmt: skip
async def test_a_workflow_is_not_given_what_only_the_service_sets(api: Api, field: str) -> None:
    mine = await api.stored()
    sent = {field: new_id() if field.endswith("_id") else 1}
    created = await api.call("POST", "/workflows", greeting(**sent))
    changed = await api.call("PUT", f"/workflows/{mine}", sent)
    now = (await api.call("GET", f"/workflows/{mine}")).data
    assert (now["workflow_id"], now["created_by"], now["status"]) == (mine, OWNER, "active")
    if created.status == 201:  # a version is where an edit was made on, and no more
        assert created.data[field] not in sent.values() or field == "version"
    else:
        assert created.status in (400, 422)
        assert field in str(created.body)
    assert changed.status in (200, 400, 409, 422)


@pytest.mark.parametrize(
    "extra",
    [
        {"user_id": 1}, {"execution_id": "x"}, {"status": "completed"}, {"triggered_by": "1"},
        {"workflow_version": 1}, {"created_at": "2000-01-01"}, {"roles": ["admin"]},
        {"__proto__": {"admin": True}}, {"constructor": {}}, {"retry_of": "x"}, {"test_mode": True},
    ],
    ids=str,
)  # fmt: skip
async def test_an_execution_is_not_given_what_only_the_service_sets(
    api: Api, dal: AsyncDAL, extra: dict[str, Any]
) -> None:
    workflow_id = await api.stored()
    for path in (f"/workflows/{workflow_id}/execute", f"/workflows/{workflow_id}/test"):
        answer = await api.call("POST", path, START | extra)
        assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
        assert answer.body["details"][0]["path"] == f"/{next(iter(extra))}"
    batch = await api.call(
        "POST", f"/workflows/{workflow_id}/execute/batch", {"items": [START | extra]}
    )
    assert batch.data["items"][0]["error"]["error_code"] == "VALIDATION_ERROR"
    assert await dal.fetchval("SELECT count(*) FROM workflow_executions") == 0


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
async def test_a_callers_variable_does_not_pass_for_what_the_engine_says(
    api: Api, name: str
) -> None:
    """Expressions see who started the execution under these names."""
    told = {"message": "{{ execution.user_id }} {{ trigger.source }}"}
    nodes = greeting()["nodes"] | {"greet": {"node_type": "action_chat_message", "config": told}}
    workflow_id = await api.stored(nodes=nodes)
    body = START | {"variables": {name: {"user_id": 1, "source": "forged"}}}
    answer = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", body)
    if answer.status == 200:
        sent = answer.data["node_states"]["greet"]["input_data"]
        assert "forged" not in str(answer.data["node_states"]["greet"].get("output_data"))
        assert sent is not None
    else:
        assert answer.status == 400
        assert name in answer.body["message"]


async def test_names_that_are_special_to_javascript_are_only_data(api: Api) -> None:
    workflow_id = await api.stored()
    variables = {"__proto__": {"isAdmin": True}, "constructor": {"prototype": 1}, "toString": "x"}
    body = START | {"variables": variables}
    answer = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", body)
    assert answer.status == 200
    assert variables.items() <= answer.data["input_parameters"].items()


@pytest.mark.parametrize(
    "text",
    ["' OR '1'='1", "'; DROP TABLE workflows; --", "%", "_", "\\", "%' ESCAPE '", "$1", "{}", "é%"],
)
@pytest.mark.parametrize(
    "query",
    [
        "/workflows?search={}", "/workflows?tag={}", "/workflow-management/executions?q={}",
        "/workflow-management/executions?execution_name={}",
        "/workflow-management/executions?session_id={}",
        "/workflow-management/executions?trigger_source={}",
        "/workflow-management/executions?error_code={}",
    ],
)  # fmt: skip
async def test_text_in_a_filter_is_never_sql_nor_a_pattern(api: Api, query: str, text: str) -> None:
    await api.stored()
    answer = await api.call("GET", query.format(quote(text)))
    assert answer.status == 200
    assert (answer.body.get("data") or answer.body.get("executions") or []) == []
    assert (await api.call("GET", "/workflows")).data, "the table is still there"


@pytest.mark.parametrize(
    "query",
    [
        "/workflow-management/executions?sort_by=created;DROP%20TABLE%20workflows",
        "/workflow-management/executions?order=desc;--",
        "/workflow-management/executions?status=completed'--",
        "/workflow-management/executions?workflow_id=1'%20OR%201=1",
        "/workflow-management/metrics?bucket=hour'",
        "/workflows?community_id=1%20OR%201=1",
        "/workflows?limit=1;--",
    ],
)
async def test_what_is_no_word_of_the_api_is_refused_before_any_sql(api: Api, query: str) -> None:
    answer = await api.call("GET", query)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


async def test_strangers_cannot_have_the_document_made_again_and_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To make it takes a third of a second of the one thread that serves everybody."""
    made = []
    make = Provider.schema

    def counted(self: Provider) -> dict[str, Any]:
        made.append(1)
        return make(self)

    monkeypatch.setattr(Provider, "schema", counted)
    asked = [await api.call("GET", "//openapi.json", key="") for _ in range(5)]
    assert {answer.status for answer in asked} == {200}
    assert asked[0].body == asked[4].body
    assert len(made) == 1


async def test_a_body_full_of_unknown_fields_is_refused_without_a_word_on_each(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hint takes a moment, and a batch has room for a million of them."""
    sought = []

    def counted(*given: Any, **more: Any) -> list[str]:
        sought.append(1)
        return get_close_matches(*given, **more)

    monkeypatch.setattr(requests, "get_close_matches", counted)
    workflow_id = await api.stored()
    path = f"/workflows/{workflow_id}/execute"
    many = {f"community_idx{n}": 1 for n in range(2_000)} | START
    answer = await api.call("POST", path, many)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert len(answer.body["details"]) == requests.MOST_PROBLEMS
    assert len(sought) <= requests.MOST_HINTS
    assert answer.body["details"][0]["hint"] == "Did you mean 'community_id'?"
    assert "/community_id" not in {each["path"] for each in answer.body["details"]}
    batch = await api.call("POST", f"{path}/batch", {"items": [many]})
    assert len(batch.data["items"][0]["error"]["details"]) == requests.MOST_PROBLEMS


FULL = {
    "in one text": ("action_chat_message", {"message": "{{ a + b }}" * 5_001}),
    "in many": (
        "data_variable_set",
        {"variables": {f"x{n}": ["{{ 1 }}" * 100] for n in range(51)}},
    ),
}


@pytest.mark.parametrize("where", FULL)
async def test_a_document_full_of_expressions_is_refused_before_they_are_compiled(
    api: Api, where: str
) -> None:
    """To compile 80,000 of them, which a body has room for, takes ten seconds."""
    node_type, config = FULL[where]
    greet = {"node_type": node_type, "config": config}
    nodes = greeting()["nodes"] | {"greet": greet}
    answer = await api.call("POST", "/workflows/validate", greeting(nodes=nodes))
    assert "TOO_MANY_EXPRESSIONS" in {each["code"] for each in answer.data["errors"]}


# Keys of others, and the log


async def test_an_idempotency_key_of_another_user_opens_nothing(api: Api, dal: AsyncDAL) -> None:
    workflow_id = await api.stored()
    await api.call(
        "PUT",
        f"/workflows/{workflow_id}/permissions",
        {"permission_type": "user", "target_id": OWNER + 1, "can_execute": True},
    )
    other = await api.new_key(OWNER + 1)
    path, headers = f"/workflows/{workflow_id}/execute", {"Idempotency-Key": "the same"}
    mine = await api.call("POST", path, START, headers=headers)
    theirs = await api.call("POST", path, START, headers=headers, key=other)
    otherwise = await api.call(
        "POST", path, START | {"variables": {"x": 1}}, headers=headers, key=other
    )
    assert (mine.status, theirs.status) == (202, 202)
    assert mine.data["execution_id"] != theirs.data["execution_id"]
    assert "Idempotent-Replayed" not in theirs.headers
    assert otherwise.code == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.parametrize(
    "text",
    [
        "x\n[2026-01-01T00:00:00Z] INFO workflow_core_module AUDIT user=1 action=forged",
        "x\r\nAUDIT action=forged",
        'x" action=forged result=SUCCESS "',
        "x\u2028AUDIT action=forged",
        "x\x1b[2Kaction=forged",
        "x\x85action=forged",
    ],
)
async def test_no_input_forges_a_line_of_the_log(api: Api, log: io.StringIO, text: str) -> None:
    before = len(log.getvalue().splitlines())
    workflow_id = await api.stored(name=text)
    body = START | {"execution_name": text, "metadata": {"trigger_source": text}}
    await api.call("POST", f"/workflows/{workflow_id}/execute", body)
    await api.call("GET", f"/workflows/{quote(text, safe='')}")
    await api.call("GET", f"/workflows?{quote(text, safe='')}=1")
    await api.call("POST", f"/workflows/executions/{new_id()}/signals/{quote(text, safe='')}", {})
    lines = log.getvalue().splitlines()[before:]
    assert lines
    assert all(line.startswith("[20") for line in lines)
    assert not [line for line in lines if " action=forged" in line.partition(" reason=")[0]]


async def test_the_log_says_what_is_wrong_with_a_secret_and_not_what_it_is(
    api: Api, log: io.StringIO
) -> None:
    hook = {"url": "https://example.org/hook", "community_id": COMMUNITY}
    hook |= {"events": ["execution.failed"]}
    before = len(log.getvalue())

    short = await api.call("POST", "/workflow-management/webhooks", hook | {"secret": "hunter22"})
    typed = await api.call("POST", "/workflow-management/webhooks", hook | {"secret": ["hunter22"]})
    named = await api.call("GET", "/workflows?password=hunter22")
    inside = await api.call("GET", "/workflows?token:%20hunter22=1")

    told = log.getvalue()[before:]
    assert [each.status for each in (short, typed, named, inside)] == [400] * 4
    assert "reason=\"/secret must be 'whsec_' and 24 to 64 bytes in base64\"" in told
    assert 'reason="/secret must be a string"' in told
    assert 'reason="/password unknown query parameter' in told
    assert 'reason="/token: *** unknown query parameter' in told
    assert "hunter22" not in told


async def test_no_secret_that_was_sent_is_in_the_log_or_the_answer(
    api: Api, log: io.StringIO
) -> None:
    key = "wa-" + "ab" * 32
    for answer in (
        await api.call("GET", "/workflows", key=key),
        await api.call("GET", f"/workflows?api_key={key}"),
        await api.call("GET", f"/workflows/{key}"),
        await api.call("GET", "/workflows", key="", headers={"Authorization": f"Bearer {key}"}),
        await api.call("GET", "/workflows", headers={"Authorization": f"Bearer {key}"}),
    ):
        assert answer.status in (400, 401, 404)
        assert key not in f"{answer.body}{answer.headers}"
    assert key not in log.getvalue()
    assert api.key not in log.getvalue()
