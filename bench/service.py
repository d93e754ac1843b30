"""The service that is measured: `python -m app` in a process of its own, as users run it.

Its one rule: it has the settings that a workload names and no others. It starts in an empty
directory with none of this machine's variables and no `.env`, for one of them would change what is
measured, or name a database that is somebody's.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import aiohttp

from engine.context import JsonObject
from models.api_keys import ApiKeys
from models.dal import AsyncDAL
from services.api_keys import ApiKeyService, NewKey
from services.caller import EVERYDAY_SCOPES
from services.clock import SystemClock, new_id

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
PATIENCE_SECONDS = 120.0
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process uses: resident bytes, and its share of one core."""

    resident: int
    share: float


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: the id of its process, where it listens, and where its data are."""

    pid: int
    url: str
    home: Path

    def first_key(self) -> str:
        """The API key that it made at its first start, on a database of its own."""
        return (self.home / "api-key").read_text(encoding="ascii").strip()

    async def cost(self, settle_seconds: float, watch_seconds: float) -> Cost:
        """What it uses while it is watched, once it has settled."""
        await asyncio.sleep(settle_seconds)
        began, used = perf_counter(), self.cpu_seconds()
        await asyncio.sleep(watch_seconds)
        share = (self.cpu_seconds() - used) / (perf_counter() - began)
        return Cost(self.resident(), share)

    def cpu_seconds(self) -> float:
        """The CPU time it has used. See proc(5): fields 14 and 15, counted after the name, which
        may hold anything."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident(self) -> int:
        """Its bytes that are in memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def service(
    dsn: str = "", *, command: Sequence[str] = ("-m", "app"), **settings: str
) -> AsyncIterator[Service]:
    """A service on this database, or on an embedded one of its own, that is ready; it is told to
    stop afterwards. `command` is what Python runs, with `{port}` for where to listen."""
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        own = {
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": dsn,
            "DATA_DIR": home,
            "HOST": HOST,
            "PORT": str(port),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(word.format(port=port) for word in command),
            cwd=home,
            env={name: os.environ[name] for name in _KEPT if name in os.environ} | own | settings,
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with ended(process):
            await answers(process, f"http://{HOST}:{port}/healthz")
            yield Service(process.pid, f"http://{HOST}:{port}", Path(home))


@asynccontextmanager
async def ended(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Tells a process to stop when the block is over, and makes it when it does not."""
    try:
        yield
        process.terminate()
        await asyncio.wait_for(process.wait(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def answers(process: asyncio.subprocess.Process, url: str) -> None:
    """Returns once there is an answer that is no failure. Raises `AssertionError` if the process
    ends before."""
    async with asyncio.timeout(PATIENCE_SECONDS), aiohttp.ClientSession() as http:
        while True:
            assert process.returncode is None, "the service did not start"
            try:
                async with http.get(url) as answer:
                    if answer.status < 500:
                        return
            except aiohttp.ClientError:
                pass  # It does not listen yet.
            await asyncio.sleep(0.05)


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server((HOST, 0)) as taken:
        return int(taken.getsockname()[1])


async def everyday_key(dal: AsyncDAL) -> str:
    """An API key with the rights of everybody, on a database that has none."""
    keys = ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)
    new = NewKey(user_id=1, name="bench", scopes=tuple(EVERYDAY_SCOPES), community_id=1)
    return (await keys.create(new)).secret


async def publish(http: aiohttp.ClientSession, url: str, document: JsonObject) -> str:
    """Publishes a workflow at a service; returns the workflow's address."""
    workflows = f"{url}/api/v1/workflows"
    async with http.post(f"{workflows}?publish=true", json=document) as answer:
        created = await answer.json()
        assert answer.status == 201, created
        return f"{workflows}/{created['data']['workflow_id']}"
