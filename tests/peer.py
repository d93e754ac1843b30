"""What effects reach: an HTTP peer on loopback that remembers every call and answers when told to.

Its one rule: a call is answered by what the test says, never by the time it has lasted. `/quick…`
is answered at once, `/refused…` at once with 503, and `/held…` once it is let go.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.processes import HOST
from tests.waiting import until

QUICK_SECONDS = 0.05


@dataclass(eq=False, slots=True)
class Call:
    """A call that arrived: with which key, and how many with that key there were by then."""

    path: str
    key: str
    turn: int
    body: Any
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    """Whoever called has hung up without an answer."""
    freed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def execution_id(self) -> str:
        """Whose effect it is."""
        return self.key.partition(":")[0]


@dataclass(slots=True)
class Peer:
    """Every call, in order. Once it is `open` nothing is held or refused any more."""

    url: str = ""
    open: bool = False
    calls: list[Call] = field(default_factory=list)
    _keys: Counter[str] = field(default_factory=Counter)

    @property
    def keys(self) -> Counter[str]:
        """How often each key came."""
        return Counter(self._keys)

    def to(self, path: str) -> list[Call]:
        """The calls of this path."""
        return [call for call in self.calls if call.path == path]

    async def called(self, path: str, times: int = 1) -> list[Call]:
        """The calls of this path, once there are so many."""

        async def enough() -> bool:
            return len(self.to(path)) >= times

        await until(enough)
        return self.to(path)

    def let_go(self) -> None:
        """Answers everything that is held, and holds nothing any more."""
        self.open = True
        for call in self.calls:
            call.freed.set()

    async def answer(self, request: web.Request) -> web.Response:
        """Remembers the call, and answers as its path says."""
        key, body = request.headers["Idempotency-Key"], await request.json()
        self._keys[key] += 1
        call = Call(request.path, key, self._keys[key], body)
        self.calls.append(call)
        try:
            if request.path.startswith("/quick"):
                await asyncio.sleep(QUICK_SECONDS)
            elif request.path.startswith("/held") and not self.open:
                await call.freed.wait()
        except asyncio.CancelledError:
            call.cut.set()
            raise
        refused = request.path.startswith("/refused") and not self.open
        return web.json_response({"turn": call.turn}, status=503 if refused else 200)


@asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    """A listening peer. It lets everything go before it closes."""
    made = Peer()
    app = web.Application()
    app.router.add_post("/{anything:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        made.url = "http://{}:{}".format(*runner.addresses[0][:2])
        yield made
    finally:
        made.let_go()
        await runner.cleanup()


def calling(url: str, **settings: Any) -> dict[str, Any]:
    """A node that calls this URL, and waits for the answer as long as any test may take."""
    node = {"node_type": "action_webhook", "timeout_seconds": 300}
    return {**node, "config": {"url": url, "body": {}}, **settings}
