"""W1: one client triggers a workflow of one step over HTTP, beside a bare handler and a commit.

The service runs as users run it: its own process, hypercorn, the embedded database.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

import aiohttp

from bench.floors import BareJournal
from bench.measure import Figure, in_turn, ratios
from bench.world import PAYLOAD, World, chain
from engine.context import JsonObject

_REQUESTS = 60
_START_SECONDS = 60
SERVICE = ("-m", "app")


async def run(world: World, rounds: int) -> list[Figure]:
    """Time to 202 and to completed, over the sum of a bare handler's answer and a commit."""
    bare = BareJournal(world)
    await bare.open()
    template = await world.publish(chain(1, "data_variable_set"))
    async with (
        served() as (base, key),
        bare_handler() as floor_url,
        aiohttp.ClientSession(headers={"X-API-Key": key}) as http,
    ):
        document = chain(1, "data_variable_set")
        workflow_id = await publish(http, base, document)
        execute = f"{base}/api/v1/workflows/{workflow_id}/execute"

        async def commit() -> float:
            total = sum([await bare.one_commit(template) for _ in range(_REQUESTS)])
            return 1000 * total / _REQUESTS

        values = await in_turn(
            rounds,
            handler=lambda: milliseconds(http, floor_url, 202),
            commit=commit,
            accepted=lambda: milliseconds(http, execute, 202),
            completed=lambda: milliseconds(http, f"{execute}?wait=10", 200),
        )
    await bare.close()
    pairs = zip(values["accepted"], values["commit"], strict=True)
    most = [accepted + 2 * commit for accepted, commit in pairs]
    floor = [a + b for a, b in zip(values["handler"], values["commit"], strict=True)]
    return [
        Figure("W1", "bare handler", "ms", values["handler"]),
        Figure("W1", "commit of one row", "ms", values["commit"]),
        Figure("W1", "to 202", "ms", values["accepted"]),
        Figure("W1", "to completed (?wait)", "ms", values["completed"]),
        Figure("W1", "202 over handler + commit", " x", ratios(values["accepted"], floor), "<= 2"),
        Figure(
            "W1", "completed over 202 + 2 commits", " x", ratios(values["completed"], most), "<= 1"
        ),
    ]


async def milliseconds(http: aiohttp.ClientSession, url: str, expected: int) -> float:
    """How long a request to start an execution takes, one after the other."""
    body = {"community_id": 1, "variables": PAYLOAD}
    began = perf_counter()
    for _ in range(_REQUESTS):
        async with http.post(url, json=body) as answer:
            text = await answer.text()
            assert answer.status == expected, text
            assert '"status":"failed"' not in text, text
    return 1000 * (perf_counter() - began) / _REQUESTS


async def publish(http: aiohttp.ClientSession, base: str, document: JsonObject) -> str:
    """Publishes a workflow, with a session that sends a key; returns its id."""
    async with http.post(f"{base}/api/v1/workflows?publish=true", json=document) as answer:
        created = await answer.json()
        assert answer.status == 201, created
        return str(created["data"]["workflow_id"])


@asynccontextmanager
async def served(command: Sequence[str] = SERVICE) -> AsyncIterator[tuple[str, str]]:
    """The service in a process of its own, in which Python runs `command`; its address and its
    first key."""
    with tempfile.TemporaryDirectory() as directory:
        port = _free_port()
        environment = {
            **os.environ,
            "PORT": str(port),
            "HOST": "127.0.0.1",
            "DATA_DIR": directory,
            "LOG_LEVEL": "WARNING",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(word.format(port=port) for word in command),
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            base = f"http://127.0.0.1:{port}"
            await _until_healthy(f"{base}/healthz")
            yield base, await asyncio.to_thread(_first_key, Path(directory))
        finally:
            process.terminate()
            await process.wait()


@asynccontextmanager
async def bare_handler() -> AsyncIterator[str]:
    """A Quart handler that reads the same body and answers the same JSON, and does nothing."""
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.bare_handler",
        str(port),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}/execute"
        await _until_healthy(url)
        yield url
    finally:
        process.terminate()
        await process.wait()


def _first_key(data_dir: Path) -> str:
    return (data_dir / "api-key").read_text().strip()


async def _until_healthy(url: str) -> None:
    deadline = perf_counter() + _START_SECONDS
    async with aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as answer:
                    if answer.status < 500:
                        return
            except aiohttp.ClientError:
                if perf_counter() > deadline:
                    raise
            await asyncio.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
