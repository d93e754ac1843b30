"""G1: an embedded database that dies under running processes is started again by one of them, and
what was accepted before is done after."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import aiohttp
import psutil
import pytest
from fasteners import InterProcessLock

from tests.processes import HOST, Cluster, cluster, ends, free_port, published
from tests.processes import ready as is_ready
from tests.waiting import until

SET = {"node_type": "data_transform", "config": {"transformations": {"x": "1"}}}
PARKED = {"node_type": "action_delay", "config": {"delay_seconds": 2}}
RESTARTED = "action=database_restart result=SUCCESS"


def postmaster(world: Cluster) -> int:
    text = (world.home / "data" / "postgres" / "postmaster.pid").read_text()
    return int(text.partition("\n")[0])


@pytest.mark.parametrize("ending", [signal.SIGQUIT, signal.SIGKILL])
async def test_g01_a_database_that_was_killed_is_started_again_and_goes_with_the_last_process(
    ending: signal.Signals, tmp_path: Path
) -> None:
    async with cluster(tmp_path) as world:
        first = await world.shared()
        await first.says("action=serve")
        port = free_port()
        second = await world.start(PORT=str(port))
        await second.says("action=serve")
        urls = [world.url, f"http://{HOST}:{port}"]
        async with aiohttp.ClientSession(headers={"X-API-Key": world.key()}) as http:
            workflow_id = await published(http, world.url, PARKED, SET)
            path = f"{world.url}/api/v1/workflows/{workflow_id}/execute"
            async with http.post(path, json={"community_id": 1}) as answer:
                execution_id = (await answer.json())["data"]["execution_id"]
                assert answer.status == 202

            before = postmaster(world)

            async def refused() -> bool:
                async with http.get(f"{world.url}/healthz") as answer:
                    return answer.status == 503

            with InterProcessLock(tmp_path / "data" / "postgres.lock"):  # nobody may start it yet
                os.kill(before, ending)
                await until(refused)
            for url in urls:
                await is_ready(http, url)
            assert (await ends(http, world.url, execution_id))["status"] == "completed"
        after = postmaster(world)
        assert after != before
        said = [member.printed().count(RESTARTED) for member in (first, second)]
        assert sum(said) == 1, [first.printed(), second.printed()]
        for member in (first, second):
            assert psutil.pid_exists(after)
            member.terminate()
            assert await member.ended() == 0
        assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()
