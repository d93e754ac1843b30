"""The outside world: an HTTP peer on loopback that remembers every call.

Its one rule: what it answers depends on the call alone, never on when or how often it comes;
`/flaky` is the exception, which refuses the first call with each key.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

HOST = "127.0.0.1"
SLOWEST_SECONDS = 0.15

_ALWAYS = {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}
"""Headers become part of a step's output, so this one may not tell the time."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that arrived: its Idempotency-Key, who it claims to be, whether it was taken, and
    when it came (`loop.time()`)."""

    key: str
    execution: str
    step: str
    n: int
    taken: bool
    at: float = 0.0


@dataclass(slots=True)
class Sink:
    """Every call, in order. `url` is where the sink listens."""

    latency: random.Random
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    _seen: Counter[str] = field(default_factory=Counter)

    async def answer(self, request: web.Request) -> web.Response:
        """Remembers the call, takes its time, and answers."""
        body = await request.json()
        key = request.headers.get("Idempotency-Key", "")
        self._seen[key] += 1
        taken = not request.path.endswith("/flaky") or self._seen[key] > 1
        now = asyncio.get_running_loop().time()
        self.calls.append(Call(key, body["execution"], body["step"], body["n"], taken, now))
        await asyncio.sleep(self.latency.uniform(0, SLOWEST_SECONDS))
        if not taken:
            return web.json_response({"error": "not yet"}, status=503)
        return web.json_response({"step": body["step"], "value": body["n"] * 10}, headers=_ALWAYS)


@asynccontextmanager
async def sink(seed: int) -> AsyncIterator[Sink]:
    """A listening sink; closed afterwards."""
    world = Sink(random.Random(seed))
    app = web.Application()
    app.router.add_post("/effect", world.answer)
    app.router.add_post("/effect/flaky", world.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, 0)
        await site.start()
        host, port, *_ = runner.addresses[0]
        world.url = f"http://{host}:{port}/effect"
        yield world
    finally:
        await runner.cleanup()
