"""Restate: its server with its own log, a service of durable steps, and a client over HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import aiohttp
import hypercorn.asyncio
import hypercorn.config
import restate

from bench.peers.conversation import PAYLOAD, Payload, at_once, converse, middles, milliseconds

START_SECONDS = 60
SERVER = Path(sys.prefix) / "node_modules" / ".bin" / "restate-server"

steps = restate.Service("steps", inactivity_timeout=timedelta(minutes=5))


async def step(given: Payload) -> Payload:
    return dict(given)


@steps.handler()
async def chain(context: restate.Context, asked: Payload) -> Payload:
    given: Payload = asked["given"]
    for number in range(asked["steps"]):
        given = await context.run_typed(f"step{number}", step, given=given)
    return given


@steps.handler()
async def fan(context: restate.Context, asked: Payload) -> int:
    futures = [
        context.run_typed(f"step{number}", step, given=asked["given"])
        for number in range(asked["width"])
    ]
    return len([await future for future in await restate.gather(*futures)])


class Client:
    """Whoever asks for executions, over HTTP."""

    def __init__(self, http: aiohttp.ClientSession, ingress: str) -> None:
        self._http = http
        self._ingress = ingress

    async def call(self, handler: str, **asked: object) -> None:
        """Runs a handler to its end."""
        body = {"given": PAYLOAD, **asked}
        async with self._http.post(f"{self._ingress}/steps/{handler}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()

    async def one(self) -> list[float]:
        """Milliseconds until an invocation is accepted, and until another one has ended."""
        began = perf_counter()
        url = f"{self._ingress}/steps/chain/send"
        async with self._http.post(url, json={"given": PAYLOAD, "steps": 1}) as answer:
            sent = await answer.json()
            assert answer.status in (200, 202), sent
        accepted = perf_counter() - began
        [completed] = await milliseconds(self.call("chain", steps=1))
        return [1000 * accepted, completed]


def ports(number: int) -> list[int]:
    """So many that are free."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in taken]


def server_version() -> str:
    """As the server itself says it, after its name."""
    said = subprocess.run([SERVER, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[-1]


def start(home: str, node: int, ingress: int, admin: int) -> subprocess.Popen[bytes]:
    """The server, with its durable settings said aloud."""
    environ = {
        **os.environ,
        "RESTATE_BASE_DIR": home,
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_FSYNC": "false",
        "RESTATE_BIFROST__LOCAL__ROCKSDB_DISABLE_WAL_FSYNC": "false",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "error",
    }
    return subprocess.Popen([SERVER, "--no-logo"], env=environ, stdout=sys.stderr)


async def serve(port: int, until: asyncio.Event) -> None:
    """The service, as the server calls it."""
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.h2_max_concurrent_streams = 1_000
    app = restate.app(services=[steps])
    await hypercorn.asyncio.serve(app, config, shutdown_trigger=until.wait)


async def register(http: aiohttp.ClientSession, admin: int, service: int) -> None:
    """Tells the server of the service, as soon as both of them answer."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                body = {"uri": f"http://127.0.0.1:{service}"}
                url = f"http://127.0.0.1:{admin}/deployments"
                async with http.post(url, json=body) as answer:
                    if answer.status < 300:
                        return
            except aiohttp.ClientError:
                pass  # It does not listen yet.
            await asyncio.sleep(0.1)


async def answer(ingress: int, admin: int, service: int) -> None:
    over = asyncio.Event()
    serving = asyncio.create_task(serve(service, over))
    async with aiohttp.ClientSession() as http:
        await register(http, admin, service)
        client = Client(http, f"http://127.0.0.1:{ingress}")
        workloads = {
            "w1": lambda number: middles(number, client.one),
            "w2": lambda number: at_once(number, lambda: client.call("chain", steps=10)),
            "w3": lambda number: milliseconds(client.call("chain", steps=number)),
            "w4": lambda width: milliseconds(client.call("fan", width=width)),
        }
        sdk = {"restate-sdk": version("restate-sdk")}
        await converse(workloads, {"restate-server": server_version(), **sdk})
    over.set()
    await serving


def main() -> None:
    node, ingress, admin, service = ports(4)
    with tempfile.TemporaryDirectory() as home:
        server = start(home, node, ingress, admin)
        try:
            asyncio.run(answer(ingress, admin, service))
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
