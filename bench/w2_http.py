"""W2 over HTTP: how many executions a second a service takes in, one by one and in batches.

The service runs as users run it, and 64 connections ask it at once; beside it the bare handler,
which reads the same body and answers the same JSON. One by one, HTTP is dearer than the ten steps.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

import aiohttp

from bench.measure import Figure, in_turn, ratios
from bench.service import publish, service
from bench.w1_trigger import bare_handler
from bench.w2_throughput import IN_FLIGHT, STEPS
from bench.world import PAYLOAD, chain

BATCH = 100
PATIENCE_SECONDS = 120


class Caller:
    """Asks one address, over as many connections as there may be at once."""

    def __init__(self, http: aiohttp.ClientSession, workflow: str, floor: str) -> None:
        self._http = http
        self._workflow = workflow
        self._floor = floor

    async def floor(self, requests: int) -> float:
        """Requests a second that the bare handler answers."""
        return await self._rate(self._floor, {"community_id": 1, "variables": PAYLOAD}, requests)

    async def singles(self, requests: int) -> float:
        """Executions a second that are accepted, each by a request of its own."""
        body = {"community_id": 1, "variables": PAYLOAD}
        rate = await self._rate(f"{self._workflow}/execute", body, requests)
        await self._until_ended()
        return rate

    async def batches(self, executions: int) -> float:
        """Executions a second that are accepted and completed, a hundred to a request."""
        body = {"items": [{"community_id": 1, "variables": PAYLOAD}] * BATCH}
        began = perf_counter()
        await self._rate(f"{self._workflow}/execute/batch", body, executions // BATCH)
        await self._until_ended()
        return executions / (perf_counter() - began)

    async def _rate(self, url: str, body: object, requests: int) -> float:
        remaining = iter(range(requests))

        async def client() -> None:
            for _ in remaining:
                async with self._http.post(url, json=body) as answer:
                    assert answer.status == 202, await answer.text()
                    await answer.read()

        began = perf_counter()
        await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
        return requests / (perf_counter() - began)

    async def _until_ended(self) -> None:
        """Waits until none waits or runs."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            for status in ("pending", "running"):
                while await self._any(status):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    async def _any(self, status: str) -> bool:
        url = f"{self._workflow}/executions?status={status}&per_page=1"
        async with self._http.get(url) as answer:
            found = await answer.json()
            assert answer.status == 200, found
            return bool(found["data"])


async def run(rounds: int, executions: int) -> list[Figure]:
    """Accepted one by one and in batches, beside the bare handler."""
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with service(LOG_LEVEL="WARNING") as measured, bare_handler() as floor:
        headers = {"X-API-Key": measured.first_key()}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
            workflow = await publish(http, measured.url, chain(STEPS, "data_variable_set"))
            caller = Caller(http, workflow, floor)
            values = await in_turn(
                rounds,
                floor=lambda: caller.floor(executions // 2),
                singles=lambda: caller.singles(executions // 2),
                batches=lambda: caller.batches(executions),
            )
    return [
        Figure("W2", "bare handler, requests", "/s", values["floor"]),
        Figure("W2", "accepted one by one", "/s", values["singles"]),
        Figure(
            "W2",
            "one by one, of the bare handler",
            " x",
            ratios(values["singles"], values["floor"]),
            ">= 0.6",
        ),
        Figure("W2", "by execute/batch, to the end", "/s", values["batches"]),
    ]
