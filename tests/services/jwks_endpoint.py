"""A JWKS endpoint on a real socket, which can break, hang and lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


class Lines:
    """Counts the trouble that is reported."""

    def __init__(self) -> None:
        self.troubles = 0

    def trouble(self, action: str, *, cause: BaseException, **fields: object) -> None:
        self.troubles += 1

    def over(self, action: str) -> None:
        pass


@dataclass
class Endpoint:
    """What it serves, and how often it was asked. A cleared `free` makes it hang."""

    document: Any
    status: int = 200
    url: str = ""
    asked: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        await self.free.wait()
        return web.json_response(self.document, status=self.status)


@asynccontextmanager
async def endpoint(document: Any) -> AsyncIterator[Endpoint]:
    """Serves the document on a free port of this machine."""
    served = Endpoint(document)
    served.free.set()
    app = web.Application()
    app.router.add_get("/jwks.json", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    served.url = f"http://{host}:{port}/jwks.json"
    try:
        yield served
    finally:
        served.free.set()
        await runner.cleanup()
