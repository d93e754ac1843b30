"""The stage of a guarantee: real processes on one database, the peer that their effects reach, and
somebody who calls them.

Its one rule: what must happen before something else is made to, by a lock in the database or a call
that the peer holds. Nothing is hoped for, and no time is measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from chaos.database import NAME, Database
from chaos.run import make_key
from chaos.watch import SETTING
from tests.peer import Peer, calling, peer
from tests.processes import HOST, Cluster, Member, ends, free_port, graph, publish, published
from tests.waiting import until

_SETTINGS = {
    "EGRESS_ALLOW": "127.0.0.0/8",
    "DATABASE_POOL_MIN": "1",
    "DATABASE_POOL_MAX": "6",
    "DATABASE_COMMAND_TIMEOUT_SECONDS": "30",
    "SHUTDOWN_GRACE_SECONDS": "1",
}

_BLOCKED = """
SELECT count(*) AS n FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend'
   AND wait_event_type = 'Lock'
"""

_END_BLOCKED = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock'
"""

_HOLDER = """
SELECT w.name FROM workflow_executions e JOIN engine_workers w USING (worker_id)
 WHERE e.execution_id = $1
"""


RETENTION_RESTS = """
SELECT count(*) = 0 FROM pg_locks
 WHERE locktype = 'advisory' AND classid = 24386 AND objid = 3
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""A process drops history when it starts. One that is frozen in the middle of it holds locks on
tables until it wakes, and a test that locks the same ones would wait for that for ever."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the service, on a port of its own."""

    member: Member
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def kill(self) -> None:
        """`kill -9`; returns once it is gone, and its sockets with it."""
        await self.member.kill()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request got. `status` 0: the connection broke."""

    status: int
    data: Any = None
    replayed: bool = False


@dataclass(slots=True)
class Stage:
    """Everything that plays a part."""

    database: Database
    cluster: Cluster
    peer: Peer
    http: aiohttp.ClientSession
    processes: list[Process] = field(default_factory=list)

    async def start(self, **settings: str) -> Process:
        """A process that serves. Its connections say to the database whose they are."""
        port = free_port()
        url = self.database.url(SETTING, port)
        member = await self.cluster.start(
            PORT=str(port), DATABASE_URL=url, **{**_SETTINGS, **settings}
        )
        process = Process(member, port)
        self.processes.append(process)
        await member.says("action=serve")
        await self.comes_true(RETENTION_RESTS)
        return process

    async def start_several(self, count: int, **settings: str) -> list[Process]:
        return list(await asyncio.gather(*(self.start(**settings) for _ in range(count))))

    # What is asked

    async def publish(self, process: Process, document: Mapping[str, Any]) -> str:
        """The id of a workflow."""
        return await publish(self.http, process.url, dict(document))

    async def calls(self, process: Process, *paths: str, **settings: Any) -> str:
        """The id of a workflow that calls these paths of the peer, one after the other."""
        nodes = [calling(self.peer.url + path, **settings) for path in paths]
        return await published(self.http, process.url, *nodes)

    async def parent(self, process: Process, child: Mapping[str, Any], **first: Any) -> str:
        """The id of a workflow that does what is `first` and then waits for a child."""
        config = {"workflow_id": await self.publish(process, child)}
        nodes = {**first, "child": {"node_type": "flow_subworkflow", "config": config}}
        end = {"node_type": "flow_end", "config": {"output": "{{ nodes.child.output }}"}}
        path = " -> ".join(["start", *nodes, "end"])
        return await self.publish(process, graph({**nodes, "end": end}, path))

    async def execute(self, process: Process, workflow_id: str, **headers: str) -> Answer:
        """Asks for an execution."""
        path = f"{workflow_id}/execute"
        return await self.post(process, path, {"community_id": 1}, **headers)

    async def begun(self, process: Process, workflow_id: str) -> str:
        """The id of an execution that was accepted."""
        answer = await self.execute(process, workflow_id)
        assert answer.status == 202, answer
        return str(answer.data["execution_id"])

    async def cancel(self, process: Process, execution_id: str) -> Answer:
        """Asks for a cancellation."""
        return await self.post(process, f"executions/{execution_id}/cancel")

    async def post(self, process: Process, path: str, body: Any = None, **headers: str) -> Answer:
        """Posts to a path below `/api/v1/workflows/`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{process.url}/api/v1/workflows/{path}"
        try:
            async with self.http.post(url, json=body, headers=named) as answer:
                told = await answer.json()
        except (aiohttp.ClientError, OSError):
            return Answer(0)
        return Answer(answer.status, told.get("data"), "Idempotent-Replayed" in answer.headers)

    async def heard_out(self, process: Process) -> None:
        """Returns once the process has answered somebody else: what it had to do or to say
        before that, without waiting for anybody, it has done and said."""
        for _ in range(3):
            async with self.http.get(f"{process.url}/health") as answer:
                assert answer.status == 200

    async def ends(self, process: Process, execution_id: str) -> dict[str, Any]:
        """The state of an execution once it has ended."""
        return await ends(self.http, process.url, execution_id)

    # What is seen and done behind the service's back

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        return await self.database.fetch(query, *args)

    async def value(self, query: str, *args: Any) -> Any:
        """The first value of the first row."""
        return (await self.fetch(query, *args))[0][0]

    async def comes_true(self, query: str, *args: Any) -> None:
        """Returns once the query's value is true."""

        async def true() -> bool:
            return bool(await self.value(query, *args))

        await until(true)

    async def blocked(self, count: int = 1) -> None:
        """Returns once so many of the service's statements wait for a lock."""

        async def enough() -> bool:
            return int(await self.value(_BLOCKED)) >= count

        await until(enough)

    async def end_blocked(self) -> None:
        """Ends the connections that wait for a lock; what they were about to do is never done."""
        await self.fetch(_END_BLOCKED)

    @asynccontextmanager
    async def holding(self, statement: str, *args: Any) -> AsyncIterator[None]:
        """Holds the locks that a statement takes."""
        mine = {"application_name": NAME}
        connection = await asyncpg.connect(self.database.server.dsn, server_settings=mine)
        try:
            async with connection.transaction():
                await connection.execute(statement, *args)
                yield
        finally:
            connection.terminate()

    async def holder(self, execution_id: str) -> Process:
        """The process whose worker holds an execution."""
        (row,) = await self.fetch(_HOLDER, execution_id)
        (found,) = (each for each in self.processes if row["name"].endswith(f":{each.port}"))
        return found

    async def close(self) -> None:
        """Ends every process. Nobody needs what they hold any more."""
        await asyncio.gather(*(process.kill() for process in self.processes))
        await self.cluster.close()


@asynccontextmanager
async def staged(database: Database, home: Path) -> AsyncIterator[Stage]:
    """A stage on this database, with nobody on it yet."""
    headers = {"X-API-Key": await make_key(database)}
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with (
        peer() as outside,
        aiohttp.ClientSession(connector=connector, headers=headers) as http,
    ):
        stage = Stage(database, Cluster(home), outside, http)
        try:
            yield stage
        finally:
            await stage.close()
