"""A client of server-sent events, over a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass
class Sse:
    """An open stream. `last_id` is what a browser would send as `Last-Event-ID`."""

    answer: aiohttp.ClientResponse
    last_id: str = ""
    comments: list[str] = field(default_factory=list)
    retry: int | None = None

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The events, until the server ends the stream."""
        data: list[str] = []
        async for raw in self.answer.content:
            line = raw.decode().rstrip("\n")
            name, _, value = line.partition(": ")
            if not line:
                if data:
                    yield json.loads("\n".join(data))
                data = []
            elif line.startswith(":"):
                self.comments.append(line[1:].strip())
            elif name == "id":
                self.last_id = value
            elif name == "data":
                data.append(value)
            elif name == "retry":
                self.retry = int(value)

    async def all(self) -> list[dict[str, Any]]:
        """Every event to the end of the stream."""
        return [event async for event in self.events()]


@asynccontextmanager
async def sse(http: aiohttp.ClientSession, url: str, **headers: str) -> AsyncIterator[Sse]:
    """Opens a stream. Raises `AssertionError` unless it is one."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with http.get(url, headers=sent, timeout=timeout) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        yield Sse(answer)
