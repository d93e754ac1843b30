"""The callers: start executions for as long as the faults last, and remember what was promised.

Their one rule: only a 202 is a promise. A refusal or a cut connection promises nothing, and is
not repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from chaos.cluster import Member
from chaos.workflows import COMMUNITY_ID, NUMBERS, Workload
from engine.context import Json, JsonObject

LARGEST_BATCH = 12
PATIENCE = aiohttp.ClientTimeout(total=15)


@dataclass(slots=True)
class Load:
    """Starts executions. `acknowledged` holds the id of each that was promised, `answers` counts
    the answers by status, and connections that were cut."""

    key: str
    targets: list[tuple[Workload, str]]
    acknowledged: set[str] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)

    async def run(
        self, members: list[Member], rng: random.Random, seconds: float, pause: float
    ) -> None:
        """One caller: asks a random process that serves for a random workflow, time and again,
        with `pause` seconds between on average."""
        weights = [workload.weight for workload, _ in self.targets]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        async with aiohttp.ClientSession(headers={"X-API-Key": self.key}) as http:
            while loop.time() < deadline:
                ((_, workflow_id),) = rng.choices(self.targets, weights)
                size = rng.randint(2, LARGEST_BATCH) if rng.random() < 0.2 else 1
                member = rng.choice(members)
                if member.up:
                    await self._ask(http, f"{member.url}/workflows/{workflow_id}", size, rng)
                await asyncio.sleep(rng.expovariate(1 / pause))

    async def _ask(
        self, http: aiohttp.ClientSession, url: str, size: int, rng: random.Random
    ) -> None:
        items: list[Json] = [request(rng.choice(NUMBERS)) for _ in range(size)]
        path, body = ("execute", items[0]) if size == 1 else ("execute/batch", {"items": items})
        try:
            async with http.post(f"{url}/{path}", json=body, timeout=PATIENCE) as response:
                answer = await response.json()
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.answers["cut"] += 1
            return
        code = answer.get("error_code")
        self.answers[f"{response.status} {code}" if code else str(response.status)] += 1
        if response.status == 202:
            data = answer["data"]
            self.acknowledged.update(item["execution_id"] for item in data.get("items", [data]))


def request(n: int) -> JsonObject:
    """The body that starts an execution."""
    return {"community_id": COMMUNITY_ID, "variables": {"n": n}}


async def publish(http: aiohttp.ClientSession, member: Member, document: JsonObject) -> str:
    """Stores and publishes a workflow; returns its id."""
    url = f"{member.url}/workflows?publish=true"
    async with http.post(url, json=document) as response:
        answer = await response.json()
        if response.status != 201:
            raise RuntimeError(f"{document['name']} is refused: {answer}")
        return str(answer["data"]["workflow_id"])


async def run_once(http: aiohttp.ClientSession, member: Member, workflow_id: str, n: int) -> str:
    """Runs an execution to its end; returns its id."""
    url = f"{member.url}/workflows/{workflow_id}/execute?wait=30"
    async with http.post(url, json=request(n)) as response:
        answer = await response.json()
        if response.status != 200:
            raise RuntimeError(f"an execution without faults does not end: {answer}")
        return str(answer["data"]["execution_id"])
