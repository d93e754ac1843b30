"""Live streams among real processes: across them, through deaths, and out of a door that closes."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import aiohttp

from tests.processes import HOST, Cluster, Member, cluster, free_port, published, ready
from tests.sse import sse
from tests.waiting import PATIENCE_SECONDS

TERMINAL = ("completed", "failed", "cancelled")
SET = {"node_type": "data_transform", "config": {"transformations": {"x": "1"}}}
SLEEP = {"node_type": "action_delay", "config": {"delay_seconds": 0.4}}
NAP = {"node_type": "action_delay", "config": {"delay_seconds": 1.2}}
CLIENTS = 1_000
WAIT = {"node_type": "flow_wait", "config": {"signal": "go"}}
SEED = 7


async def member(world: Cluster, **environ: str) -> tuple[Member, str]:
    """A started process and its own URL."""
    port = free_port()
    one = await world.start(PORT=str(port), **environ)
    await one.says("action=serve")
    return one, f"http://{HOST}:{port}"


async def started(http: aiohttp.ClientSession, url: str, workflow_id: str) -> str:
    path = f"{url}/api/v1/workflows/{workflow_id}/execute"
    async with http.post(path, json={"community_id": 1}) as answer:
        body = await answer.json()
        assert answer.status == 202, body
        return str(body["data"]["execution_id"])


async def followed(
    http: aiohttp.ClientSession, urls: list[str], execution_id: str, chance: random.Random
) -> list[dict[str, Any]]:
    """Every event of an execution, read through whichever process answers and left again after a
    few events, until the end."""
    seen: list[dict[str, Any]] = []
    last = ""
    async with asyncio.timeout(120):
        while not seen or seen[-1]["status"] not in TERMINAL:
            url = f"{chance.choice(urls)}/api/v1/workflows/executions/{execution_id}/events"
            enough = len(seen) + chance.randint(1, 4)
            try:
                async with sse(http, url, Last_Event_ID=last) as stream:
                    async for event in stream.events():
                        seen.append(event)
                        last = stream.last_id
                        if len(seen) >= enough:
                            break
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.05)  # It is dead, or dying.
    return seen


async def test_g07_streams_have_every_number_once_while_workers_are_killed(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    async with cluster(tmp_path) as world:
        _, api = await member(world, ROLE="api")
        workers = [await member(world), await member(world)]
        urls = [api, *(url for _, url in workers)]
        async with aiohttp.ClientSession(headers={"X-API-Key": world.key()}) as http:
            chain = [SET, SLEEP, SET, NAP, SET, SLEEP, SET]
            workflow_id = await published(http, api, *chain)
            ids = [await started(http, url, workflow_id) for url in urls for _ in range(4)]
            following = asyncio.gather(*(followed(http, urls, each, chance) for each in ids))
            for victim, url in workers:
                await asyncio.sleep(0.5)  # in the middle of what runs
                victim.process.kill()
                await victim.ended()
                await world.start(PORT=url.rpartition(":")[2])
                await ready(http, url)
            everything = await following
            again = [await followed(http, [api], each, chance) for each in ids]
    for events, repeated in zip(everything, again, strict=True):
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert [event["status"] for event in events if event["status"] in TERMINAL] == ["completed"]
        assert events == repeated


async def test_what_one_process_runs_another_one_tells(tmp_path: Path) -> None:
    async with cluster(tmp_path) as world:
        _, api = await member(world, ROLE="api")
        _, other = await member(world)
        path = "/api/v1/workflow-management/executions"
        async with aiohttp.ClientSession(headers={"X-API-Key": world.key()}) as http:
            workflow_id = await published(http, api, SET, SLEEP, NAP)
            async with (
                sse(http, f"{api}{path}/stream?workflow_id={workflow_id}") as stream,
                http.ws_connect(f"{api}{path}/ws") as ws,
            ):
                await ws.send_json({"subscribe": {"workflow_id": workflow_id}})
                assert (await ws.receive_json())["type"] == "subscribed"
                ids = [await started(http, other, workflow_id) for _ in range(5)]
                ids += [await started(http, api, workflow_id) for _ in range(5)]
                by_stream = await _until_all_ended(stream.events(), ids)
                by_socket = await _until_all_ended(_messages(ws), ids)
            for events in (by_stream, by_socket):
                for execution_id in ids:
                    url = f"{api}/api/v1/workflows/executions/{execution_id}/events"
                    async with sse(http, url) as replay:
                        assert events[execution_id] == await replay.all()


async def test_a_thousand_clients_of_two_processes_are_all_told_everything(tmp_path: Path) -> None:
    async with cluster(tmp_path) as world:
        urls = [(await member(world))[1] for _ in range(2)]
        unlimited = aiohttp.TCPConnector(limit=0)
        headers = {"X-API-Key": world.key()}
        async with aiohttp.ClientSession(headers=headers, connector=unlimited) as http:
            workflow_id = await published(http, urls[0], SET, SLEEP, SET)
            path = f"/api/v1/workflow-management/executions/stream?workflow_id={workflow_id}"
            open_streams, begin = asyncio.Semaphore(0), asyncio.Event()
            ids: list[str] = []

            async def watching(url: str) -> dict[str, list[dict[str, Any]]]:
                async with sse(http, url + path) as stream:
                    open_streams.release()
                    await begin.wait()
                    return await _until_all_ended(stream.events(), ids)

            watchers = [asyncio.create_task(watching(urls[n % 2])) for n in range(CLIENTS)]
            async with asyncio.timeout(PATIENCE_SECONDS):
                for _ in watchers:
                    await open_streams.acquire()
            ids += [await started(http, url, workflow_id) for url in urls for _ in range(3)]
            begin.set()
            told = await asyncio.gather(*watchers)
            everything = {}
            for execution_id in ids:
                url = f"{urls[0]}/api/v1/workflows/executions/{execution_id}/events"
                async with sse(http, url) as replay:
                    everything[execution_id] = await replay.all()
    assert all(events == everything for events in told)


async def _messages(ws: aiohttp.ClientWebSocketResponse) -> Any:
    async for message in ws:
        yield json.loads(message.data)


async def _until_all_ended(events: Any, ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The events of each execution, until all have ended."""
    told: dict[str, list[dict[str, Any]]] = {each: [] for each in ids}
    left = set(ids)
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for event in events:
            assert event["type"] == "execution_update", event
            told[event["execution_id"]].append(event)
            if event["status"] in TERMINAL:
                left.discard(event["execution_id"])
            if not left:
                return told
    raise AssertionError("the stream ended")


async def test_g12_a_process_leaves_in_time_though_streams_are_open_and_some_are_not_read(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as world:
        one, url = await member(world, SHUTDOWN_GRACE_SECONDS=str(2 * PATIENCE_SECONDS))
        _, other = await member(world)
        async with aiohttp.ClientSession(headers={"X-API-Key": world.key()}) as http:
            workflow_id = await published(http, url, WAIT)
            execution_id = await started(http, url, workflow_id)
            events = f"/api/v1/workflows/executions/{execution_id}/events"
            streams = "/api/v1/workflow-management/executions/stream"
            async with sse(http, url + events) as stream, sse(http, url + streams) as unread:
                assert unread.answer.connection is not None
                transport = unread.answer.connection.transport
                assert isinstance(transport, asyncio.ReadTransport)
                transport.pause_reading()
                await _flooded(http, other, await published(http, url, *([SET] * 40)))
                one.terminate()
                seen = await stream.all()
                assert stream.retry is not None
                assert await one.ended() == 0
            path = f"{other}/api/v1/workflows/executions/{execution_id}/signals/go"
            async with http.post(path, json={}) as answer:
                assert answer.status == 202, await answer.text()
            async with sse(http, other + events, Last_Event_ID=stream.last_id) as rest:
                seen += await rest.all()
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1]["status"] == "completed"


async def _flooded(http: aiohttp.ClientSession, url: str, workflow_id: str) -> None:
    """More events than a socket and its client's buffers hold."""
    path = f"{url}/api/v1/workflows/{workflow_id}/execute/batch"
    for _ in range(3):
        async with http.post(path, json={"items": [{"community_id": 1}] * 200}) as answer:
            assert answer.status == 202, await answer.text()
            ids = [item["execution_id"] for item in (await answer.json())["data"]["items"]]
        async with sse(http, f"{url}/api/v1/workflows/executions/{ids[-1]}/events") as last:
            await last.all()
