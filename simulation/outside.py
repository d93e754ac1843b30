"""The world that effects reach: it counts every arrival and answers as its name demands.

How a module behaves stands in its name (`flaky-2-…` fails twice per key, `down-…` always), so a
run with faults meets the same world as one without.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from engine.context import JsonObject
from engine.errors import StepFailure
from engine.ports import HttpResponse
from simulation.processes import Process

Started = Callable[[Process, str, Any], None]


class Outside:
    """Everything outside. `began(process, key, seen)` is called when an attempt starts."""

    def __init__(self, dice: random.Random, began: Started) -> None:
        self._dice = dice
        self._began = began
        self.arrivals: Counter[str] = Counter()
        """How often an effect of this key arrived."""
        self.done: Counter[str] = Counter()
        """How often it happened, that is, was not refused."""

    async def arrive(self, process: Process, name: str, request: JsonObject, key: str) -> Any:
        """An effect. It happens even if the process that asked is gone meanwhile."""
        self._began(process, key, request)
        loop = asyncio.get_running_loop()
        slow = name.startswith("slow-")
        answer: asyncio.Future[str] = loop.create_future()
        delay = self._dice.uniform(0.5, 1.5) if slow else self._dice.uniform(0.001, 0.2)
        back = self._dice.uniform(0.001, 0.1)
        loop.call_later(delay, self._happen, name, key, answer, back, context=process.outside)
        verdict = await answer
        if verdict == "down":
            raise StepFailure("DOWN", "It is down.", retryable=True)
        if verdict == "bad":
            raise StepFailure("REFUSED", "It does not want to.")
        return {"from": name}

    def _happen(self, name: str, key: str, answer: asyncio.Future[str], back: float) -> None:
        self.arrivals[key] += 1
        verdict, _, rest = name.partition("-")
        if verdict == "flaky":
            verdict = "down" if self.arrivals[key] <= int(rest[0]) else "good"
        if verdict not in ("down", "bad"):
            self.done[key] += 1
        asyncio.get_running_loop().call_later(back, _release, answer, verdict)


class Door:
    """One process' way to the outside: its `Transport` and `HttpClient`."""

    def __init__(self, outside: Outside, process: Process) -> None:
        self._outside = outside
        self._process = process

    async def execute_module(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Any:
        name = request["module_name"]
        seen = request["input"]["seen"]
        return await self._outside.arrive(self._process, name, seen, idempotency_key)

    async def send_message(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Any:
        await self._outside.arrive(self._process, "chat", NOTHING_SEEN, idempotency_key)
        return {"message_id": "m"}

    async def browser_source(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Any:
        await self._outside.arrive(self._process, "overlay", NOTHING_SEEN, idempotency_key)
        return {"shown": True}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | list[str]] | None,
        body: Any,
        timeout_seconds: float,
    ) -> HttpResponse:
        key = headers["Idempotency-Key"]
        await self._outside.arrive(self._process, "http", NOTHING_SEEN, key)
        return HttpResponse(200, {}, {"ok": True})


NOTHING_SEEN: JsonObject = {"nothing": "seen"}
"""In place of a step's input, where the request does not carry it."""


def _release(answer: asyncio.Future[str], verdict: str) -> None:
    if not answer.done():
        answer.set_result(verdict)
