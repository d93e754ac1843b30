"""`GET /metrics`: what stands there, who may read it, and that it is always there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from composition import Running
from controllers.state import EXTENSION
from engine.errors import StoreUnavailable
from models.backlog import Backlogs
from services import scrape as scraping
from tests.controllers.conftest import COMMUNITY, Answer, Api, greeting
from tests.scraping import DATABASE, ENGINE, names, value
from tests.waiting import PATIENCE_SECONDS, until

NOBODY = " "


async def scraped(api: Api, client: str = "127.0.0.1", **headers: str) -> Answer:
    return await api.call(
        "GET", "//metrics", key=NOBODY, scope_base={"client": (client, 40_000)}, headers=headers
    )


async def page(api: Api) -> str:
    answer = await scraped(api)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return str(answer.body)


async def ran(api: Api, **changes: Any) -> None:
    path = f"/workflows/{await api.stored(**changes)}/execute?wait=20"
    body = {"community_id": COMMUNITY, "variables": {"username": "Ada"}}
    answer = await api.call("POST", path, body)
    assert answer.status == 200, answer.body


async def told(api: Api, expected: float, name: str, **labels: str) -> str:
    """The page, once it says that."""
    found = ""

    async def says() -> bool:
        nonlocal found
        found = await page(api)
        return value(found, name, **labels) == expected

    await until(says)
    return found


async def test_every_metric_of_the_contract_is_there(api: Api) -> None:
    await ran(api)

    found = names(await page(api))

    assert {name: found.get(name) for name in ENGINE | DATABASE} == ENGINE | DATABASE
    assert found["workflow_database_up"] == set()
    assert found["workflow_http_requests_total"] == {"method", "route", "status"}
    assert found["workflow_http_request_seconds"] == {"method", "route"}
    assert "process_resident_memory_bytes" in found


async def test_what_an_execution_took_is_counted(api: Api) -> None:
    before = await page(api)
    await ran(api)
    after = await told(api, 1, "workflow_executions_total", status="completed")

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("workflow_executions_total", status="failed") == 0
    assert grown("workflow_execution_seconds_count") == 1
    assert grown("workflow_execution_seconds_sum") > 0
    assert grown("workflow_queue_seconds_count") == 1
    assert grown("workflow_step_seconds_count", node_type="trigger_command") == 1
    assert grown("workflow_step_seconds_count", node_type="action_chat_message") == 1
    flushes = grown("workflow_journal_flush_seconds_count")
    assert flushes >= 2
    assert grown("workflow_journal_batch_rows_count") == flushes
    assert grown("workflow_journal_batch_rows_sum") >= 4
    assert grown("workflow_journal_batch_rows_bucket", le="+Inf") == flushes


async def test_what_waits_is_told_from_the_database(api: Api) -> None:
    nodes = greeting()["nodes"] | {
        "greet": {"node_type": "action_delay", "config": {"delay_seconds": 200}}
    }
    workflow_id = await api.stored(nodes=nodes)
    path = f"/workflows/{workflow_id}/execute"
    started = (await api.call("POST", path, {"community_id": COMMUNITY})).data["execution_id"]
    await told(api, 1, "workflow_parked")
    await told(api, 0, "workflow_in_flight")

    assert (await api.call("POST", f"/workflows/executions/{started}/cancel")).status == 200

    assert value(await page(api), "workflow_executions_total", status="cancelled") == 1


async def test_a_database_that_is_away_takes_only_its_own_figures_along(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: Backlogs) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(Backlogs, "look", away)

    found = await page(api)

    assert value(found, "workflow_database_up") == 0
    assert not names(found).keys() & DATABASE.keys()
    assert ENGINE.keys() <= names(found).keys()


async def test_a_database_that_hangs_is_asked_once_and_not_waited_for(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = 0, asyncio.Event()
    look = Backlogs.look

    async def hangs(self: Backlogs) -> Any:
        nonlocal asked
        asked += 1
        await answers.wait()
        return await look(self)

    monkeypatch.setattr(Backlogs, "look", hangs)
    monkeypatch.setattr(scraping, "PATIENCE_SECONDS", 0.05)
    async with asyncio.timeout(PATIENCE_SECONDS):
        pages = await asyncio.gather(*(page(api) for _ in range(5)))
    assert {value(one, "workflow_database_up") for one in pages} == {0}
    assert asked == 1

    answers.set()
    assert "workflow_pending" in names(await told(api, 1, "workflow_database_up"))


async def test_requests_are_counted_by_route_and_not_by_path(api: Api) -> None:
    workflow_id = await api.stored()
    for name in (workflow_id, "0190a000-0000-7000-8000-000000000404", "x"):
        await api.call("GET", f"/workflows/{name}")
    for name in "abc":
        await api.call("GET", f"//nowhere/{name}")
    await api.call("BREW", "/workflows")

    found = await page(api)

    def requests(method: str, route: str, status: str) -> float:
        labels = {"method": method, "route": route, "status": status}
        return value(found, "workflow_http_requests_total", **labels)

    route = "/api/v1/workflows/<workflow_id>"
    assert requests("GET", route, "200") == 1
    assert requests("GET", route, "404") == 2
    assert requests("GET", "unknown", "404") == 3
    assert requests("other", "unknown", "405") == 1
    seconds = value(found, "workflow_http_request_seconds_count", method="GET", route=route)
    assert seconds == 3
    assert workflow_id not in found
    assert "nowhere" not in found


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
async def test_the_machine_itself_may_ask_without_a_token(api: Api, client: str) -> None:
    assert (await scraped(api, client)).status == 200


@pytest.mark.parametrize("client", ["10.0.0.5", "203.0.113.9", "::ffff:10.0.0.5", "<local>", ""])
async def test_nobody_else_may(api: Api, client: str) -> None:
    answer = await scraped(api, client)

    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert "METRICS_TOKEN" in answer.body["message"]
    assert "AUTH community=- user=- action=scrape result=DENIED" in api.log.getvalue()


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
async def test_what_a_proxy_has_passed_on_is_not_the_machines_own(api: Api, header: str) -> None:
    assert (await scraped(api, **{header: "127.0.0.1"})).status == 401


async def test_with_a_token_it_is_the_token_that_counts(api: Api, service: Running) -> None:
    token = "a token of the operators"
    api.app.extensions[EXTENSION] = replace(service.state, metrics_token=token)

    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {token}"},
        {"Authorization": token},
        {"Authorization": f"Bearer {api.key}"},
        {"X-API-Key": api.key},
    ):
        assert (await scraped(api, **headers)).status == 401, headers
    for client in ("127.0.0.1", "10.0.0.5"):
        assert (await scraped(api, client, Authorization=f"Bearer {token}")).status == 200
    assert token not in api.log.getvalue()
