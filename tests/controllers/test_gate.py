"""Default deny, and one line per operation."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import jwt
import pytest
from quart import Response
from quart.testing import WebsocketResponseError

from composition import Running
from controllers.auth import ANY_SCOPE, PUBLIC, SCOPE_ATTRIBUTE, SOCKET_ATTRIBUTE
from controllers.endpoint import async_endpoint
from controllers.gate import LONGEST_TARGET, MOST_HEADERS
from controllers.operation import begin
from models.dal import AsyncDAL
from services.caller import ADMIN, SCOPES
from tests.controllers.conftest import COMMUNITY, OWNER, SECRET_KEY, Answer, Api
from tests.listed import uuid_of

NOTHING = "00000000-0000-0000-0000-000000000000"

EXPECTED_PUBLIC = {
    "/health",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/setup.js",
    "/docs/swagger-ui.css",
    "/docs/swagger-ui-bundle.js",
}


def test_nothing_is_public_but_what_is_meant_to_be() -> None:
    assert PUBLIC == EXPECTED_PUBLIC
    assert not any("<" in rule for rule in PUBLIC)


def requests_of_the_table(api: Api) -> list[tuple[str, str, str]]:
    """Every method of every route that is not public: method, path, and the scope it names."""
    found = []
    for rule in api.app.url_map.iter_rules():
        if rule.rule in PUBLIC or rule.websocket:
            continue
        view = api.app.view_functions[rule.endpoint]
        assert hasattr(view, SCOPE_ATTRIBUTE), f"{rule.rule} names no scope"
        path = "/" + re.sub(r"<[^>]+>", NOTHING, rule.rule)
        scope = getattr(view, SCOPE_ATTRIBUTE)
        found += [(method, path, scope) for method in rule.methods or ()]
    assert len(found) > 30
    return found


def bad_credentials() -> dict[str, dict[str, str]]:
    claims = {"sub": "1", "exp": 4_102_444_800, "roles": ["admin"], "communityId": 1}
    forged = jwt.encode(claims, "somebody else's secret, long enough", algorithm="HS256")
    expired = jwt.encode({**claims, "exp": 1}, SECRET_KEY, algorithm="HS256")
    unknown = "wa-" + "0" * 64
    return {
        "none": {},
        "an empty key": {"X-API-Key": ""},
        "an unknown key": {"X-API-Key": unknown},
        "an unknown bearer key": {"Authorization": f"Bearer {unknown}"},
        "a forged token": {"Authorization": f"Bearer {forged}"},
        "an expired token": {"Authorization": f"Bearer {expired}"},
        "a token as a key": {"X-API-Key": forged},
        "a password": {"Authorization": "Basic dXNlcjpwYXNz"},
        "another user's name": {"X-Acting-User": "1"},
    }


@pytest.mark.parametrize("kind", sorted(bad_credentials()))
async def test_no_route_opens_for(api: Api, kind: str) -> None:
    credential = bad_credentials()[kind]
    for method, path, _ in requests_of_the_table(api):
        response = await api.client.open(path[1:], method=method, headers=credential)
        refused = response.status_code in (401, 429)  # 429 once the address has failed too often
        assert refused, f"{method} {path} answers {response.status_code} for {kind}"


async def test_every_route_opens_for_its_scope_and_for_no_other(api: Api) -> None:
    keys = {scope: await api.new_key(scopes=[scope]) for scope in sorted(SCOPES)}
    for method, path, needed in requests_of_the_table(api):
        if method == "OPTIONS":
            continue  # answered by the framework with the methods there are, behind the gate
        for scope, key in keys.items():
            answer = await api.call(method, path + _that_ends(path), key=key)
            opens = needed == ANY_SCOPE or scope in (needed, ADMIN)
            shut = answer.status == 403 and "scope" in _details(answer)
            assert shut is not opens, f"{method} {path} answers {answer.status} for {scope}"


def _that_ends(path: str) -> str:
    """A stream that opens would go on for ever; a wrong filter is refused behind the scope."""
    return "?colour=red" if path.endswith("/stream") else ""


def _details(answer: Answer) -> object:
    return answer.body["details"] if isinstance(answer.body, dict) else {}


async def test_every_websocket_asks_for_a_credential_and_a_scope(api: Api) -> None:
    rules = [rule for rule in api.app.url_map.iter_rules() if rule.websocket]
    assert len(rules) == 1
    for rule in rules:
        view = api.app.view_functions[rule.endpoint]
        assert hasattr(view, SCOPE_ATTRIBUTE), f"{rule.rule} names no scope"
        assert hasattr(view, SOCKET_ATTRIBUTE), f"{rule.rule} has no name for the log"
        assert "<" not in rule.rule, "the guard of handshakes compares whole paths"
        async with api.client.websocket(rule.rule) as socket:
            await socket.send('{"subscribe": {}}')
            assert '"error_code":"UNAUTHORIZED"' in str(await socket.receive())
        with pytest.raises(WebsocketResponseError) as refused:
            async with api.client.websocket(rule.rule, headers={"X-API-Key": "wa-0"}) as socket:
                await socket.receive()
        assert refused.value.response.status_code == 401


@pytest.mark.parametrize("credential", [True, False])
async def test_a_handshake_with_query_parameters_is_refused_as_any_request_is(
    api: Api, credential: bool
) -> None:
    headers = {"X-API-Key": api.key} if credential else {}
    url = "/api/v1/workflow-management/executions/ws?status=failed&x%2Fy="
    with pytest.raises(WebsocketResponseError) as refused:
        async with api.client.websocket(url, headers=headers) as socket:
            await socket.receive()
    assert refused.value.response.status_code == 400
    body = await refused.value.response.get_json()
    assert body["error_code"] == "VALIDATION_ERROR"
    assert [each["path"] for each in body["details"]] == ["/status", "/x~1y"]
    assert body["details"][0]["message"] == "unknown query parameter; known: none"
    assert '{"subscribe": {filters}}' in body["details"][0]["hint"]


async def test_an_operation_is_one_line_in_the_log(api: Api) -> None:
    workflow_id = await api.stored()
    line = api.log.getvalue().splitlines()[-1]
    assert f" AUDIT community={COMMUNITY} user={OWNER} action=create_workflow" in line
    assert f"result=SUCCESS workflow_id={workflow_id}" in line
    assert api.key not in api.log.getvalue()


async def test_a_refused_credential_is_an_auth_line(api: Api) -> None:
    await api.call("GET", "/workflows", key="wa-" + "0" * 64)
    line = api.log.getvalue().splitlines()[-1]
    assert " AUTH community=- user=- action=list_workflows result=DENIED" in line
    assert "0" * 64 not in line


async def test_a_missing_scope_is_an_authz_line(api: Api) -> None:
    key = await api.new_key(scopes=["workflows:read"])
    await api.call("POST", "/workflows", {}, key=key)
    line = api.log.getvalue().splitlines()[-1]
    assert f" AUTHZ community={COMMUNITY} user={OWNER} action=create_workflow result=DENIED" in line


async def test_asking_what_may_be_asked_is_not_doing_it(api: Api) -> None:
    """No line says that a key was made for `OPTIONS`; one that was denied is still said."""
    before = len(api.log.getvalue().splitlines())
    answer = await api.call("OPTIONS", "/api-keys")
    assert (answer.status, answer.body) == (200, "")
    assert "POST" in answer.headers["allow"]
    assert len(api.log.getvalue().splitlines()) == before
    denied = await api.call("OPTIONS", "/api-keys", key="wa-" + "0" * 64)
    assert (denied.status, denied.headers["content-type"]) == (401, "application/json")
    line = api.log.getvalue().splitlines()[-1]
    assert " AUTH community=- user=- action=options result=DENIED" in line


async def test_an_operation_whose_client_went_away_is_a_line_too(api: Api) -> None:
    @async_endpoint("slow", answers={})
    async def slow() -> Response:
        raise asyncio.CancelledError

    async with api.app.test_request_context("/slow", headers={"X-Request-ID": "r-1"}):
        begin()
        with pytest.raises(asyncio.CancelledError):
            await slow()
    line = api.log.getvalue().splitlines()[-1]
    assert "action=slow result=FAILURE request_id=r-1 " in line
    assert " status=499 " in line


async def test_g12_every_answer_ends_its_connection_once_the_service_leaves(
    api: Api, service: Running
) -> None:
    assert "connection" not in (await api.call("GET", "/workflows")).headers
    service.engine.wind_down()
    for path in ("/workflows", "/no-such-path", "//healthz"):
        assert (await api.call("GET", path)).headers["connection"] == "close"


async def test_probes_write_no_line(api: Api) -> None:
    before = api.log.getvalue()
    await api.call("GET", "//health", key=" ")
    assert api.log.getvalue() == before


async def test_operations_and_denials_become_audit_rows(
    api: Api, service: Running, dal: AsyncDAL
) -> None:
    await api.stored()
    stranger = await api.new_key(user=9, community=COMMUNITY + 1)
    await api.call("GET", "/workflows/" + "0" * 8 + "-0000-0000-0000-" + "0" * 12, key=stranger)
    await api.call("POST", "/workflows", {}, key=await api.new_key(scopes=["workflows:read"]))
    await service.state.audit.stop()
    rows = await dal.fetch("SELECT category, action, result FROM audit_log ORDER BY audit_id")
    assert [tuple(row) for row in rows] == [
        ("AUDIT", "create_workflow", "SUCCESS"),
        ("AUDIT", "get_workflow", "FAILURE"),
        ("AUTHZ", "create_workflow", "DENIED"),
    ]


async def test_a_known_caller_costs_no_statement_at_the_gate(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key, attempts and rates are looked up in memory; this path asks for nothing else."""
    asked: list[str] = []
    single = AsyncDAL._single

    async def counted(self: AsyncDAL, run: Any, query: Any, urgent: bool = False) -> Any:
        asked.append(str(query))
        return await single(self, run, query, urgent)

    assert (await api.call("GET", "/workflows/x")).status == 404
    monkeypatch.setattr(AsyncDAL, "_single", counted)
    async with asyncio.timeout(30):
        while True:  # the key is looked up again once a second, whatever the machine's pace
            asked.clear()
            for _ in range(3):
                assert (await api.call("GET", "/workflows/x")).status == 404
            if not asked:
                break


@pytest.mark.parametrize("key", [None, " "])
async def test_a_head_too_large_is_refused_before_anything_else(api: Api, key: str | None) -> None:
    many = {f"X-Many-{number}": "1" for number in range(MOST_HEADERS)}
    answer = await api.call("GET", "/status", key=key, headers=many)
    assert (answer.status, answer.code) == (431, "HEADERS_TOO_LARGE")
    answer = await api.call("GET", f"/workflows?search={'x' * LONGEST_TARGET}", key=key)
    assert (answer.status, answer.code) == (414, "URI_TOO_LONG")
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/workflows/%00"),
        ("GET", f"/workflow-management/executions/{uuid_of(1)}/steps/a%00b"),
        ("POST", f"/workflows/executions/{uuid_of(1)}/signals/a%00b"),
        ("DELETE", f"/communities/{COMMUNITY}/secrets/%00"),
        ("DELETE", f"/communities/{COMMUNITY}/members/1/roles/%00"),
        ("GET", "/nowhere/%00"),
    ],
)
async def test_a_path_with_nul_leads_nowhere(api: Api, method: str, path: str) -> None:
    answer = await api.call(method, path)
    assert (answer.status, answer.code) == (404, "NOT_FOUND")
    assert (await api.call(method, path, key="")).status in (401, 404)


@pytest.mark.parametrize("path", ["/workflows", "/workflow-management/executions/stream", "/audit"])
async def test_a_parameter_with_nul_is_refused_by_name(api: Api, path: str) -> None:
    answer = await api.call("GET", f"{path}?cursor=a%00b&x%2Fy=%00&status=draft")
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.body["details"] == [
        {"path": name, "message": "must not contain U+0000"} for name in ("/cursor", "/x~1y")
    ]
    assert (await api.call("GET", f"{path}?cursor=%00", key="")).status == 401
