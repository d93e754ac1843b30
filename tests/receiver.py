"""A receiver of webhooks on a real socket, which behaves as badly as it is told to.

Its one rule: what came is kept as it came, so that signatures are verified over the very bytes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Received:
    """One request. Header names are lower-case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def delivery_id(self) -> str:
        return self.headers["webhook-id"]

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Receiver:
    """Answers each request with the next of `acts`, and the last of them for ever."""

    acts: list[Act]
    port: int = 0
    received: list[Received] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def got(self, number: int) -> list[Received]:
        """What came, once it is as many as that."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            async with self._came:
                await self._came.wait_for(lambda: len(self.received) >= number)
        return self.received

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await _read(reader)
                if request is None:
                    return
                async with self._came:
                    self.received.append(request)
                    self._came.notify_all()
                act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                try:
                    await act(reader, writer)
                finally:
                    self.under_way -= 1
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiver(*acts: Act) -> AsyncIterator[Receiver]:
    """A receiver that listens while the block runs."""
    made = Receiver(list(acts) or [answers(200)])
    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        await made.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)


def answers(status: int, body: bytes = b"", **headers: str) -> Act:
    """Answers as it should."""

    async def act(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in named.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return act


async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Says nothing until the other side gives up."""
    await reader.read()


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Resets the connection."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def closes_early(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes in the middle of its headers."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await writer.drain()
    writer.close()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says that all is well, and never ends its body."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nwell")
    await writer.drain()
    await reader.read()


async def talks_endlessly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with as much as the other side will read, up to a gigabyte."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    for _piece in range(1024):
        writer.write(b"x" * 1_048_576)
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode().rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(first.split(" ")[1], headers, body)
