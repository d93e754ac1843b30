"""Statements that may take hours, each on a connection that is nobody else's."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from models.dal import AsyncDAL, bounded, cut
from models.failures import unavailable

HOURS_LONG = 6 * 3600.0
"""Seconds after which even such a statement is given up."""


@asynccontextmanager
async def patient(dal: AsyncDAL) -> AsyncGenerator[asyncpg.Connection, None]:
    """A connection of one's own, for `run`. Raises `StoreUnavailable`."""
    connection = await dal.connect()
    try:
        yield connection
    except Exception as error:
        failure = unavailable(error)
        if failure is not None:
            raise failure from error
        raise
    finally:
        cut(connection)


async def run(connection: asyncpg.Connection, statement: str, *args: Any) -> Any:
    """The first value that a statement gives, after as long as it needs."""
    return await bounded(
        connection, connection.fetchval(statement, *args, timeout=HOURS_LONG), HOURS_LONG
    )
