"""The whole service behind a real socket in this process, for tests of streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from app import create_app
from composition import Running
from config import Config
from controllers.server import Listener, serve
from engine.departure import Departure
from tests.processes import HOST


@dataclass
class Served:
    """A served app: where it is, and how it is told to leave."""

    url: str
    departure: Departure
    serving: asyncio.Task[None]
    listener: Listener

    @property
    def streams(self) -> str:
        return f"{self.url}/api/v1/workflow-management/executions/stream"

    @property
    def socket(self) -> str:
        return f"{self.url}/api/v1/workflow-management/executions/ws"

    def events(self, execution_id: str) -> str:
        return f"{self.url}/api/v1/workflows/executions/{execution_id}/events"


@asynccontextmanager
async def served(service: Running, config: Config) -> AsyncIterator[Served]:
    """Serves a running service on a free port."""
    listener = Listener.own(HOST, 0)
    port = listener.getsockname()[1]
    departure = service.engine.departure
    app = create_app(config, service=service)
    serving = asyncio.create_task(serve(app, listener, departure, delay_seconds=0))
    try:
        yield Served(f"http://{HOST}:{port}", departure, serving, listener)
    finally:
        departure.begin()
        departure.hurry()
        await asyncio.wait([serving])
        listener.close()


async def start(http: aiohttp.ClientSession, url: str, workflow_id: str, **body: Any) -> str:
    """Starts an execution; its id."""
    body = {"community_id": 123, "variables": {"username": "Ada"}, **body}
    path = f"{url}/api/v1/workflows/{workflow_id}/execute"
    async with http.post(path, json=body) as answer:
        said = await answer.json()
        assert answer.status == 202, said
        return str(said["data"]["execution_id"])
