"""Several processes behind one address: every count is some process's, and none is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from chaos.database import Database
from models.dal import AsyncDAL
from models.rollups import Rollups
from tests.processes import cluster, ends, published
from tests.scraping import DATABASE, ENGINE, Samples, names, samples

SET = {"node_type": "data_transform", "config": {"transformations": {"x": "1"}}}
EXECUTIONS = 40


async def test_processes_behind_one_address_count_apart_and_miss_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as world:
        for _ in range(2):
            member = await world.shared(METRICS_PROCESS="pid")
            await member.says("action=serve")
        numbers = {str(member.process.pid) for member in world.members}
        headers = {"X-API-Key": world.key()}
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
            workflow_id = await published(http, world.url, SET)
            path = f"{world.url}/api/v1/workflows/{workflow_id}/execute"
            started = []
            for _ in range(EXECUTIONS):
                async with http.post(path, json={"community_id": 1}) as answer:
                    started.append((await answer.json())["data"]["execution_id"])
            for execution_id in started:
                assert (await ends(http, world.url, execution_id))["status"] == "completed"
            found = await _of_each(http, world.url, numbers)

        completed = {
            number: page["workflow_executions_total", _labels(number, status="completed")]
            for number, page in found.items()
        }
        assert sum(completed.values()) == EXECUTIONS
        for page in found.values():
            for name in DATABASE:
                assert page[name, frozenset()] == 0
            assert page["workflow_database_up", frozenset()] == 1


async def _of_each(http: aiohttp.ClientSession, url: str, numbers: set[str]) -> dict[str, Samples]:
    """What each process says, whichever of them answers."""
    found: dict[str, Samples] = {}
    async with asyncio.timeout(60):
        while found.keys() != numbers:
            async with http.get(f"{url}/metrics") as answer:
                assert answer.status == 200
                text = await answer.text()
            labels = names(text)
            assert all(labels[name] == ENGINE[name] | {"process"} for name in ENGINE)
            page = samples(text)
            (number,) = {dict(of).get("process") for _, of in page} - {None}
            found[str(number)] = page
    return found


def _labels(number: str, **labels: str) -> frozenset[tuple[str, str]]:
    return frozenset({"process": number, **labels}.items())


async def test_processes_that_are_killed_leave_nothing_uncounted_or_counted_twice(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as world:
        first, second = [await world.shared() for _ in range(2)]
        for member in (first, second):
            await member.says("action=serve")
        connector = aiohttp.TCPConnector(force_close=True)
        headers = {"X-API-Key": world.key()}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
            workflow_id = await published(http, world.url, *[SET] * 5)
            items = [{"community_id": 1} for _ in range(300)]
            path = f"{world.url}/api/v1/workflows/{workflow_id}/execute/batch"
            async with http.post(path, json={"items": items}) as answer:
                started = [each["execution_id"] for each in (await answer.json())["data"]["items"]]
            first.process.kill()
            await first.ended()
            for execution_id in started:
                assert (await ends(http, world.url, execution_id))["status"] == "completed"
            path = f"{world.url}/api/v1/workflow-management/metrics?workflow_id={workflow_id}"
            async with http.get(path) as answer:
                totals = (await answer.json())["totals"]
        assert totals["by_status"] == {"completed": len(started), "failed": 0, "cancelled": 0}
        assert {node["runs"] for node in totals["slowest_nodes"]} == {len(started)}
        database = await Database.join(world.home / "data")
        try:
            async with AsyncDAL(database.server.dsn, min_size=1, max_size=2) as dal:
                assert sum([corrected async for corrected in Rollups(dal).rebuild()]) == 0
        finally:
            await asyncio.to_thread(database.server.stop)
