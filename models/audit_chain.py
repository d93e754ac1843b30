"""The chain of the audit log: whether every row is as it was written, and pruning its oldest part.

Its one rule: what is verified is computed here, from the rows alone; the functions of the database
that made the chain (`migrations/0010_members_and_audit_chain.sql`) are not asked.

Theory: a row's hash is the SHA-256 of the hash of the row before and of its own fields, and
`audit_chain` has the hash of the last. So a changed row does not fit its own hash; one whose hash
was made to fit again does not fit the next row; one that is missing leaves a row that follows from
nothing, and if it was the last, an end that is not where `audit_chain` says. Whoever may do
anything in the database can rewrite all of it, from some row to the end: against that only a hash
helps that was noted elsewhere (`noted`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.context import Json
from models.audit import COLUMNS, AuditRow, append
from models.dal import AsyncDAL, Session

SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

HEAD = "SELECT last_id, last_hash, pruned_id, pruned_hash FROM audit_chain"

_FIELDS = tuple(name for name in COLUMNS if name != "hash")
"""What a row's hash is made of."""

ROWS = f"""
SELECT {", ".join(COLUMNS).replace("details", "details::text AS details")}
  FROM audit_log WHERE audit_id > $1 ORDER BY audit_id LIMIT $2
"""

# Only their owner may do this, and only for the length of a transaction in which nobody inserts.
GUARDS_OFF = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE audit_log DISABLE TRIGGER audit_log_is_append_only;
ALTER TABLE audit_chain DISABLE TRIGGER audit_chain_follows_the_log
"""

PRUNABLE = """
SELECT count(*) FROM audit_log
 WHERE audit_id <= (SELECT max(audit_id) FROM audit_log WHERE audit_id <= $1 AND recorded_at < $2)
"""

PRUNE = """
WITH gone AS (
    DELETE FROM audit_log
     WHERE audit_id <= (SELECT max(audit_id) FROM (
               SELECT audit_id FROM audit_log
                WHERE audit_id <= $1 AND recorded_at < $2
                ORDER BY audit_id LIMIT $3) AS oldest)
    RETURNING audit_id, hash
), moved AS (
    UPDATE audit_chain SET pruned_id = audit_id, pruned_hash = hash
      FROM gone WHERE audit_id = (SELECT max(audit_id) FROM gone)
)
SELECT count(*) FROM gone
"""

GUARDS_ON = """
ALTER TABLE audit_log ENABLE TRIGGER audit_log_is_append_only;
ALTER TABLE audit_chain ENABLE TRIGGER audit_chain_follows_the_log
"""

_REWRITTEN = "its hash is not the one noted earlier: it, or a row before it, was rewritten"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Tip:
    """A row and its hash: what stands for everything up to there."""

    audit_id: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """Where the chain breaks first. `audit_id` is None if what is missing is its end."""

    audit_id: int | None
    after: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying found: how many rows fit, up to which one, and the first that does not.
    `pruned_id` is the last row that was pruned, 0 if none was."""

    rows: int
    tip: Tip
    pruned_id: int
    broken: Broken | None


class AuditChain:
    """Verifies and prunes `audit_log`. `page` rows are read, or pruned, at a time."""

    def __init__(self, dal: AsyncDAL, page: int = 5_000) -> None:
        self._dal = dal
        self._page = page

    async def verify(self, noted: Tip | None = None) -> Verdict:
        """Walks the whole log, as it stands now. `noted` is a tip of an earlier walk that must
        still be there."""
        async with self._dal.transaction() as tx:
            await tx.execute(SNAPSHOT)
            head = await tx.fetchrow(HEAD)
            began = Tip(0, b"") if head is None else Tip(head["pruned_id"], head["pruned_hash"])
            rows, tip, broken = await self._walk(tx, began, noted)
        if broken is None and noted is not None:
            broken = _not_noted(began, noted) or _too_short(tip, noted)
        end = began if head is None else Tip(head["last_id"], head["last_hash"])
        if broken is None and end != tip and (head is not None or rows):
            broken = Broken(None, tip.audit_id, f"the log should end with row {end.audit_id}")
        return Verdict(rows, tip, began.audit_id, broken)

    async def _walk(
        self, tx: Session, tip: Tip, noted: Tip | None
    ) -> tuple[int, Tip, Broken | None]:
        count = 0
        while rows := await tx.fetch(ROWS, tip.audit_id, self._page):
            for row in rows:
                wrong = _wrong(tip, row, noted)
                if wrong is not None:
                    return count, tip, Broken(row["audit_id"], tip.audit_id, wrong)
                tip = Tip(row["audit_id"], row["hash"])
                count += 1
        return count, tip, None

    async def prune(self, up_to: int, before: datetime, note: Callable[[int], AuditRow]) -> int:
        """Removes the oldest rows, up to that id, that were recorded before then, and keeps where
        the log now begins; returns how many. A few at a time: who writes waits meanwhile.

        `note` makes the row that says how many go. It is written first, in the transaction that
        removes the first of them, so none goes that the log does not tell of."""
        pruned = 0
        while True:
            async with self._dal.transaction() as tx:
                await tx.execute(GUARDS_OFF)
                going = 0 if pruned else await tx.fetchval(PRUNABLE, up_to, before)
                if going:
                    await append(tx, [note(going)])
                rows: int = await tx.fetchval(PRUNE, up_to, before, self._page)
                await tx.execute(GUARDS_ON)
            pruned += rows
            if rows < self._page:
                return pruned


def row_hash(previous: bytes, row: Any) -> bytes:
    """The hash that a row must have after one with the hash `previous`."""
    return hashlib.sha256(previous + _written(row[name] for name in _FIELDS)).digest()


def _wrong(tip: Tip, row: Any, noted: Tip | None) -> str | None:
    """What is wrong with the row that stands after `tip`; None if nothing is."""
    if row["hash"] != row_hash(tip.hash, row):
        before = f"row {tip.audit_id}" if tip.audit_id else "the beginning"
        return (
            f"it does not follow from {before}: one of them was changed, or what stood between "
            "them was removed"
        )
    if noted is not None and row["audit_id"] == noted.audit_id and row["hash"] != noted.hash:
        return _REWRITTEN
    return None


def _not_noted(pruned: Tip, noted: Tip) -> Broken | None:
    """The end of what was pruned, if that is the row noted, and not as it was."""
    if pruned.audit_id != noted.audit_id or pruned.hash == noted.hash:
        return None
    return Broken(noted.audit_id, noted.audit_id, _REWRITTEN)


def _too_short(tip: Tip, noted: Tip) -> Broken | None:
    if noted.audit_id <= tip.audit_id:
        return None
    return Broken(None, tip.audit_id, f"row {noted.audit_id}, noted earlier, is missing")


def _written(values: Iterable[Any]) -> bytes:
    """A JSON array as PostgreSQL writes it."""
    return json.dumps([_plain(value) for value in values], ensure_ascii=False).encode()


def _plain(value: Any) -> Json:
    return (value - _EPOCH) // _MICROSECOND if isinstance(value, datetime) else value
