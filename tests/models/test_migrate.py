"""Migrations are applied once, in order, and only to a database that can be trusted."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from engine.errors import StoreUnavailable
from models import migrate as module
from models.dal import AsyncDAL
from models.migrate import DatabaseRefused, check_server, is_current, migrate, read_migrations
from tests.conftest import database_named

WAITS_FOR_THE_TABLE = """
SELECT EXISTS (SELECT 1 FROM pg_locks
                WHERE NOT granted AND relation = 'community_members'::regclass)
"""


async def _somebody_waits(dal: AsyncDAL) -> None:
    while True:
        if await dal.fetchval(WAITS_FOR_THE_TABLE):
            return
        await asyncio.sleep(0.01)


@pytest.fixture
async def empty_database(server_url: str) -> AsyncIterator[str]:
    """The URL of a database without any schema."""
    name = f"empty_{uuid4().hex}"
    connection = await asyncpg.connect(server_url)
    await connection.execute(f"CREATE DATABASE {name}")
    yield database_named(server_url, name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the migrations that a test may change."""
    copy = tmp_path / "migrations"
    shutil.copytree(module.MIGRATIONS, copy)
    return copy


def add(directory: Path, file: str, sql: str) -> None:
    (directory / file).write_text(sql, encoding="utf-8")


def newest() -> int:
    return read_migrations()[-1].version


async def test_an_empty_database_gets_every_migration(empty_database: str) -> None:
    applied = await migrate(empty_database)
    assert applied == [migration.name for migration in read_migrations()]
    async with AsyncDAL(empty_database) as dal:
        assert await is_current(dal)


async def test_a_database_without_the_schema_is_not_current(empty_database: str) -> None:
    async with AsyncDAL(empty_database) as dal:
        assert not await is_current(dal)


async def test_migrating_again_changes_nothing(database_url: str) -> None:
    assert await migrate(database_url) == []


async def test_only_what_is_missing_is_applied(empty_database: str, directory: Path) -> None:
    await migrate(empty_database, directory)
    add(directory, f"{newest() + 1:04}_more.sql", "CREATE TABLE more (id int)")
    assert await migrate(empty_database, directory) == ["more"]


async def test_processes_that_start_together_apply_each_migration_once(
    empty_database: str,
) -> None:
    results = await asyncio.gather(*(migrate(empty_database) for _ in range(4)))
    assert sorted(map(len, results)) == [0, 0, 0, newest()]


async def test_a_failing_migration_leaves_nothing_behind(
    empty_database: str, directory: Path
) -> None:
    await migrate(empty_database, directory)
    add(directory, f"{newest() + 1:04}_broken.sql", "CREATE TABLE half (id int); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database, directory)
    async with AsyncDAL(empty_database) as dal:
        assert await dal.fetchval("SELECT to_regclass('half')") is None
        assert await is_current(dal)


async def test_a_migration_that_waits_for_a_table_lets_writers_pass(
    empty_database: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(empty_database, directory)
    add(directory, f"{newest() + 1:04}_more.sql", "ALTER TABLE community_members ADD more int")
    monkeypatch.setattr(module, "LOCK_MS", 200)
    reader = await asyncpg.connect(empty_database)
    async with AsyncDAL(empty_database, command_timeout=30) as dal:
        async with reader.transaction():
            await reader.fetch("SELECT * FROM community_members")
            migrating = asyncio.ensure_future(migrate(empty_database, directory))
            async with asyncio.timeout(30):
                await _somebody_waits(dal)
            await dal.execute("INSERT INTO community_members VALUES (1, 2, 'member')")
            assert not migrating.done()
        assert await migrating == ["more"]
    await reader.close()


async def test_a_migration_that_never_gets_its_table_is_unavailable_and_changes_nothing(
    empty_database: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(empty_database, directory)
    add(directory, f"{newest() + 1:04}_more.sql", "ALTER TABLE community_members ADD more int")
    monkeypatch.setattr(module, "LOCK_MS", 20)
    monkeypatch.setattr(module, "LOCK_ATTEMPTS", 2)
    reader = await asyncpg.connect(empty_database)
    async with reader.transaction():
        await reader.fetch("SELECT * FROM community_members")
        with pytest.raises(StoreUnavailable, match="lock"):
            await migrate(empty_database, directory)
    assert await migrate(empty_database, directory) == ["more"]
    await reader.close()


async def test_a_migration_from_the_future_is_refused(database_url: str) -> None:
    async with AsyncDAL(database_url) as dal:
        await dal.execute("INSERT INTO schema_migrations VALUES (9999, 'future', 'x')")
        try:
            assert await is_current(dal)
            with pytest.raises(DatabaseRefused, match="migration from the future: version 9999"):
                await migrate(database_url)
        finally:
            await dal.execute("DELETE FROM schema_migrations WHERE version = 9999")


async def test_a_changed_migration_is_refused(empty_database: str, directory: Path) -> None:
    await migrate(empty_database, directory)
    add(directory, "0001_initial.sql", read_migrations()[0].sql + "-- an afterthought")
    with pytest.raises(DatabaseRefused, match=r"migration 1 \(initial\) was changed"):
        await migrate(empty_database, directory)


def test_line_ends_do_not_count_as_a_change(directory: Path) -> None:
    before = read_migrations(directory)[0].checksum
    first = next(directory.glob("0001_*.sql"))
    first.write_bytes(first.read_bytes().replace(b"\n", b"\r\n"))
    assert read_migrations(directory)[0].checksum == before


def test_a_gap_in_the_numbers_is_refused(directory: Path) -> None:
    add(directory, f"{newest() + 2:04}_later.sql", "SELECT 1")
    with pytest.raises(ValueError, match="without a gap"):
        read_migrations(directory)


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
async def test_a_server_that_may_lose_commits_is_refused_with_the_remedy(setting: str) -> None:
    class Careless:
        def get_server_version(self) -> asyncpg.ServerVersion:
            return asyncpg.ServerVersion(18, 0, 0, "final", 0)

        async def fetchval(self, query: str, name: str) -> str:
            return "off" if name == setting else "on"

    with pytest.raises(DatabaseRefused, match=f"ALTER SYSTEM SET {setting} = on"):
        await check_server(Careless())


async def test_a_database_set_to_lose_commits_is_refused(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await connection.close()
    with pytest.raises(DatabaseRefused, match="synchronous_commit = off"):
        await migrate(empty_database)


async def test_an_old_server_is_refused() -> None:
    class Old:
        def get_server_version(self) -> asyncpg.ServerVersion:
            return asyncpg.ServerVersion(14, 9, 0, "final", 0)

    with pytest.raises(DatabaseRefused, match="PostgreSQL 14; version 15 or newer"):
        await check_server(Old())


async def test_no_server_is_reported_without_the_password() -> None:
    with pytest.raises(StoreUnavailable, match=r"no database at 127\.0\.0\.1:1/flows") as raised:
        await migrate("postgresql://me:secret@127.0.0.1:1/flows", connect_seconds=1)
    assert "secret" not in str(raised.value)


async def test_none_of_several_servers_is_reported() -> None:
    hosts = "127.0.0.1:1,127.0.0.1:2"
    with pytest.raises(StoreUnavailable, match=f"no database at {hosts}/flows") as raised:
        await migrate(f"postgresql://me:secret@{hosts}/flows", connect_seconds=1)
    assert "secret" not in str(raised.value)


GRANTS = """
GRANT USAGE ON SCHEMA public TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
"""


@pytest.fixture
async def role(empty_database: str) -> AsyncIterator[str]:
    """A role that owns nothing and may do nothing."""
    name = f"role_{uuid4().hex}"
    connection = await asyncpg.connect(empty_database)
    await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'a'")
    yield name
    await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
    await connection.close()


def as_role(role: str, url: str) -> str:
    """The URL of the same database for another role."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:a@{host}"))


async def test_a_role_that_owns_nothing_needs_no_right_to_make_tables(
    empty_database: str, role: str
) -> None:
    await migrate(empty_database)
    owner = await asyncpg.connect(empty_database)
    await owner.execute(GRANTS.format(role=role))
    await owner.close()
    assert await migrate(as_role(role, empty_database)) == []


async def test_a_role_that_may_not_is_told_what(empty_database: str, role: str) -> None:
    with pytest.raises(DatabaseRefused, match=r"permission denied for schema public\. The role"):
        await migrate(as_role(role, empty_database))
    await migrate(empty_database)
    with pytest.raises(DatabaseRefused, match=r"permission denied for table schema_migrations\."):
        await migrate(as_role(role, empty_database))


async def test_a_url_that_is_none_is_reported() -> None:
    with pytest.raises(StoreUnavailable, match="Check DATABASE_URL"):
        await migrate("mysql://localhost/flows", connect_seconds=1)
