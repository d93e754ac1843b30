"""Several processes that start at the same moment where there is nothing yet."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from models.embedded import start_embedded
from tests.processes import HOST, ROOT, cluster, free_port, ready

APP = "app:create_app"
SERVERS = {
    "hypercorn": ("hypercorn", "--workers", "2", "--bind", "{host}:{port}", f"{APP}()"),
    "uvicorn": (
        "uvicorn", "--workers", "2", "--factory", "--host", "{host}", "--port", "{port}", APP,
    ),
    "granian": (
        "granian", "--workers", "2", "--interface", "asgi", "--factory", "--host", "{host}",
        "--port", "{port}", APP,
    ),
}  # fmt: skip

COUNTS = """
SELECT (SELECT count(*) FROM api_keys) AS keys,
       (SELECT count(*) FROM workflows) AS workflows,
       (SELECT count(*) FROM engine_workers WHERE state = 'alive') AS workers
"""


async def counted(home: Path, workers: int) -> dict[str, Any]:
    """How much there is, once so many workers live."""
    server = await asyncio.to_thread(start_embedded, home / "data")
    try:
        connection = await asyncpg.connect(server.dsn)
        try:
            async with asyncio.timeout(60):
                while True:
                    found = dict(await connection.fetchrow(COUNTS))
                    if found["workers"] >= workers:
                        return found
                    await asyncio.sleep(0.1)
        finally:
            await connection.close()
    finally:
        await asyncio.to_thread(server.stop)


EXAMPLES = len(list((ROOT / "examples").glob("*.json")))


async def test_processes_that_start_together_make_everything_once(tmp_path: Path) -> None:
    async with cluster(tmp_path) as world:
        members = await asyncio.gather(*(world.start(PORT=str(free_port())) for _ in range(3)))
        for member in members:
            await member.says("action=serve")
        found = await counted(tmp_path, 3)
        assert found == {"keys": 1, "workflows": EXAMPLES, "workers": 3}
        shown = [member for member in members if "shown this once" in member.printed()]
        assert len(shown) == 1
        assert world.key() in shown[0].printed()


@pytest.mark.parametrize("server", SERVERS)
async def test_two_workers_of_another_server_make_everything_once(
    server: str, tmp_path: Path
) -> None:
    port = free_port()
    words = [word.format(host=HOST, port=port) for word in SERVERS[server]]
    program = Path(sys.executable).with_name(words[0])
    async with cluster(tmp_path) as world, aiohttp.ClientSession() as http:
        member = await world.start([str(program), *words[1:]], SHUTDOWN_GRACE_SECONDS="1")
        await member.says("action=start result=SUCCESS", times=2)
        await ready(http, f"http://{HOST}:{port}")
        found = await counted(tmp_path, 2)
        assert found == {"keys": 1, "workflows": EXAMPLES, "workers": 2}
        member.terminate()
        await member.ended()
        assert "Traceback" not in member.printed()
