"""What AsyncDAL promises when the database is well, slow, frozen or gone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import asyncpg
import pytest

from engine.errors import OutcomeUnknown, StoreUnavailable
from models import query as q
from models.dal import AsyncDAL
from tests.waiting import PATIENCE_SECONDS, until

INSERT_MEMBER = "INSERT INTO community_members VALUES ($1, $2, $3)"
COUNT_MEMBERS = "SELECT count(*) FROM community_members"


@pytest.fixture
async def brisk(database_url: str) -> AsyncIterator[AsyncDAL]:
    """An AsyncDAL whose patience with a statement ends soon, so that tests of it are quick. What
    must succeed is asked of `dal`, which waits out a machine that stands still."""
    async with AsyncDAL(
        database_url, min_size=1, max_size=4, command_timeout=0.8, acquire_timeout=PATIENCE_SECONDS
    ) as dal:
        yield dal


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def backend(session: AsyncDAL) -> int:
    pid: int = await session.fetchval("SELECT pg_backend_pid()")
    return pid


class TestValues:
    async def test_json_is_read_as_python_values(self, dal: AsyncDAL) -> None:
        value = {"text": "ü", "list": [1, 2.5, None, True], "nested": {"a": {}}}
        assert await dal.fetchval("SELECT $1::json", value) == value

    async def test_bytes_are_taken_as_json_already_serialised(self, dal: AsyncDAL) -> None:
        assert await dal.fetchval("SELECT $1::json", b'{"a":[1]}') == {"a": [1]}

    async def test_json_null_and_sql_null_are_told_apart(self, dal: AsyncDAL) -> None:
        row = await dal.fetchrow(
            "SELECT $1::json IS NULL AS sql, $2::json IS NULL AS json", None, b"null"
        )
        assert dict(row) == {"sql": True, "json": False}

    async def test_json_travels_inside_arrays(self, dal: AsyncDAL) -> None:
        rows = await dal.fetch(
            "SELECT * FROM unnest($1::json[]) AS item", [b'{"a":1}', {"b": 2}, None, "text"]
        )
        assert [row["item"] for row in rows] == [{"a": 1}, {"b": 2}, None, "text"]

    async def test_uuids_are_written_from_text_or_uuid_and_read_as_text(
        self, dal: AsyncDAL
    ) -> None:
        value = uuid4()
        assert await dal.fetchval("SELECT $1::uuid", value) == str(value)
        assert await dal.fetchval("SELECT $1::uuid", str(value)) == str(value)

    async def test_uuids_travel_inside_arrays(self, dal: AsyncDAL) -> None:
        values = [str(uuid4()), str(uuid4())]
        assert await dal.fetchval("SELECT $1::uuid[]", values) == values

    async def test_what_is_no_uuid_is_refused_before_it_is_sent(self, dal: AsyncDAL) -> None:
        with pytest.raises(asyncpg.DataError):
            await dal.fetchval("SELECT $1::uuid", "not a uuid")

    async def test_instants_come_back_aware_and_in_utc(self, dal: AsyncDAL) -> None:
        instant = datetime(2026, 3, 29, 2, 30, 0, 123456, timezone(timedelta(hours=2)))
        read = await dal.fetchval("SELECT $1::timestamptz", instant)
        assert read == instant
        assert read.tzinfo is UTC or read.utcoffset() == timedelta(0)

    async def test_a_uuid_is_accepted_as_an_object_in_a_compiled_query(self, dal: AsyncDAL) -> None:
        table = dal.db.workflows
        assert await dal.fetch(q.select(dal.db, table.workflow_id == UUID(int=1))) == []


class TestTransactions:
    async def test_execute_says_how_many_rows_it_touched(self, dal: AsyncDAL) -> None:
        assert await dal.execute(INSERT_MEMBER, 1, 2, "mod") == 1
        assert await dal.execute("DELETE FROM community_members WHERE user_id = 99") == 0

    async def test_a_block_that_ends_is_committed(self, dal: AsyncDAL) -> None:
        async with dal.transaction() as tx:
            await tx.execute(INSERT_MEMBER, 1, 2, "mod")
        assert await dal.fetchval(COUNT_MEMBERS) == 1

    async def test_a_block_that_raises_is_rolled_back(self, dal: AsyncDAL) -> None:
        async def fail() -> None:
            async with dal.transaction() as tx:
                await tx.execute(INSERT_MEMBER, 1, 2, "mod")
                raise LookupError("changed my mind")

        with pytest.raises(LookupError, match="changed my mind"):
            await fail()
        assert await dal.fetchval(COUNT_MEMBERS) == 0

    async def test_a_block_that_is_cancelled_is_rolled_back(self, dal: AsyncDAL) -> None:
        inside = asyncio.Event()

        async def linger() -> None:
            async with dal.transaction() as tx:
                await tx.execute(INSERT_MEMBER, 1, 2, "mod")
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(linger())
        await inside.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert await dal.fetchval(COUNT_MEMBERS) == 0

    async def test_a_broken_rule_of_the_schema_stays_a_database_error(self, dal: AsyncDAL) -> None:
        await dal.execute(INSERT_MEMBER, 1, 2, "mod")
        with pytest.raises(asyncpg.UniqueViolationError):
            await dal.execute(INSERT_MEMBER, 1, 2, "mod")

    async def test_a_connection_is_as_new_after_a_failed_statement(self, dal: AsyncDAL) -> None:
        async with dal.acquire() as connection:
            first = await connection.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await dal.fetchval("SELECT 1 / 0")
        assert await backend(dal) == first


class TestTimeouts:
    async def test_a_blocked_statement_ends_with_nothing_done(
        self, dal: AsyncDAL, brisk: AsyncDAL
    ) -> None:
        await dal.execute(INSERT_MEMBER, 1, 2, "mod")
        async with dal.acquire() as holder, holder.transaction():
            await holder.execute("LOCK TABLE community_members")

            async def nothing_done() -> bool:
                """Whether the server ended it. While the machine stands still the client gives up
                as well, and knows less."""
                try:
                    await brisk.execute("UPDATE community_members SET role = 'vip'")
                except StoreUnavailable:
                    return True
                except OutcomeUnknown:
                    return False
                raise AssertionError("it was not blocked")

            await until(nothing_done)
        assert await dal.fetchval("SELECT role FROM community_members") == "mod"

    async def test_reading_from_a_frozen_server_gives_up_in_time(self, brisk: AsyncDAL) -> None:
        with frozen(await backend(brisk)):
            async with asyncio.timeout(PATIENCE_SECONDS):
                with pytest.raises(StoreUnavailable):
                    await brisk.fetchval("SELECT 1")

    async def test_writing_to_a_frozen_server_leaves_the_outcome_unknown(
        self, brisk: AsyncDAL
    ) -> None:
        with frozen(await backend(brisk)):
            async with asyncio.timeout(PATIENCE_SECONDS):
                with pytest.raises(OutcomeUnknown):
                    await brisk.execute(INSERT_MEMBER, 1, 2, "mod")

    async def test_committing_to_a_frozen_server_leaves_the_outcome_unknown(
        self, brisk: AsyncDAL
    ) -> None:
        async def commit_frozen() -> None:
            async with brisk.transaction() as tx:
                await tx.execute(INSERT_MEMBER, 1, 2, "mod")
                pid = await tx.fetchval("SELECT pg_backend_pid()")
                os.kill(pid, signal.SIGSTOP)
                frozen_pids.append(pid)

        frozen_pids: list[int] = []
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                with pytest.raises(OutcomeUnknown):
                    await commit_frozen()
        finally:
            os.kill(frozen_pids[0], signal.SIGCONT)

    async def test_a_statement_that_runs_frozen_in_a_transaction_did_nothing(
        self, dal: AsyncDAL, brisk: AsyncDAL
    ) -> None:
        async def write_frozen() -> None:
            async with brisk.transaction() as tx:
                with frozen(await tx.fetchval("SELECT pg_backend_pid()")):
                    await tx.execute(INSERT_MEMBER, 1, 2, "mod")

        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(StoreUnavailable):
                await write_frozen()
        assert await dal.fetchval(COUNT_MEMBERS) == 0

    async def test_the_service_works_again_after_a_frozen_connection(self, brisk: AsyncDAL) -> None:
        with frozen(await backend(brisk)), pytest.raises(StoreUnavailable):
            await brisk.fetchval("SELECT 1")
        assert await brisk.fetchval("SELECT 1") == 1

    async def test_cancelling_does_not_wait_for_a_frozen_server(self, brisk: AsyncDAL) -> None:
        with frozen(await backend(brisk)):
            task = asyncio.create_task(brisk.fetchval("SELECT 1"))
            await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        assert done == {task}

    async def test_waiting_for_a_connection_of_a_full_pool_ends(self, database_url: str) -> None:
        async with (
            AsyncDAL(database_url, min_size=1, max_size=1, acquire_timeout=0.3) as dal,
            dal.acquire(),
        ):
            with pytest.raises(StoreUnavailable):
                await dal.fetchval("SELECT 1")


class TestLostConnections:
    async def test_a_backend_killed_in_a_transaction_did_nothing(self, dal: AsyncDAL) -> None:
        async def be_killed() -> None:
            async with dal.transaction() as tx:
                await tx.execute(INSERT_MEMBER, 1, 2, "mod")
                pid = await tx.fetchval("SELECT pg_backend_pid()")
                await dal.fetch("SELECT pg_terminate_backend($1, 5000)", pid)
                await tx.execute(INSERT_MEMBER, 1, 3, "mod")

        with pytest.raises(StoreUnavailable):
            await be_killed()
        assert await dal.fetchval(COUNT_MEMBERS) == 0

    async def test_a_backend_killed_before_commit_leaves_the_outcome_unknown(
        self, dal: AsyncDAL
    ) -> None:
        async def be_killed() -> None:
            async with dal.transaction() as tx:
                await tx.execute(INSERT_MEMBER, 1, 2, "mod")
                pid = await tx.fetchval("SELECT pg_backend_pid()")
                await dal.fetch("SELECT pg_terminate_backend($1, 5000)", pid)

        with pytest.raises(OutcomeUnknown):
            await be_killed()

    async def test_the_pool_heals_after_every_backend_was_killed(self, dal: AsyncDAL) -> None:
        async with dal.acquire() as one, dal.acquire() as other:
            pids = [await each.fetchval("SELECT pg_backend_pid()") for each in (one, other)]
        async with dal.acquire() as killer:
            mine = await killer.fetchval("SELECT pg_backend_pid()")
            victims = [pid for pid in pids if pid != mine]
            for pid in victims:
                await killer.execute("SELECT pg_terminate_backend($1, 5000)", pid)
        async with dal.acquire() as one, dal.acquire() as other:
            assert [await one.fetchval("SELECT 1"), await other.fetchval("SELECT 2")] == [1, 2]

    async def test_a_server_that_is_not_there_is_unavailable(self) -> None:
        dal = AsyncDAL("postgresql://nobody@127.0.0.1:1/nothing", acquire_timeout=2.0)
        with pytest.raises(StoreUnavailable):
            await dal.open()

    async def test_a_database_that_is_not_there_is_unavailable(self, server_url: str) -> None:
        dal = AsyncDAL(server_url.replace("/postgres?", "/no_such_database?"))
        with pytest.raises(StoreUnavailable, match="no_such_database"):
            await dal.open()

    async def test_a_closed_dal_is_unavailable(self, database_url: str) -> None:
        dal = AsyncDAL(database_url)
        await dal.open()
        await dal.close()
        with pytest.raises(StoreUnavailable):
            await dal.fetchval("SELECT 1")
