"""Real processes that count together: one limit, and a server that nobody waits for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from tests.processes import Cluster, cluster, free_port
from tests.valkey import Valkey, valkey
from tests.waiting import PATIENCE_SECONDS

LIMIT = 30
GIVEN_BACK = 10
"""More than a limit gives back in the time that asking takes on any machine."""

SERVED, LIMITED = 200, 429


async def _two(world: Cluster, server: Valkey) -> list[str]:
    urls = []
    for _ in range(2):
        port = free_port()
        member = await world.start(
            PORT=str(port), REDIS_URL=server.url, RATE_LIMIT_PER_USER=str(LIMIT)
        )
        await member.says("action=serve")
        urls.append(f"http://127.0.0.1:{port}/api/v1/status")
    return urls


async def _asked(http: aiohttp.ClientSession, urls: list[str], times: int) -> list[int]:
    """The statuses of so many requests to each, in turn. No answer may keep one waiting."""
    found = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in range(times):
            for url in urls:
                async with http.get(url) as answer:
                    found.append(answer.status)
    return found


async def test_a_limit_is_one_over_processes_and_no_trouble_of_its_server_is_a_caller_s(
    tmp_path: Path,
) -> None:
    async with valkey(tmp_path) as server, cluster(tmp_path) as world:
        urls = await _two(world, server)
        async with aiohttp.ClientSession(headers={"X-API-Key": world.key()}) as http:
            together = await _asked(http, urls, LIMIT)
            assert set(together) == {SERVED, LIMITED}
            assert LIMIT <= together.count(SERVED) <= LIMIT + GIVEN_BACK

            server.freeze()
            frozen = await _asked(http, urls, LIMIT)
            assert set(frozen) <= {SERVED, LIMITED}
            assert LIMITED in frozen, "each process still has a limit, of its own"

            server.kill()
            assert set(await _asked(http, urls, 3)) <= {SERVED, LIMITED}
            await server.start()
            for member in world.members:
                await member.says("action=share_rates result=SUCCESS over_after_seconds=")

            again = await _asked(http, urls, LIMIT)
            assert LIMIT <= again.count(SERVED) <= LIMIT + GIVEN_BACK
            for member in world.members:
                printed = member.printed()
                began = printed.count("action=share_rates result=FAILURE")
                assert began == printed.count("action=share_rates result=SUCCESS")
                assert "Traceback" not in printed


async def test_a_service_starts_without_its_server_and_says_so(tmp_path: Path) -> None:
    async with cluster(tmp_path) as world:
        url = f"redis://:hunter2@127.0.0.1:{free_port()}"
        member = await world.start(PORT=str(free_port()), REDIS_URL=url)
        await member.says("action=serve")
        assert "action=share_rates result=FAILURE" in member.printed()
        assert "hunter2" not in member.printed()


async def test_a_url_that_is_none_stops_the_start_and_is_not_shown(tmp_path: Path) -> None:
    async with cluster(tmp_path) as world:
        member = await world.start(REDIS_URL="http://host?password=hunter2")
        assert await member.ended() == 2
        assert "REDIS_URL is a value; it must be a URL such as redis://" in member.printed()
        assert "hunter2" not in member.printed()
