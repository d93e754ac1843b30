"""A relay before a PostgreSQL that counts the statements which pass through it.

It knows of the protocol no more than it takes: how long a message is, and which ones run a
statement. What the server answers is passed on unread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_STARTUP = 196_608
"""The protocol's version, 3.0, in the first message that has one."""
_STATEMENTS = frozenset(b"EQ")
"""Execute of the extended protocol, and Query of the simple one."""


@dataclass(slots=True)
class Relay:
    """A relay that runs: where it listens, and what has passed."""

    port: int
    statements: int = 0

    def dsn(self, database: str) -> str:
        """The URL of one of the server's databases through this relay."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"


@asynccontextmanager
async def relay(dsn: str) -> AsyncIterator[Relay]:
    """Listens until the block ends, before the server of `dsn`, which has a Unix socket."""
    [directory] = parse_qs(urlsplit(dsn).query)["host"]
    target = Path(directory) / ".s.PGSQL.5432"
    counted = Relay(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_unix_connection(target)
        back = asyncio.create_task(_copy(answers, writer))
        try:
            await _forward(reader, questions, counted)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # One of the two has gone, and the other is told so.
        finally:
            questions.close()
            await back

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        counted.port = server.sockets[0].getsockname()[1]
        yield counted


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counted: Relay
) -> None:
    started = False
    while True:
        kind = await reader.readexactly(1) if started else b""
        size = await reader.readexactly(4)
        body = await reader.readexactly(int.from_bytes(size) - 4)
        counted.statements += started and kind[0] in _STATEMENTS
        started = started or int.from_bytes(body[:4]) == _STARTUP
        writer.write(kind + size + body)
        await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
    except ConnectionError:
        pass  # Whoever asked has gone.
    finally:
        writer.close()
