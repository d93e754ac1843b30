"""Real processes of the service on one data directory, started by a test and ended with it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import aiohttp

from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
SOCKET_FD = 3

NEVER_BY_ITS_LEASE = "60"
"""Nobody is declared dead because the machine is slow."""

SERVICE = (sys.executable, "-m", "app")
INHERITING = ("sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *SERVICE)
"""`exec` keeps the number of the process, which the variable must name."""


@dataclass
class Member:
    """One process. What it prints is in the file `log`."""

    process: asyncio.subprocess.Process
    log: Path

    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    async def says(self, words: str, times: int = 1) -> None:
        """Returns once these words were printed so often."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.printed().count(words) < times:
                assert self.process.returncode is None, self.printed()
                await asyncio.sleep(0.02)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        """Ends it without a word, also one that is frozen."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def ended(self) -> int:
        """The exit status."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.process.wait()


class Cluster:
    """Starts members in `home`, where their data is; `port` is the shared one."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.listener = socket.create_server((HOST, 0), backlog=1024)
        self.port = int(self.listener.getsockname()[1])
        self.members: list[Member] = []
        self._numbers = count()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def key(self) -> str:
        return (self.home / "data" / "api-key").read_text(encoding="ascii").strip()

    async def shared(self, **environ: str) -> Member:
        """A member that inherits the shared socket."""
        return await self.start(INHERITING, inherits=True, LISTEN_FDS="1", **environ)

    async def start(
        self, command: Sequence[str] = SERVICE, *, inherits: bool = False, **environ: str
    ) -> Member:
        log = self.home / f"{next(self._numbers)}.log"
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {
            "PYTHONPATH": str(ROOT),
            "DATA_DIR": str(self.home / "data"),
            "LEASE_SECONDS": NEVER_BY_ITS_LEASE,
        }
        options: dict[str, Any] = {}
        if inherits:
            descriptor = self.listener.fileno()
            options = {
                "pass_fds": (SOCKET_FD,),
                "preexec_fn": lambda: os.dup2(descriptor, SOCKET_FD, inheritable=True),
            }
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self.home,
                env={**kept, **own, **environ},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **options,
            )
        member = Member(process, log)
        self.members.append(member)
        return member

    async def close(self) -> None:
        alive = [member for member in self.members if member.process.returncode is None]
        for member in alive:
            member.terminate()
        for member in alive:
            with suppress(TimeoutError):
                async with asyncio.timeout(15):
                    await member.process.wait()
            await member.kill()
        self.listener.close()


@asynccontextmanager
async def cluster(home: Path) -> AsyncIterator[Cluster]:
    """A cluster without members; all that are started are ended afterwards."""
    made = Cluster(home)
    try:
        yield made
    finally:
        await made.close()


def free_port() -> int:
    with socket.create_server((HOST, 0)) as taken:
        return int(taken.getsockname()[1])


async def ready(http: aiohttp.ClientSession, url: str) -> None:
    """Returns once a process at this URL says that it is ready."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with http.get(f"{url}/healthz") as answer:
                    if answer.status == 200:
                        return
            except (aiohttp.ClientError, OSError):
                pass  # It does not listen yet.
            await asyncio.sleep(0.05)


def graph(nodes: dict[str, dict[str, Any]], *paths: str, **more: Any) -> dict[str, Any]:
    """A document: `start` and these nodes. A path is `a -> b:port -> c`."""
    connections = []
    for path in paths:
        stops = [stop.partition(":") for stop in path.split(" -> ")]
        for (source, _, port), (target, _, _) in pairwise(stops):
            port_name = {"from_port_name": port} if port else {}
            connections.append({"from_node_id": source, "to_node_id": target, **port_name})
    start = {"node_type": "trigger_command", "config": {"command": "!go"}}
    return {
        "name": "graph",
        "community_id": 1,
        "nodes": {"start": start, **nodes},
        "connections": connections,
        **more,
    }


async def published(
    http: aiohttp.ClientSession, url: str, *nodes: dict[str, Any], **more: Any
) -> str:
    """The id of a workflow that does these nodes one after the other."""
    named = {f"n{i}": node for i, node in enumerate(nodes)}
    return await publish(http, url, graph(named, " -> ".join(["start", *named]), **more))


async def publish(http: aiohttp.ClientSession, url: str, document: dict[str, Any]) -> str:
    """The id of a workflow."""
    async with http.post(f"{url}/api/v1/workflows?publish=true", json=document) as answer:
        body = await answer.json()
        assert answer.status == 201, body
        return str(body["data"]["workflow_id"])


async def ends(http: aiohttp.ClientSession, url: str, execution_id: str) -> dict[str, Any]:
    """The state of an execution once it has ended."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with http.get(f"{url}/api/v1/workflows/executions/{execution_id}") as answer:
                body = await answer.json()
                assert answer.status == 200, body
                if body["data"]["status"] in ("completed", "failed", "cancelled"):
                    return dict(body["data"])
            await asyncio.sleep(0.1)
