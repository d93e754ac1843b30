"""Prefect: a server on its default database, and flows of tasks here, with persisted results.

That database is SQLite, which Prefect sets not to wait for the disk at every commit: its
migrations for PostgreSQL need the extension pg_trgm, which the embedded server does not have.
Flows run one at a time, as is fastest there, and W4 is left out: 200 tasks at once keep that
database busy for long afterwards.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from time import monotonic, sleep

from bench.peers.conversation import PAYLOAD, Payload, at_once, converse, milliseconds

START_SECONDS = 120
IN_FLIGHT = 1
"""On SQLite more of them only wait for each other's locks, and 64 get 503 from the server."""


def settings(home: str) -> dict[str, str]:
    """What the server and the flows read from the environment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    return {
        "PREFECT_HOME": home,
        "PREFECT_SERVER_API_PORT": port,
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def start(environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """The server, ready to answer."""
    prefect = Path(sys.executable).with_name("prefect")
    server = subprocess.Popen([prefect, "server", "start"], env=environ, stdout=subprocess.DEVNULL)
    deadline = monotonic() + START_SECONDS
    while True:
        try:
            connection = HTTPConnection("127.0.0.1", int(environ["PREFECT_SERVER_API_PORT"]))
            connection.request("GET", "/api/health")
            connection.getresponse().close()
        except OSError:
            if server.poll() is not None or monotonic() > deadline:
                raise
            sleep(0.2)
        else:
            return server


async def flows() -> None:
    """Answers with flows that are made only now, since the import reads the environment."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    @task(cache_policy=NO_CACHE)
    async def step(given: Payload) -> Payload:
        return dict(given)

    @flow
    async def chain(given: Payload, steps: int) -> Payload:
        for _ in range(steps):
            given = await step(given)
        return given

    async def single(number: int) -> list[float]:
        [taken] = await milliseconds(_repeated(number))
        return [taken / number]

    async def _repeated(number: int) -> None:
        for _ in range(number):
            await chain(PAYLOAD, 1)

    workloads = {
        "w1": single,
        "w2": lambda number: at_once(number, lambda: chain(PAYLOAD, 10), IN_FLIGHT),
        "w3": lambda steps: milliseconds(chain(PAYLOAD, steps)),
    }
    await converse(workloads, {"prefect": version("prefect")})


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ |= settings(home)
        server = start(dict(os.environ))
        try:
            asyncio.run(flows())
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
