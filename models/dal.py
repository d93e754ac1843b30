"""AsyncDAL: the pool, the transactions and LISTEN; queries are literal SQL or compiled by pyDAL.

Its one rule: no wait on the database is unbounded. asyncpg waits for the server even when it is
cancelled, so a query that runs out of time does not end by cancelling it but by terminating its
connection; whoever waits behind it is then free as well. The server rolls back what the
connection had open. A server that is merely slow ends the statement itself a little earlier
(`statement_timeout`, nine tenths), which leaves no doubt about its outcome.

So a call takes at most the patience for a connection and that for a statement, and while the
server is silent (`Silence`) nearly all take no time at all. One connection is kept for what is
urgent, for a lease must not be lost because everybody else waits for a lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeVar

import asyncpg

from engine.errors import StoreUnavailable
from models import codecs
from models.failures import is_lost, is_spent, leads_nowhere, outcome_unknown, unavailable
from models.listener import Listener
from models.query import Query
from models.silence import Silence
from models.tables import schema

IDLE_IN_TRANSACTION_MS = 5_000

T = TypeVar("T")
Statement = str | Query

MOST_WAITING = 2_000
"""How many calls may wait for a connection; more are refused at once."""

WRITABLE = "read-write"
"""Which servers are taken (`target_session_attrs`): of several hosts in the URL the primary, and
none where nothing can be written."""


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A pooled connection that needs no cleaning between uses.

    asyncpg's own reset costs a round trip per use. Nothing here leaves state behind in a pooled
    session: locks, LISTEN and SET belong to transactions or to dedicated connections.
    """

    def get_reset_query(self) -> str:
        return ""


class Session:
    """One connection, as a transaction hands it out. Every call is bounded by `seconds`."""

    def __init__(self, connection: asyncpg.Connection, seconds: float) -> None:
        self.connection = connection
        self._seconds = seconds

    async def fetch(self, query: Statement, *args: Any) -> list[asyncpg.Record]:
        """All rows of the result."""
        rows: list[asyncpg.Record] = await self._run(self.connection.fetch, query, args)
        return rows

    async def fetchrow(self, query: Statement, *args: Any) -> asyncpg.Record | None:
        """The first row of the result, None if it is empty."""
        return await self._run(self.connection.fetchrow, query, args)

    async def fetchval(self, query: Statement, *args: Any) -> Any:
        """The first column of the first row, None if there is no row."""
        return await self._run(self.connection.fetchval, query, args)

    async def execute(self, query: Statement, *args: Any) -> int:
        """Runs the statement and returns how many rows it touched."""
        status: str = await self._run(self.connection.execute, query, args)
        rows = status.rpartition(" ")[2]
        return int(rows) if rows.isdecimal() else 0

    async def _run(
        self, method: Callable[..., Awaitable[T]], query: Statement, args: tuple[Any, ...]
    ) -> T:
        sql, values = (query.sql, query.args) if isinstance(query, Query) else (query, args)
        return await bounded(self.connection, method(sql, *values), self._seconds)


class AsyncDAL:
    """The database of one process.

    `dsn` is a PostgreSQL URL; `command_timeout` and `acquire_timeout` are seconds. `db` is the
    schema that queries are built from. Unreachable, silent or refusing servers raise
    `StoreUnavailable`; a connection lost while committing raises `OutcomeUnknown`.
    """

    def __init__(
        self,
        dsn: str,
        *,
        min_size: int = 2,
        max_size: int = 20,
        command_timeout: float = 10.0,
        acquire_timeout: float = 5.0,
    ) -> None:
        self.db = schema()
        self._dsn = dsn
        self._sizes = (min_size, max_size)
        self._command_timeout = command_timeout
        self._acquire_timeout = acquire_timeout
        self._pool: asyncpg.Pool | None = None
        self._turns = asyncio.Semaphore(max(max_size - 1, 1))
        self._waiting = 0
        self._silence = Silence()
        self._listener = Listener(dsn, acquire_timeout)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Connects. Raises `StoreUnavailable`."""
        minimum, maximum = self._sizes
        # It prints a traceback for every try to connect again; those who need it say so once.
        logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
        pool = asyncpg.create_pool(
            self._dsn,
            min_size=minimum,
            max_size=maximum,
            init=codecs.register,
            connection_class=_Connection,
            command_timeout=self._command_timeout,
            timeout=self._acquire_timeout,
            target_session_attrs=WRITABLE,
            server_settings={
                "application_name": "workflow_core",
                "jit": "off",  # compiling a short query costs more than running it
                "statement_timeout": str(int(self._command_timeout * 900)),
                # A process that is frozen in the middle of a transaction must not keep what it
                # has locked from the others for longer than this.
                "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
            },
        )
        try:
            async with asyncio.timeout(self._acquire_timeout):
                await pool
        except BaseException as error:
            pool.terminate()
            _raise_unavailable(error)
            raise
        self._pool = pool

    async def close(self) -> None:
        """Closes every connection; those still in use are given a moment, then cut."""
        await self._listener.close()
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(self._acquire_timeout):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def connect(self) -> asyncpg.Connection:
        """A connection of one's own, outside the pool, for what lives as long as a session
        (advisory locks). The caller closes it. Raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(self._acquire_timeout):
                return await asyncpg.connect(
                    self._dsn,
                    timeout=self._acquire_timeout,
                    command_timeout=self._command_timeout,
                    target_session_attrs=WRITABLE,
                    server_settings={"application_name": "workflow_core worker"},
                )
        except BaseException as error:
            _raise_unavailable(error)
            raise

    @asynccontextmanager
    async def acquire(self, *, urgent: bool = False) -> AsyncIterator[asyncpg.Connection]:
        """Lends a raw connection. Time-outs and cancellation inside terminate it; connection
        errors leave as `StoreUnavailable`. Use `bounded` for each wait on it. An urgent call
        waits for no other."""
        pool = self._pool
        if pool is None:
            raise StoreUnavailable("the database is not open")
        async with self._turn(urgent):
            try:
                with self._silence.call(urgent=urgent):
                    connection = await pool.acquire(timeout=self._acquire_timeout)
                    try:
                        yield connection
                    except BaseException as error:
                        if is_spent(error):
                            cut(connection)
                        if leads_nowhere(error):
                            await pool.expire_connections()
                        raise
                    finally:
                        await pool.release(connection, timeout=self._command_timeout)
            except Exception as error:
                _raise_unavailable(error)
                raise

    @asynccontextmanager
    async def _turn(self, urgent: bool) -> AsyncIterator[None]:
        """Waits until a connection may be had: one is left for urgent calls."""
        if urgent:
            yield
            return
        if self._waiting >= MOST_WAITING:
            raise StoreUnavailable("too many calls wait for a connection")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._acquire_timeout):
                await self._turns.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("every connection is in use") from error
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Runs the block in one transaction: commits at its end, rolls back on any error.

        Raises `OutcomeUnknown` when the connection is lost during COMMIT.
        """
        async with self.acquire() as connection:
            seconds = self._command_timeout
            transaction = connection.transaction()
            await bounded(connection, transaction.start(), seconds)
            try:
                yield Session(connection, seconds)
            except BaseException as error:
                # `acquire` cuts a spent connection, and with it the transaction.
                if not is_spent(error):
                    await bounded(connection, transaction.rollback(), seconds)
                raise
            try:
                await bounded(connection, transaction.commit(), seconds)
            except BaseException as error:
                if unavailable(error) is None:
                    raise
                raise outcome_unknown(error) from error

    async def fetch(self, query: Statement, *args: Any) -> list[asyncpg.Record]:
        """All rows of the result."""
        return await self._single(lambda session: session.fetch(query, *args), query)

    async def fetchrow(self, query: Statement, *args: Any) -> asyncpg.Record | None:
        """The first row of the result, None if it is empty."""
        return await self._single(lambda session: session.fetchrow(query, *args), query)

    async def fetchval(self, query: Statement, *args: Any, urgent: bool = False) -> Any:
        """The first column of the first row, None if there is no row. An urgent query waits for
        no other."""
        return await self._single(lambda session: session.fetchval(query, *args), query, urgent)

    async def execute(self, query: Statement, *args: Any) -> int:
        """Runs the statement in a transaction of its own; returns how many rows it touched."""
        return await self._single(lambda session: session.execute(query, *args), query)

    async def listen(
        self,
        channel: str,
        callback: Callable[[str], None],
        lost: Callable[[], None] | None = None,
    ) -> None:
        """Calls `callback(payload)` for every NOTIFY on `channel` until `close`.

        The connection is dedicated and comes back by itself; what was notified while it was away
        is lost, as a notification is a hint and the table is the truth. Then `lost` is called.
        """
        await self._listener.listen(channel, callback, lost)

    async def _single(
        self, run: Callable[[Session], Awaitable[T]], query: Statement, urgent: bool = False
    ) -> T:
        """A statement outside a transaction commits as it runs, so losing the connection in the
        middle of a writing one leaves its outcome unknown."""
        async with self.acquire(urgent=urgent) as connection:
            try:
                return await run(Session(connection, self._command_timeout))
            except Exception as error:
                if not is_lost(error) or _only_reads(query):
                    raise
                raise outcome_unknown(error) from error


async def bounded(connection: asyncpg.Connection, work: Awaitable[T], seconds: float) -> T:
    """Awaits `work` on `connection`; after `seconds` cuts the connection and raises
    `TimeoutError`."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        cut(connection)
        raise


def cut(connection: asyncpg.Connection) -> None:
    """Closes the socket without a word to the server. Harmless when it is closed already."""
    with suppress(asyncpg.InterfaceError):  # its pool has taken it back
        connection.terminate()


def _raise_unavailable(error: BaseException) -> None:
    failure = unavailable(error)
    if failure is not None:
        raise failure from error


def _only_reads(query: Statement) -> bool:
    sql = query.sql if isinstance(query, Query) else query
    return sql.lstrip()[:6].upper() == "SELECT"
