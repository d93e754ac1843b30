"""One execution as a stream: every number once, whenever one comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from composition import Running
from config import Config
from controllers.live_answers import ExecutionUpdate
from models.dal import AsyncDAL
from services.clock import new_id
from tests.controllers.conftest import COMMUNITY, OWNER, Api
from tests.live_world import Served, served, start
from tests.sse import sse

LOOP = {
    "nodes": {
        "start": {"node_type": "trigger_command", "config": {"command": "!go"}},
        "each": {
            "node_type": "loop_foreach",
            "config": {"array_variable": "names", "item_variable": "name"},
        },
        "say": {"node_type": "action_chat_message", "config": {"message": "Hi, {{ name }}!"}},
        "end": {"node_type": "data_transform", "config": {"transformations": {"x": "1"}}},
    },
    "connections": [
        {"from_node_id": "start", "to_node_id": "each"},
        {"from_node_id": "each", "from_port_name": "loop", "to_node_id": "say"},
        {"from_node_id": "each", "from_port_name": "done", "to_node_id": "end"},
    ],
}
WAIT = {
    "nodes": {
        "start": {"node_type": "trigger_command", "config": {"command": "!go"}},
        "ask": {"node_type": "flow_wait", "config": {"signal": "go", "timeout": 3600}},
    },
    "connections": [{"from_node_id": "start", "to_node_id": "ask"}],
}


@pytest.fixture
async def world(service: Running, api: Api, database_url: str) -> AsyncIterator[Served]:
    async with served(service, Config(database_url=database_url)) as world:
        yield world


@pytest.fixture
async def http(api: Api) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"X-API-Key": api.key}) as session:
        yield session


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


async def collected(http: aiohttp.ClientSession, url: str, **headers: str) -> list[dict[str, Any]]:
    async with sse(http, url, **headers) as stream:
        return await stream.all()


async def test_g07_a_stream_has_every_number_and_ends_with_the_end(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    workflow_id = await api.stored(**LOOP)
    variables = {"names": ["Ada", "Grace", "Edsger"]}
    execution_id = await start(http, world.url, workflow_id, variables=variables)
    events = await collected(http, world.events(execution_id))
    state = (await api.call("GET", f"/workflows/executions/{execution_id}")).data
    assert numbers(events) == list(range(1, len(events) + 1))
    assert [event["status"] for event in events][:1] == ["pending"]
    assert events[-1]["status"] == "completed"
    assert events[-1]["progress"] == {"current_step": 4, "total_steps": 4, "percentage": 100.0}
    told = [event["node"]["step_key"] for event in events if "node" in event]
    assert {step["step_key"] for step in state["steps"]} == set(told)
    for event in events:
        ExecutionUpdate.model_validate(event)
    again = await collected(http, world.events(execution_id))
    assert again == events


async def test_g07_a_stream_resumes_behind_any_number(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    workflow_id = await api.stored()
    execution_id = await start(http, world.url, workflow_id)
    url = world.events(execution_id)
    events = await collected(http, url)
    last = len(events)
    for seen in range(1, last):
        assert await collected(http, url, Last_Event_ID=str(seen)) == events[seen:]
        assert await collected(http, f"{url}?last_event_id={seen}") == events[seen:]
    async with http.get(url, headers={"Last-Event-ID": str(last)}) as answer:
        assert (answer.status, await answer.read()) == (204, b"")


async def test_a_stream_of_a_parked_execution_waits_and_goes_on(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    workflow_id = await api.stored(**WAIT)
    execution_id = await start(http, world.url, workflow_id)
    seen: list[dict[str, Any]] = []
    async with sse(http, world.events(execution_id)) as stream:
        async for event in stream.events():
            seen.append(event)
            if event["status"] == "waiting":
                path = f"/workflows/executions/{execution_id}/signals/go"
                assert (await api.call("POST", path, {"payload": 1})).status == 202
        assert stream.last_id == str(len(seen))
    assert [event["status"] for event in seen] == [
        "pending", "running", "waiting", "running", "completed",
    ]  # fmt: skip
    assert "Waiting for the signal 'go'" in seen[2]["node"]["logs"][0]["message"]


async def test_an_execution_cancelled_while_nobody_held_it_ends_its_stream(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    workflow_id = await api.stored(**WAIT)
    execution_id = await start(http, world.url, workflow_id)
    async with sse(http, world.events(execution_id)) as stream:
        seen = []
        async for event in stream.events():
            seen.append(event)
            if event["status"] == "waiting":
                done = await api.call("POST", f"/workflows/executions/{execution_id}/cancel")
                assert done.status == 200
    assert numbers(seen) == [1, 2, 3, 4]
    assert seen[-1]["status"] == "cancelled"


async def test_g07_a_pause_and_its_end_are_events_with_numbers_of_their_own(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    workflow_id = await api.stored(**WAIT)
    execution_id = await start(http, world.url, workflow_id)
    path, url = f"/workflows/executions/{execution_id}", world.events(execution_id)
    seen: list[dict[str, Any]] = []
    answers: list[str] = []
    async with sse(http, url) as stream:
        async for event in stream.events():
            seen.append(event)
            if event["status"] == "waiting" and "node" in event:
                answers.append((await api.call("POST", f"{path}/pause")).data["status"])
            elif event["status"] == "paused":
                await api.call("POST", f"{path}/pause")  # It is already: nothing to tell.
                answers.append((await api.call("POST", f"{path}/resume")).data["status"])
            elif event["status"] == "waiting":
                await api.call("POST", f"{path}/resume")
                await api.call("POST", f"{path}/signals/go", {"payload": 1})
    assert [event["status"] for event in seen] == [
        "pending", "running", "waiting", "paused", "waiting", "running", "completed",
    ]  # fmt: skip
    assert numbers(seen) == list(range(1, 8))
    assert answers == ["paused", "waiting"]
    assert ["node" in event for event in seen[3:5]] == [False, False]
    assert seen[3]["progress"] == seen[2]["progress"]
    for event in seen:
        ExecutionUpdate.model_validate(event)
    for last in range(1, 7):
        assert await collected(http, url, Last_Event_ID=str(last)) == seen[last:]


async def test_a_call_that_finishes_is_told_before_the_pause_that_waited_for_it(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    nap = {"node_type": "action_delay", "config": {"delay_ms": 700}}
    nodes = {**WAIT["nodes"], "nap": nap}  # type: ignore[dict-item]  # JSON
    edges = [("start", "nap"), ("nap", "ask")]
    connections = [{"from_node_id": one, "to_node_id": other} for one, other in edges]
    workflow_id = await api.stored(nodes=nodes, connections=connections)
    async with sse(http, f"{world.streams}?workflow_id={workflow_id}") as stream:
        execution_id = await start(http, world.url, workflow_id)
        path = f"/workflows/executions/{execution_id}"
        seen = []
        async for event in stream.events():
            seen.append(event)
            if len(seen) == 2:
                await api.call("POST", f"{path}/pause")
            elif event["status"] == "paused":
                await api.call("POST", f"{path}/cancel")
            elif event["status"] == "cancelled":
                break
    assert seen == await collected(http, world.events(execution_id))
    assert numbers(seen) == list(range(1, len(seen) + 1))
    assert [event["status"] for event in seen][-2:] == ["paused", "cancelled"]


async def test_streams_are_filtered_by_paused(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    workflow_id = await api.stored(**WAIT)
    async with sse(http, f"{world.streams}?status=paused") as stream:
        execution_id = await start(http, world.url, workflow_id)
        await api.call("POST", f"/workflows/executions/{execution_id}/pause")
        async for event in stream.events():
            assert (event["execution_id"], event["status"]) == (execution_id, "paused")
            break


async def test_a_retry_tells_what_it_reuses(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    workflow_id = await api.stored()
    execution_id = await start(http, world.url, workflow_id)
    first = await collected(http, world.events(execution_id))
    retried = await api.call(
        "POST", f"/workflows/executions/{execution_id}/retry", {"from": "greet"}
    )
    again = await collected(http, world.events(retried.data["execution_id"]))
    assert numbers(again) == numbers(first) == [1, 2, 3, 4]
    assert [event["node"]["reused"] for event in again if "node" in event] == [True, False]
    assert again[1]["node"]["logs"][0]["message"] == f"Reused from execution {execution_id}."


async def test_a_number_whose_record_was_refused_is_told_without_a_node(
    world: Served, api: Api, http: aiohttp.ClientSession, dal: AsyncDAL
) -> None:
    workflow_id = await api.stored()
    execution_id = await start(http, world.url, workflow_id)
    await collected(http, world.events(execution_id))
    await dal.execute("DELETE FROM workflow_steps WHERE seq = 2")
    events = await collected(http, world.events(execution_id))
    assert numbers(events) == [1, 2, 3, 4]
    assert "node" not in events[1]


@pytest.mark.parametrize("sent", ["-1", "one", "1.5", "99999999999", "9" * 5_000])
async def test_what_is_no_number_cannot_be_resumed_from(
    world: Served, api: Api, http: aiohttp.ClientSession, sent: str
) -> None:
    url = world.events(new_id())
    parameter = f"{url}?last_event_id={sent}"
    for path, headers in (
        (url, {"Last-Event-ID": sent}),
        (parameter, {}),
        (parameter, {"Last-Event-ID": "1"}),
    ):
        async with http.get(path, headers=headers) as answer:
            body = await answer.json()
            assert (answer.status, body["error_code"]) == (400, "VALIDATION_ERROR")
            assert "whole number" in body["message"]


async def test_streams_are_for_those_who_may_see_the_execution(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    workflow_id = await api.stored()
    execution_id = await start(http, world.url, workflow_id)
    url = f"/workflows/executions/{execution_id}/events"
    stranger = await api.new_key(OWNER + 1, COMMUNITY + 1)
    neighbour = await api.new_key(OWNER + 1, COMMUNITY)
    blind = await api.new_key(scopes=["workflows:read"])
    unknown = await api.call("GET", f"/workflows/executions/{new_id()}/events")
    seen = await api.call("GET", url, key=stranger)
    assert (seen.status, seen.body) == (404, unknown.body)
    assert (await api.call("GET", url, key=neighbour)).status == 403
    assert (await api.call("GET", url, key=blind)).status == 403


async def test_many_follow_executions_at_once_and_miss_nothing(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    workflow_id = await api.stored(**LOOP)
    variables = {"names": ["Ada", "Grace"]}

    async def one() -> list[int]:
        execution_id = await start(http, world.url, workflow_id, variables=variables)
        return numbers(await collected(http, world.events(execution_id)))

    everything = await asyncio.gather(*(one() for _ in range(60)))
    assert {tuple(each) for each in everything} == {tuple(range(1, len(everything[0]) + 1))}
