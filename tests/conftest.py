"""The smallest world a database test needs: one server, one database per test worker.

The server is the embedded one, so the tests meet the PostgreSQL that users get. A template
database is migrated once, copied for each worker, and emptied after every test.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from chaos.database import Database
from models.dal import AsyncDAL
from models.embedded import EmbeddedPostgres, start_embedded
from models.migrate import migrate
from tests.live_service import live

__all__ = ["live"]
"""The fixture of the pages that are followed."""

TEMPLATE = "workflow_core_template"
TEMPLATE_LOCK = 1


def database_named(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    server = start_embedded(shared / "server")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def server_url(server: EmbeddedPostgres) -> str:
    """The URL of the shared server."""
    return server.dsn


@pytest.fixture(scope="session")
def worker_database_url(server_url: str) -> str:
    """The URL of this worker's own migrated database."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return asyncio.run(_copy_template(server_url, f"workflow_core_{worker}"))


@pytest.fixture
async def database_url(worker_database_url: str) -> AsyncIterator[str]:
    """The URL of a migrated, empty database; whatever the test writes is removed after it."""
    yield worker_database_url
    connection = await asyncpg.connect(worker_database_url)
    try:
        await _empty(connection)
    finally:
        await connection.close()


@pytest.fixture
async def own_database(server: EmbeddedPostgres) -> AsyncIterator[Database]:
    """A migrated database for this test alone, gone with everybody in it afterwards."""
    name = f"workflow_core_{uuid4().hex}"
    dsn = await _copy_template(server.dsn, name)
    yield Database(replace(server, dsn=dsn))
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture
async def dal(database_url: str) -> AsyncIterator[AsyncDAL]:
    """An open AsyncDAL on an empty database."""
    async with AsyncDAL(database_url, min_size=1, max_size=8, acquire_timeout=60) as dal:
        yield dal


@pytest.fixture
async def patient_dal(database_url: str) -> AsyncIterator[AsyncDAL]:
    """As `dal`, with patience: a slow machine needs a while to fill tables and their indexes."""
    async with AsyncDAL(database_url, min_size=1, max_size=8, command_timeout=120) as dal:
        yield dal


async def _copy_template(server_url: str, name: str) -> str:
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", TEMPLATE_LOCK)
        known = {
            row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")
        }
        if TEMPLATE not in known:
            await connection.execute(f"CREATE DATABASE {TEMPLATE}")
            await migrate(database_named(server_url, TEMPLATE))
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    finally:
        await connection.close()
    return database_named(server_url, name)


async def _empty(connection: asyncpg.Connection) -> None:
    """DELETE, not TRUNCATE: a test leaves few rows, and truncating syncs a file per table."""
    await connection.execute("SET lock_timeout = '5s'")
    # Without triggers: some tables may not be emptied.
    await connection.execute("SET session_replication_role = replica")
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        " AND relname <> 'schema_migrations' ORDER BY relname = 'workflows'"
    )
    await connection.execute("; ".join(f"DELETE FROM {table['relname']}" for table in tables))
