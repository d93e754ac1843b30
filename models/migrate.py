"""Brings a database to the schema of this code: `migrations/*.sql`, forward only, in order.

Several processes may start at once: an advisory lock lets one migrate while the others wait and
then find nothing to do. Each migration is one transaction together with its own row in
`schema_migrations`, so a crash leaves it either applied or not begun. A server that could lose
what it has confirmed is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from engine.errors import StoreUnavailable
from models.dal import AsyncDAL
from models.failures import unavailable

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
OLDEST_SERVER = 15
LOCK_KEY = 0x57_61_64_64_6C_65  # "Waddle"
FIRST_START_KEY = LOCK_KEY + 1
CONNECT_SECONDS = 30.0
RETRY_SECONDS = 0.2
LOCK_MS = 2_000
LOCK_ATTEMPTS = 15

_TABLE = "SELECT to_regclass(quote_ident(current_schema()) || '.schema_migrations')"
_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""

_DURABILITY = {
    "fsync": "confirmed data is lost when the machine fails",
    "full_page_writes": "a page half written when the machine fails cannot be repaired",
    "synchronous_commit": "a commit is confirmed before it is on disk",
}


class DatabaseRefused(RuntimeError):
    """The database cannot be used as it is; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `0001_initial.sql` is version 1, name `initial`."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()


def read_migrations(directory: Path = MIGRATIONS) -> list[Migration]:
    """Reads the migrations, in order. Raises `ValueError` unless they count 1, 2, 3, …"""
    found = []
    for file in sorted(directory.glob("*.sql")):
        number, _, name = file.stem.partition("_")
        found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    versions = [migration.version for migration in found]
    if not versions or versions != list(range(1, len(versions) + 1)):
        raise ValueError(f"{directory}: migrations must count from 1 without a gap, not {versions}")
    return found


async def migrate(
    dsn: str, directory: Path = MIGRATIONS, *, connect_seconds: float = CONNECT_SECONDS
) -> list[str]:
    """Checks the server, applies what is missing and returns the names of what was applied.

    Waits up to `connect_seconds` for a server that is still starting. Raises `StoreUnavailable`
    if there is none and `DatabaseRefused` if it is too old, not durable, has a schema that this
    code does not know, or does not let its role do what is needed.
    """
    migrations = read_migrations(directory)
    connection = await _connect(dsn, connect_seconds)
    try:
        with rights_told():
            await check_server(connection)
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
            return await _apply(connection, migrations)
    except Exception as error:
        if unavailable(error) is None:
            raise
        raise StoreUnavailable(f"the database failed while migrating: {error}") from error
    finally:
        await connection.close(timeout=connect_seconds)


@contextmanager
def rights_told() -> Iterator[None]:
    """Raises `DatabaseRefused` for what the role may not do in the block."""
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseRefused(
            f"{error}. The role that DATABASE_URL names may not do this; use one that may, such as "
            "the owner of the tables, or grant it the right (docs/operations.md, Audit log)."
        ) from error


@asynccontextmanager
async def first_start(dal: AsyncDAL) -> AsyncIterator[None]:
    """Runs the block in one process at a time: what is made once must not be made by each of
    several that start together. Raises `StoreUnavailable`, also if another takes too long."""
    async with dal.transaction() as tx:
        await tx.execute("SELECT pg_advisory_xact_lock($1)", FIRST_START_KEY)
        yield


async def is_current(dal: AsyncDAL) -> bool:
    """Whether the database has the schema of this code, or a later one: while a new release
    rolls out, it migrates first and the old processes go on."""
    try:
        applied = await dal.fetchval("SELECT max(version) FROM schema_migrations")
    except asyncpg.UndefinedTableError:
        return False
    return applied is not None and int(applied) >= read_migrations()[-1].version


async def check_server(connection: asyncpg.Connection) -> None:
    """Raises `DatabaseRefused` unless the server is new enough and keeps what it confirms."""
    version = connection.get_server_version()
    if version.major < OLDEST_SERVER:
        raise DatabaseRefused(
            f"the database is PostgreSQL {version.major}; version {OLDEST_SERVER} or newer is "
            "needed. Upgrade it, or leave DATABASE_URL unset to use the embedded one."
        )
    for setting, danger in _DURABILITY.items():
        if await connection.fetchval("SELECT current_setting($1)", setting) == "off":
            raise DatabaseRefused(
                f"the database runs with {setting} = off: {danger}. Turn it on "
                f"(ALTER SYSTEM SET {setting} = on; SELECT pg_reload_conf();), and look for a "
                f"setting of the role or the database that overrides it, then start again."
            )


async def _connect(dsn: str, seconds: float) -> asyncpg.Connection:
    """Connects, as soon as a server that is starting lets it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        try:
            return await asyncpg.connect(dsn, timeout=max(1.0, deadline - loop.time()))
        except asyncpg.CannotConnectNowError as error:
            failure: Exception = error
        except Exception as error:
            raise _no_database(dsn, error) from error
        if loop.time() >= deadline:
            raise _no_database(dsn, failure) from failure
        await asyncio.sleep(RETRY_SECONDS)


def _no_database(dsn: str, error: Exception) -> Exception:
    if unavailable(error) is None and not isinstance(error, (ValueError, asyncpg.InterfaceError)):
        return error
    url = urlsplit(dsn)
    unnamed = "the local socket" if "host=" in url.query else "the local socket or localhost"
    where = f"{url.netloc.rpartition('@')[2] or unnamed}{url.path}"  # without the password
    reason = str(error) or "no answer in time"
    return StoreUnavailable(
        f"no database at {where}: {reason}. Check DATABASE_URL "
        "(postgresql://user:password@host:5432/name), or unset it to use the embedded one."
    )


async def _apply(connection: asyncpg.Connection, migrations: list[Migration]) -> list[str]:
    applied = await _applied(connection)
    _refuse_unknown_schema(applied, migrations)
    done = []
    for migration in migrations:
        if migration.version in applied:
            continue
        await _apply_one(connection, migration)
        log.info("applied migration %s %s", migration.version, migration.name)
        done.append(migration.name)
    return done


async def _applied(connection: asyncpg.Connection) -> dict[int, asyncpg.Record]:
    """What was applied, by version. The table is only made where there is none: for that alone a
    role that owns nothing would need the right to make tables."""
    if await connection.fetchval(_TABLE) is None:
        await connection.execute(_CREATE_TABLE)
    rows = await connection.fetch("SELECT version, name, checksum FROM schema_migrations")
    return {row["version"]: row for row in rows}


async def _apply_one(connection: asyncpg.Connection, migration: Migration) -> None:
    """Applies one migration, whole. While it waits for a table that somebody reads, everybody who
    wants to write there waits behind it: so it waits a moment, lets them pass, and tries again."""
    for attempts_left in reversed(range(LOCK_ATTEMPTS)):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                    migration.version,
                    migration.name,
                    migration.checksum,
                )
            return
        except asyncpg.LockNotAvailableError:
            if not attempts_left:
                raise
            await asyncio.sleep(RETRY_SECONDS)


def _refuse_unknown_schema(applied: dict[int, asyncpg.Record], migrations: list[Migration]) -> None:
    newest = migrations[-1].version
    future = sorted(version for version in applied if version > newest)
    if future:
        raise DatabaseRefused(
            f"the database has a migration from the future: version {future[-1]}, while this "
            f"code knows up to {newest}. Run the newer code, or another database."
        )
    for migration in migrations:
        row = applied.get(migration.version)
        if row is not None and row["checksum"] != migration.checksum:
            raise DatabaseRefused(
                f"migration {migration.version} ({migration.name}) was changed after it had been "
                "applied to this database. Restore the file; a change is a new migration."
            )
