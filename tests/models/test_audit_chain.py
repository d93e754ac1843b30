"""The audit log: appended to and nothing else, and whoever changes it all the same is found out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from models.audit import AuditLog, AuditRow, Unstorable
from models.audit_chain import AuditChain, Tip
from models.dal import AsyncDAL
from models.migrate import MIGRATIONS, migrate
from tests.conftest import database_named

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
WORKFLOW = "018f0000-0000-7000-8000-000000000001"


def entry(number: int, **more: Any) -> AuditRow:
    return AuditRow(MOMENT, "AUDIT", f"a{number}", "SUCCESS", **more)


async def filled(dal: AsyncDAL, rows: int = 9) -> list[int]:
    """Writes so many rows, in batches of three; their ids."""
    log = AuditLog(dal)
    for first in range(0, rows, 3):
        await log.append([entry(number) for number in range(first, min(first + 3, rows))])
    return [row["audit_id"] for row in await dal.fetch("SELECT audit_id FROM audit_log ORDER BY 1")]


@asynccontextmanager
async def tampering(dal: AsyncDAL) -> AsyncIterator[asyncpg.Connection]:
    """A superuser for whom no trigger fires."""
    connection = await dal.connect()
    try:
        await connection.execute("SET session_replication_role = replica")
        yield connection
    finally:
        await connection.close()


async def test_rows_with_and_without_everything_fit(dal: AsyncDAL) -> None:
    full = entry(
        1,
        community_id=2**62,
        user_id=0,
        workflow_id=WORKFLOW,
        execution_id=WORKFLOW,
        request_id='r\x01\x1f\x7f\b\f\n\r\t"\\/\u2028\U0001f986',
        address="2001:db8::1",
        details={"b": 1.5, "a": ["ä", "\U0001f986", None, {"x": 10**18}], "empty": ""},
    )
    await AuditLog(dal).append([full, entry(2), AuditRow(MOMENT.replace(year=1969), "", "", "")])
    verdict = await AuditChain(dal).verify()
    assert (verdict.rows, verdict.broken, verdict.pruned_id) == (3, None, 0)


@pytest.mark.parametrize("page", [1, 4, 5_000])
async def test_g16_a_log_that_nobody_touched_fits_from_end_to_end(dal: AsyncDAL, page: int) -> None:
    ids = await filled(dal)
    verdict = await AuditChain(dal, page).verify()
    assert (verdict.rows, verdict.tip.audit_id, verdict.broken) == (9, ids[-1], None)


async def test_an_empty_log_fits(dal: AsyncDAL) -> None:
    assert (await AuditChain(dal).verify()).broken is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_log SET result = 'DENIED'",
        "UPDATE audit_log SET user_id = 5",
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE false",
        "TRUNCATE audit_log",
        "UPDATE audit_chain SET last_id = 0",
        "DELETE FROM audit_chain",
        "TRUNCATE audit_chain",
    ],
)
async def test_g16_even_the_owner_cannot_change_it(dal: AsyncDAL, change: str) -> None:
    await filled(dal)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await dal.execute(change)
    assert (await AuditChain(dal).verify()).rows == 9


@pytest.mark.parametrize(
    "change",
    [
        "at = at + interval '1 microsecond'",
        "recorded_at = recorded_at - interval '1 day'",
        "category = 'AUTH'",
        "action = action || '!'",
        "result = 'DENIED'",
        "community_id = 1",
        "user_id = 1",
        f"workflow_id = '{WORKFLOW}'",
        f"execution_id = '{WORKFLOW}'",
        "request_id = 'x'",
        "address = '127.0.0.1'",
        "details = '{ }'",
        "hash = '\\x00'",
    ],
)
async def test_g16_a_changed_row_is_found_and_named(dal: AsyncDAL, change: str) -> None:
    ids = await filled(dal)
    async with tampering(dal) as superuser:
        await superuser.execute(f"UPDATE audit_log SET {change} WHERE audit_id = $1", ids[4])
    broken = (await AuditChain(dal).verify()).broken
    assert broken is not None
    assert (broken.audit_id, broken.after) == (ids[4], ids[3])


async def test_g16_a_changed_row_whose_hash_was_made_to_fit_is_found_by_the_next(
    dal: AsyncDAL,
) -> None:
    ids = await filled(dal)
    async with tampering(dal) as superuser:
        await superuser.execute("UPDATE audit_log SET user_id = 1 WHERE audit_id = $1", ids[4])
        await superuser.execute(
            "UPDATE audit_log a SET hash = audit_row_hash(b.hash, a) FROM audit_log b "
            "WHERE a.audit_id = $1 AND b.audit_id = $2",
            ids[4],
            ids[3],
        )
    broken = (await AuditChain(dal).verify()).broken
    assert broken is not None
    assert (broken.audit_id, broken.after) == (ids[5], ids[4])


@pytest.mark.parametrize(
    ("removed", "found", "after"),
    [(0, 1, None), (4, 5, 3), (8, None, 7)],
    ids=["the first", "one in the middle", "the last"],
)
async def test_g16_a_missing_row_is_found(
    dal: AsyncDAL, removed: int, found: int | None, after: int | None
) -> None:
    ids = await filled(dal)
    async with tampering(dal) as superuser:
        await superuser.execute("DELETE FROM audit_log WHERE audit_id = $1", ids[removed])
    broken = (await AuditChain(dal).verify()).broken
    assert broken is not None
    assert broken.audit_id == (None if found is None else ids[found])
    assert broken.after == (0 if after is None else ids[after])


async def test_g16_a_row_slipped_in_is_found(dal: AsyncDAL) -> None:
    ids = await filled(dal)
    async with tampering(dal) as superuser:
        await superuser.execute(
            "INSERT INTO audit_log (at, category, action, result, recorded_at, hash) "
            "VALUES (now(), 'AUDIT', 'x', 'SUCCESS', now(), '\\x01')"
        )
    broken = (await AuditChain(dal).verify()).broken
    assert broken is not None
    assert (broken.audit_id, broken.after) == (ids[-1] + 1, ids[-1])


async def test_g16_a_log_emptied_with_its_end_is_found_by_what_was_noted(dal: AsyncDAL) -> None:
    await filled(dal)
    noted = (await AuditChain(dal).verify()).tip
    async with tampering(dal) as superuser:
        await superuser.execute("DELETE FROM audit_log; DELETE FROM audit_chain")
    assert (await AuditChain(dal).verify()).broken is None
    broken = (await AuditChain(dal).verify(noted)).broken
    assert broken is not None
    assert str(noted.audit_id) in broken.reason


async def test_g16_a_log_rewritten_to_its_end_is_found_by_what_was_noted(dal: AsyncDAL) -> None:
    ids = await filled(dal)
    chain = AuditChain(dal)
    noted = (await chain.verify()).tip
    assert (await chain.verify(noted)).broken is None
    async with tampering(dal) as superuser:
        await superuser.execute("UPDATE audit_log SET user_id = 1 WHERE audit_id = $1", ids[2])
        await superuser.execute(
            "DO $$ DECLARE entry audit_log; tip bytea := ''; BEGIN "
            "FOR entry IN SELECT * FROM audit_log ORDER BY audit_id LOOP "
            "tip := audit_row_hash(tip, entry); "
            "UPDATE audit_log SET hash = tip WHERE audit_id = entry.audit_id; END LOOP; "
            "UPDATE audit_chain SET last_hash = tip; END $$"
        )
    assert (await chain.verify()).broken is None
    broken = (await chain.verify(noted)).broken
    assert broken is not None
    assert broken.audit_id == noted.audit_id


async def test_g16_several_writers_at_once_make_one_chain(dal: AsyncDAL) -> None:
    log = AuditLog(dal)
    await asyncio.gather(
        *(log.append([entry(number), entry(number), entry(number)]) for number in range(40))
    )
    verdict = await AuditChain(dal).verify()
    assert (verdict.rows, verdict.broken) == (120, None)


async def test_a_batch_that_is_refused_leaves_no_trace(dal: AsyncDAL) -> None:
    log = AuditLog(dal)
    await log.append([entry(1)])
    with pytest.raises(Unstorable, match="must be str"):
        await log.append([entry(2), entry(3, details={"x": "\x00", "y": {1: 2}})])
    with pytest.raises(Unstorable, match="0x00"):
        await log.append([entry(2), entry(3, address="\x00")])
    await log.append([entry(4)])
    verdict = await AuditChain(dal).verify()
    assert (verdict.rows, verdict.broken) == (2, None)


def said(rows: int) -> AuditRow:
    return entry(0, details={"rows": rows})


async def notes(dal: AsyncDAL) -> list[int]:
    """How many rows went, by each note of a pruning."""
    rows = await dal.fetch("SELECT details FROM audit_log WHERE details->>'rows' IS NOT NULL")
    return [row["details"]["rows"] for row in rows]


async def test_pruning_takes_the_oldest_and_what_is_left_still_fits(dal: AsyncDAL) -> None:
    ids = await filled(dal)
    chain = AuditChain(dal, page=2)
    before = await dal.fetchval("SELECT recorded_at FROM audit_log WHERE audit_id = $1", ids[6])
    assert await chain.prune(ids[-1], before, said) == 6
    assert await chain.prune(ids[-1], before, said) == 0
    await AuditLog(dal).append([entry(9)])
    verdict = await chain.verify()
    assert (verdict.rows, verdict.pruned_id, verdict.broken) == (5, ids[5], None)
    assert await notes(dal) == [6]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await dal.execute("DELETE FROM audit_log")


async def test_pruning_goes_no_further_than_what_was_verified(dal: AsyncDAL) -> None:
    ids = await filled(dal)
    later = datetime.now(UTC) + timedelta(days=1)
    assert await AuditChain(dal).prune(ids[1], later, said) == 2
    assert await AuditChain(dal).prune(ids[-1], later, said) == 7
    verdict = await AuditChain(dal).verify()
    assert (verdict.rows, verdict.pruned_id, verdict.broken) == (2, ids[-1], None)
    assert await notes(dal) == [2, 7]
    await AuditLog(dal).append([entry(9)])
    assert (await AuditChain(dal).verify()).broken is None


HOLD = """
CREATE FUNCTION refuse_to_go() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'row % stays', OLD.audit_id; END $$;
CREATE TRIGGER stays BEFORE DELETE ON audit_log FOR EACH ROW WHEN (OLD.audit_id >= {first})
    EXECUTE FUNCTION refuse_to_go()
"""


@pytest.mark.parametrize(("stays", "gone"), [(0, 0), (3, 2)])
async def test_g16_no_row_goes_that_the_log_does_not_tell_of(
    dal: AsyncDAL, stays: int, gone: int
) -> None:
    ids = await filled(dal)
    await dal.execute(HOLD.format(first=ids[stays]))
    try:
        with pytest.raises(asyncpg.RaiseError, match="stays"):
            await AuditChain(dal, page=2).prune(
                ids[-1], datetime.now(UTC) + timedelta(days=1), said
            )
    finally:
        await dal.execute("DROP FUNCTION refuse_to_go() CASCADE")
    assert await notes(dal) == [9] * bool(gone)
    verdict = await AuditChain(dal).verify()
    assert (verdict.rows, verdict.broken) == (9 - gone + bool(gone), None)


async def test_a_pruned_row_that_was_noted_is_not_taken_for_missing(dal: AsyncDAL) -> None:
    ids = await filled(dal)
    noted = (await AuditChain(dal).verify()).tip
    await AuditLog(dal).append([entry(9)])
    await AuditChain(dal).prune(ids[-1], datetime.now(UTC) + timedelta(days=1), said)
    assert (await AuditChain(dal).verify(noted)).broken is None
    assert (await AuditChain(dal).verify(Tip(noted.audit_id, b"other"))).broken is not None


async def test_rows_from_before_the_chain_are_chained_by_the_migration(
    server_url: str, tmp_path: Path
) -> None:
    for file in sorted(MIGRATIONS.glob("*.sql")):
        if int(file.name[:4]) < 10:
            (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    server = await asyncpg.connect(server_url)
    await server.execute("CREATE DATABASE before_the_chain")
    dsn = database_named(server_url, "before_the_chain")
    try:
        await migrate(dsn, tmp_path)
        old = await asyncpg.connect(dsn)
        await old.execute(
            "INSERT INTO audit_log (at, category, action, result, details) "
            "SELECT now() + n * interval '1 s', 'AUDIT', 'a', 'SUCCESS', '{\"n\": 1}' "
            "FROM generate_series(1, 3) AS n"
        )
        await old.close()
        await migrate(dsn)
        async with AsyncDAL(dsn, min_size=1, max_size=2) as dal:
            await AuditLog(dal).append([entry(1)])
            verdict = await AuditChain(dal).verify()
            assert (verdict.rows, verdict.broken) == (4, None)
    finally:
        await server.execute("DROP DATABASE before_the_chain WITH (FORCE)")
        await server.close()
