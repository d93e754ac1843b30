"""The real service on a real socket, and a real PostgreSQL server that is broken on purpose.

Its one rule: a wait has a deadline and ends by what is seen, never by the time it took.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from hypercorn.asyncio import serve
from hypercorn.config import Config as ServerConfig

from app import create_app
from chaos.database import Database
from chaos.run import make_key
from composition import running
from config import Config
from tests.processes import HOST, free_port
from tests.waiting import until

ANSWER_SECONDS = 20.0
"""By when every request has its answer: once the patience for a connection (5 s) is over, and the
machine has stood still for a while."""

COMMAND_SECONDS = 0.8
LEASE_SECONDS = 4.0
"""Two tests demand that no lease is lost; a machine may stand still for two thirds of one."""

DOCUMENT = {
    "name": "trouble",
    "community_id": 1,
    "nodes": {
        "start": {"node_type": "trigger_command", "command": "!go"},
        "wait": {"node_type": "action_delay", "config": {"delay_seconds": 0.3}},
    },
    "connections": [{"from_node_id": "start", "to_node_id": "wait"}],
}


@dataclass(slots=True)
class Answer:
    """What a request got."""

    status: int
    code: str | None
    retry_after: str | None
    data: Any


@dataclass(slots=True)
class Trouble:
    """The service, its database, and somebody who calls it."""

    database: Database
    http: aiohttp.ClientSession
    url: str
    printed: io.StringIO
    key: str
    workflow_id: str = ""
    accepted: list[str] = field(default_factory=list)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Sends a request; fails the test if there is no answer in time."""
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            self.http.request(
                method, self.url + path, json=body, headers={"X-API-Key": self.key, **headers}
            ) as response,
        ):
            told = await response.json()
        retry_after = response.headers.get("Retry-After")
        return Answer(response.status, told.get("error_code"), retry_after, told.get("data"))

    async def serves(self) -> bool:
        """Whether it takes requests and is ready."""
        try:
            return (await self.call("GET", "/healthz")).status == 200
        except aiohttp.ClientError:
            return False

    async def published(self, document: dict[str, Any]) -> str:
        """The id of a workflow with this document, which is live."""
        made = await self.call("POST", "/api/v1/workflows?publish=true", document)
        assert made.status == 201, made
        workflow_id: str = made.data["workflow_id"]
        return workflow_id

    async def execute(self, **headers: str) -> Answer:
        """Starts an execution; one that was accepted is remembered."""
        answer = await self.call(
            "POST", f"/api/v1/workflows/{self.workflow_id}/execute", {"community_id": 1}, **headers
        )
        if answer.status == 202:
            self.accepted.append(answer.data["execution_id"])
        return answer

    async def health(self) -> tuple[int, int]:
        """The statuses of `/health` and `/healthz`."""
        return (await self.call("GET", "/health")).status, (
            await self.call("GET", "/healthz")
        ).status

    async def refused(self) -> None:
        """Returns once an execution is refused, as it must be in trouble."""

        async def check() -> bool:
            answer = await self.execute()
            if answer.status == 202:
                return False
            assert answer.status == 503, answer
            assert answer.code in ("OVERLOADED", "OUTCOME_UNKNOWN"), answer
            assert answer.retry_after == "1"
            return True

        await until(check)

    async def not_ready(self) -> None:
        """Returns once the service says that it is not ready. It lives all the while."""

        async def check() -> bool:
            live, ready = await self.health()
            assert live == 200
            return ready == 503

        await until(check)

    async def well_again(self) -> None:
        """Returns once the service is ready, and everything that it ever accepted is done."""

        async def ready() -> bool:
            return await self.health() == (200, 200)

        async def accepts() -> bool:
            return (await self.execute()).status == 202

        await until(ready)
        await until(accepts)
        for execution_id in self.accepted:
            await until(lambda known=execution_id: self._completed(known))

    async def _completed(self, execution_id: str) -> bool:
        answer = await self.call("GET", f"/api/v1/workflows/executions/{execution_id}")
        return answer.status == 200 and answer.data["status"] == "completed"

    def lines(self, action: str, result: str | None = None) -> list[str]:
        """The log's lines of an action."""
        wanted = f"action={action} " + (f"result={result}" if result else "")
        return [line for line in self.printed.getvalue().splitlines() if wanted in line]

    async def backends(self, query: str = "true") -> list[int]:
        """The pids of the service's connections."""
        rows = await self.database.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'workflow_core%' AND "
            + query
        )
        return [row["pid"] for row in rows]

    async def end_backends(self, query: str = "true") -> None:
        """Ends the service's connections; returns when they have."""
        await self.database.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            f" WHERE application_name LIKE 'workflow_core%' AND {query}"
        )

    async def said(self, action: str, result: str) -> bool:
        """Whether the log has a line of this action and result."""
        return bool(self.lines(action, result))

    async def several_leases(self) -> None:
        """Returns after several renewals, or the time in which they should have been."""
        seen: set[object] = set()

        async def renewed() -> bool:
            rows = await self.database.fetch("SELECT heartbeat_at FROM engine_workers")
            seen.update(row["heartbeat_at"] for row in rows)
            return len(seen) > 5

        await until(renewed)

    async def stop_database(self) -> None:
        """Stops the server as a crash would."""
        await self.database._control("-m", "immediate", "stop")

    async def start_database(self) -> None:
        """Starts it again."""
        await asyncio.to_thread(self.database.server.server.start)

    @contextmanager
    def frozen(self, backends: list[int]) -> Iterator[None]:
        """The postmaster and these backends stopped, within the block."""
        pids = [int(self.database._pid_file.read_text().split()[0]), *backends]
        try:
            for pid in pids:
                _signal(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                _signal(pid, signal.SIGCONT)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of an outsider."""
        connection = await asyncpg.connect(
            self.database.server.dsn, timeout=5, server_settings={"application_name": "outsider"}
        )
        try:
            yield connection
        finally:
            connection.terminate()


@asynccontextmanager
async def troubled(home: Path) -> AsyncIterator[Trouble]:
    """A service on a server of its own, with one published workflow."""
    port = free_port()
    database = await Database.join(home / "data")
    config = Config(
        port=port,
        database_url=database.server.dsn,  # one of its own it would start again itself
        database_command_timeout_seconds=COMMAND_SECONDS,
        lease_seconds=LEASE_SECONDS,
        shutdown_grace_seconds=1.0,
    )
    printed = io.StringIO()
    try:
        async with running(config, printed) as service:
            server = ServerConfig()
            server.bind = [f"{HOST}:{port}"]
            server.accesslog = None
            server.graceful_timeout = 1.0
            stop = asyncio.Event()
            serving = asyncio.create_task(
                serve(create_app(config, service=service), server, shutdown_trigger=stop.wait)
            )
            try:
                async with aiohttp.ClientSession() as http:
                    url = f"http://{HOST}:{port}"
                    world = Trouble(database, http, url, printed, await make_key(database))
                    await until(world.serves)
                    world.workflow_id = await world.published(DOCUMENT)
                    yield world
            finally:
                stop.set()
                await serving
    finally:
        await database.stop()


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # a backend that had ended by itself
