"""Default deny, and one line per operation."""

from __future__ import annotations

import asyncio
import re

import pytest
from quart import Response
from quart.testing import WebsocketResponseError

from app import Running
from controllers.auth import PUBLIC, SCOPE_ATTRIBUTE, SOCKET_ATTRIBUTE
from controllers.endpoint import async_endpoint
from controllers.operation import begin
from models.dal import AsyncDAL
from tests.controllers.conftest import COMMUNITY, OWNER, Api

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


async def test_every_other_route_asks_for_a_credential_and_a_scope(api: Api) -> None:
    nothing = "00000000-0000-0000-0000-000000000000"
    checked = 0
    for rule in api.app.url_map.iter_rules():
        if rule.rule in PUBLIC or rule.websocket:
            continue
        view = api.app.view_functions[rule.endpoint]
        assert hasattr(view, SCOPE_ATTRIBUTE), f"{rule.rule} names no scope"
        path = re.sub(r"<[^>]+>", nothing, rule.rule)
        for method in rule.methods or ():
            answer = await api.call(method, f"/{path}", key=" ")
            assert answer.status == 401, f"{method} {rule.rule}"
            checked += 1
    assert checked > 15


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


async def test_an_operation_whose_client_went_away_is_a_line_too(api: Api) -> None:
    @async_endpoint("slow", answers={})
    async def slow() -> Response:
        raise asyncio.CancelledError

    async with api.app.test_request_context("/slow"):
        begin("r-1")
        with pytest.raises(asyncio.CancelledError):
            await slow()
    line = api.log.getvalue().splitlines()[-1]
    assert "action=slow result=FAILURE request_id=r-1 status=499" in line


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
