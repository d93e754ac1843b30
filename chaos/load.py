"""The callers: for as long as the faults last they start executions and do all that can be done
to them, and remember what was promised.

Their one rule: a request without a key is sent once. One with a key is sent again, to another
process, until the answer is clear; and some are sent again although it was.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp

from chaos.asking import Client
from chaos.cluster import Member
from chaos.promises import Promises
from chaos.workflows import COMMUNITY_ID, NUMBERS, SIGNAL, Workload, payload
from engine.context import JsonObject

LARGEST_BATCH = 12
_AGAIN = 0.3
"""How many of the requests that were answered are sent again."""


@dataclass(frozen=True, slots=True)
class Load:
    """The workflows to start, by `key` (an API key): each workload and its id. The callers go on
    insisting for `patience` seconds after their time is up."""

    key: str
    targets: list[tuple[Workload, str]]
    patience: float
    promises: Promises = field(default_factory=Promises)

    async def run(
        self, members: list[Member], rng: random.Random, seconds: float, pause: float
    ) -> None:
        """One caller: does one thing after the other, with `pause` seconds between on average. What
        takes longer goes on beside it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        async with aiohttp.ClientSession(headers={"X-API-Key": self.key}) as http:
            client = Client(http, members, rng, self.promises, deadline + self.patience)
            caller = Caller(client, self.targets, rng)
            async with asyncio.TaskGroup() as group:
                while loop.time() < deadline:
                    group.create_task(caller.act())
                    await asyncio.sleep(rng.expovariate(1 / pause))

    async def resume(self, members: list[Member], execution_ids: list[str]) -> None:
        """Lets these go on, as whoever finds them paused would. A request to pause that nobody
        waited for any more may be carried out after the one to resume."""
        deadline = asyncio.get_running_loop().time() + self.patience
        async with aiohttp.ClientSession(headers={"X-API-Key": self.key}) as http:
            client = Client(http, members, random.Random(0), self.promises, deadline)
            for execution_id in execution_ids:
                await client.insist(f"executions/{execution_id}/resume", None, None)


@dataclass(slots=True)
class Caller:
    """Does one of the things that callers do."""

    client: Client
    targets: list[tuple[Workload, str]]
    rng: random.Random

    async def act(self) -> None:
        """One of them, chosen by its share."""
        deeds: dict[Callable[[], Awaitable[None]], int] = {
            self._start: 5,
            self._start_many: 2,
            self._start_once: 4,
            self._cancel: 2,
            self._signal: 2,
            self._start_many_once: 1,
            self._pause: 2,
        }
        (deed,) = self.rng.choices(list(deeds), list(deeds.values()))
        await deed()

    async def _start(self) -> None:
        answer = await self.client.ask(f"{self._target()}/execute", request(self._n()))
        if answer is not None and answer.status == 202:
            self.client.promises.acknowledged.add(answer.data["execution_id"])

    async def _start_many(self) -> None:
        items = [request(self._n()) for _ in range(self.rng.randint(2, LARGEST_BATCH))]
        answer = await self.client.ask(f"{self._target()}/execute/batch", {"items": items})
        if answer is not None and answer.status == 202:
            started = (item["execution_id"] for item in answer.data["items"])
            self.client.promises.acknowledged.update(started)

    async def _start_once(self) -> None:
        await self._named(self._target(), self._n())

    async def _named(self, target: str, n: int) -> str | None:
        """Starts an execution by a key of its own; its id, None if nobody told it."""
        key = f"{self.rng.getrandbits(64):016x}"
        promises = self.client.promises
        promises.keyed[key] = set()
        execution_id: str | None = None
        for _ in range(1 + (self.rng.random() < _AGAIN)):
            answer = await self.client.insist(
                f"{target}/execute", request(n, execution_name=key), key
            )
            if answer is None:
                return execution_id
            if answer.status != 202:
                promises.complaints.append(f"a start with a key was answered {answer}")
                return None
            execution_id = str(answer.data["execution_id"])
            promises.named(key, execution_id)
        return execution_id

    async def _cancel(self) -> None:
        execution_id = await self._named(self._target(), self._n())
        if execution_id is None:
            return
        await asyncio.sleep(self.rng.uniform(0, 1.5))
        promises = self.client.promises
        promises.cancels_asked.add(execution_id)
        answer = await self.client.insist(f"executions/{execution_id}/cancel", None, None)
        if answer is None:
            return
        if answer.status == 200:
            promises.cancelled[execution_id] = asyncio.get_running_loop().time()
        elif answer.status != 409:
            promises.complaints.append(f"a cancellation was answered {answer}")

    async def _signal(self) -> None:
        """Starts an execution that waits for signals, and sends each by a key, often twice."""
        ((workload, target),) = self.rng.sample([t for t in self.targets if t[0].signals], 1)
        n = self._n()
        execution_id = await self._named(target, n)
        if execution_id is None:
            return
        path = f"executions/{execution_id}/signals/{SIGNAL}"
        for number in range(workload.signals):
            await asyncio.sleep(self.rng.uniform(0, 1.5))
            for _ in range(1 + (self.rng.random() < _AGAIN)):
                answer = await self.client.insist(path, payload(n, number), f"signal {number}")
                if answer is not None and answer.status == 202:
                    self.client.promises.signals += 1
                elif answer is not None:
                    self.client.promises.complaints.append(f"a signal was answered {answer}")

    async def _start_many_once(self) -> None:
        """Starts a batch by a key: whoever answers, each item is one and the same execution."""
        target, key = self._target(), f"{self.rng.getrandbits(64):016x}"
        names = [f"{key} {item}" for item in range(self.rng.randint(2, LARGEST_BATCH))]
        items = [request(self._n(), execution_name=name) for name in names]
        promises = self.client.promises
        promises.keyed.update((name, set()) for name in names)
        for _ in range(1 + (self.rng.random() < _AGAIN)):
            answer = await self.client.insist(f"{target}/execute/batch", {"items": items}, key)
            if answer is None:
                return
            if answer.status != 202:
                promises.complaints.append(f"a batch with a key was answered {answer}")
                return
            for name, item in zip(names, answer.data["items"], strict=True):
                promises.named(name, item["execution_id"])

    async def _pause(self) -> None:
        """Starts an execution, pauses it and lets it go on again."""
        execution_id = await self._named(self._target(), self._n())
        if execution_id is None:
            return
        self.client.promises.paused.add(execution_id)
        for what in ("pause", "resume"):
            await asyncio.sleep(self.rng.uniform(0, 1.5))
            answer = await self.client.insist(f"executions/{execution_id}/{what}", None, None)
            if answer is not None and answer.status == 409:
                return  # It has ended.
            if answer is not None and answer.status != 202:
                self.client.promises.complaints.append(f"a {what} was answered {answer}")

    def _target(self) -> str:
        weights = [workload.weight for workload, _ in self.targets]
        ((_, workflow_id),) = self.rng.choices(self.targets, weights)
        return workflow_id

    def _n(self) -> int:
        return self.rng.choice(NUMBERS)


def request(n: int, **fields: str) -> JsonObject:
    """The body that starts an execution."""
    return {"community_id": COMMUNITY_ID, "variables": {"n": n}, **fields}


async def publish(http: aiohttp.ClientSession, member: Member, document: JsonObject) -> str:
    """Stores and publishes a workflow; returns its id."""
    url = f"{member.url}/workflows?publish=true"
    async with http.post(url, json=document) as response:
        answer = await response.json()
        if response.status != 201:
            raise RuntimeError(f"{document['name']} is refused: {answer}")
        return str(answer["data"]["workflow_id"])


async def run_once(
    http: aiohttp.ClientSession, member: Member, workflow_id: str, n: int, signals: int
) -> str:
    """Runs an execution to its end, with its signals; returns its id."""
    url = f"{member.url}/workflows/{workflow_id}/execute"
    headers = {"Idempotency-Key": f"without faults {n}"}
    async with http.post(url, json=request(n), headers=headers) as response:
        execution_id = str((await response.json())["data"]["execution_id"])
    for number in range(signals):
        signal = f"{member.url}/workflows/executions/{execution_id}/signals/{SIGNAL}"
        async with http.post(signal, json=payload(n, number)) as response:
            response.raise_for_status()
    async with http.post(f"{url}?wait=30", json=request(n), headers=headers) as response:
        answer = await response.json()
        if response.status != 200:
            raise RuntimeError(f"an execution without faults does not end: {answer}")
    return execution_id
