"""G12: real processes behind one port are replaced under load, and no client notices."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from models.embedded import start_embedded
from tests.peer import calling, peer
from tests.processes import HOST, Cluster, Member, cluster, ends, free_port, published, ready
from tests.waiting import PATIENCE_SECONDS, until

NEVER = str(2 * PATIENCE_SECONDS)
"""A grace time that no test waits out."""
PAUSE_SECONDS = 0.05
TWICE_AROUND = 4
EXECUTE = {"community_id": 1}


@dataclass
class Load:
    """Callers that repeat nothing: every answer that is no success is a failed request."""

    url: str
    workflow_id: str
    key: str
    over: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledged: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    served: int = 0

    async def run(self, path: str, *, keep_alive: bool) -> None:
        connector = aiohttp.TCPConnector(limit=1, force_close=not keep_alive)
        headers = {"X-API-Key": self.key}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
            while not self.over.is_set():
                await self._ask(http, f"{self.url}/api/v1/workflows/{self.workflow_id}{path}")
                await asyncio.sleep(PAUSE_SECONDS)

    async def has_served(self, count: int) -> None:
        await until(lambda: self.served >= count)

    async def _ask(self, http: aiohttp.ClientSession, url: str) -> None:
        reading = url.endswith("/executions")
        method, body = ("GET", None) if reading else ("POST", EXECUTE)
        try:
            async with http.request(method, url, json=body) as answer:
                said = await answer.json()
        except (aiohttp.ClientError, OSError) as error:
            self.failed.append(f"{method} {url}: {error!r}")
            return
        self.served += 1
        if answer.status not in (200, 202):
            self.failed.append(f"{method} {url}: {answer.status} {said}")
        elif not reading:
            self.acknowledged.append(said["data"]["execution_id"])


async def member(world: Cluster) -> Member:
    made = await world.shared(SHUTDOWN_GRACE_SECONDS=NEVER)
    await made.says("action=serve")
    return made


async def recovered(home: Path) -> list[Any]:
    """Of each execution: its status and how often it was taken over from a dead worker."""
    server = await asyncio.to_thread(start_embedded, home / "data")
    try:
        connection = await asyncpg.connect(server.dsn)
        try:
            return list(
                await connection.fetch(
                    "SELECT execution_id::text, status, recoveries FROM workflow_executions"
                )
            )
        finally:
            await connection.close()
    finally:
        await asyncio.to_thread(server.stop)


async def test_g12_a_rolling_restart_under_load_fails_no_request(tmp_path: Path) -> None:
    async with peer() as outside, cluster(tmp_path) as world:
        serving = deque([await member(world), await member(world)])
        async with aiohttp.ClientSession(headers={"X-API-Key": world.key()}) as http:
            steps = [calling(f"{outside.url}/quick") for _ in range(4)]
            workflow_id = await published(http, world.url, *steps)
            load = Load(world.url, workflow_id, world.key())
            paths = ("/execute", "/executions", "/execute?wait=10")
            ways = [(path, kept) for path in paths for kept in (True, False)]
            callers = [asyncio.create_task(load.run(path, keep_alive=k)) for path, k in ways]
            statuses = []
            for _ in range(TWICE_AROUND):
                before = load.served
                serving.append(await member(world))
                leaving = serving.popleft()
                leaving.terminate()
                statuses.append(await leaving.ended())
                await load.has_served(before + 60)
                assert [each.process.returncode for each in serving] == [None, None]
            load.over.set()
            await asyncio.gather(*callers)
            assert load.failed == []
            assert statuses == [0] * TWICE_AROUND
            states = [await ends(http, world.url, one) for one in load.acknowledged]
            assert {state["status"] for state in states} == {"completed"}
            assert len(states) > 20
        rows = await recovered(tmp_path)
        assert {row["recoveries"] for row in rows} == {0}
        assert {row["status"] for row in rows} == {"completed"}
        assert [key for key, count in outside.keys.items() if count > 1] == []
        assert len(outside.keys) == 4 * len(rows)


async def test_g12_a_step_that_ends_within_the_grace_time_is_not_repeated(tmp_path: Path) -> None:
    async with peer() as outside, cluster(tmp_path) as world:
        first = await world.shared(SHUTDOWN_GRACE_SECONDS=NEVER)
        await first.says("action=serve")
        idle_nowhere = aiohttp.TCPConnector(force_close=True)  # or the process lingers for it
        headers = {"X-API-Key": world.key()}
        async with aiohttp.ClientSession(connector=idle_nowhere, headers=headers) as http:
            workflow_id = await published(http, world.url, calling(f"{outside.url}/held"))
            url = f"{world.url}/api/v1/workflows/{workflow_id}/execute"
            async with http.post(url, json=EXECUTE) as answer:
                execution_id = (await answer.json())["data"]["execution_id"]
            await outside.called("/held")
            first.terminate()
            await member(world)  # which would take over what the first had let go of
            assert first.process.returncode is None
            outside.let_go()
            assert await first.ended() == 0
            state = await ends(http, world.url, execution_id)
            assert state["status"] == "completed"
        assert list(outside.keys.values()) == [1]


async def test_g12_a_step_that_outlasts_the_grace_time_is_handed_over(tmp_path: Path) -> None:
    async with peer() as outside, cluster(tmp_path) as world:
        first = await world.shared(SHUTDOWN_GRACE_SECONDS="1")
        await first.says("action=serve")
        async with aiohttp.ClientSession(headers={"X-API-Key": world.key()}) as http:
            workflow_id = await published(http, world.url, calling(f"{outside.url}/held"))
            url = f"{world.url}/api/v1/workflows/{workflow_id}/execute"
            async with http.post(url, json=EXECUTE) as answer:
                execution_id = (await answer.json())["data"]["execution_id"]
            await outside.called("/held")
            await member(world)
            first.terminate()
            assert await first.ended() == 0
            outside.let_go()
            state = await ends(http, world.url, execution_id)
            assert state["status"] == "completed"
        (row,) = await recovered(tmp_path)
        assert row["recoveries"] == 0
        assert list(outside.keys.values()) == [2]  # cut off and repeated, with the same key


async def test_g12_who_waits_for_an_end_is_answered_when_the_process_leaves(
    tmp_path: Path,
) -> None:
    async with peer() as outside, cluster(tmp_path) as world:
        port = free_port()
        url = f"http://{HOST}:{port}"
        lone = await world.start(PORT=str(port), SHUTDOWN_GRACE_SECONDS=NEVER)
        await lone.says("action=serve")
        async with aiohttp.ClientSession(headers={"X-API-Key": world.key()}) as http:
            workflow_id = await published(http, url, calling(f"{outside.url}/held"))
            path = f"{url}/api/v1/workflows/{workflow_id}/execute?wait=60"
            waiting = asyncio.create_task(http.post(path, json=EXECUTE))
            await outside.called("/held")
            lone.terminate()
            answer = await waiting
            assert answer.status == 202
            assert answer.headers["Connection"] == "close"
            assert (await answer.json())["data"]["status"] == "running"
        lone.terminate()  # a second word: the grace time is over, and nobody frees the step
        assert await lone.ended() == 0


async def test_g12_readiness_fails_at_once_and_the_port_is_served_for_the_delay(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as world:
        port = free_port()
        url = f"http://{HOST}:{port}"
        lone = await world.start(
            PORT=str(port), SHUTDOWN_GRACE_SECONDS=NEVER, SHUTDOWN_DELAY_SECONDS=NEVER
        )
        await lone.says("action=serve")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            await ready(http, url)
            lone.terminate()
            await lone.says("action=drain")
            async with http.get(f"{url}/healthz") as answer:
                assert answer.status == 503
                assert (await answer.json())["status"] == "draining"
        lone.terminate()
        assert await lone.ended() == 0
