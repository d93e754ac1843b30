"""W1: one client triggers a workflow of one step over HTTP, beside a bare handler and a commit.

The service runs as users run it: its own process, hypercorn, the embedded database.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

import aiohttp

from bench.floors import BareJournal
from bench.measure import Figure, in_turn, ratios
from bench.service import HOST, ROOT, answers, ended, free_port, publish, service
from bench.world import PAYLOAD, World, chain

_REQUESTS = 60


async def run(world: World, rounds: int) -> list[Figure]:
    """Time to 202 and to completed, over the sum of a bare handler's answer and a commit."""
    bare = BareJournal(world)
    await bare.open()
    template = await world.publish(chain(1, "data_variable_set"))
    async with (
        service(LOG_LEVEL="WARNING") as measured,
        bare_handler() as floor_url,
        aiohttp.ClientSession(headers={"X-API-Key": measured.first_key()}) as http,
    ):
        workflow = await publish(http, measured.url, chain(1, "data_variable_set"))
        execute = f"{workflow}/execute"

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


@asynccontextmanager
async def bare_handler() -> AsyncIterator[str]:
    """A Quart handler that reads the same body and answers the same JSON, and does nothing."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.bare_handler",
        str(port),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with ended(process):
        url = f"http://{HOST}:{port}/execute"
        await answers(process, url)
        yield url
