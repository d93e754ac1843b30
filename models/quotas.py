"""How much one community may keep: workflows, and bytes of their definitions.

Its one rule: what is there is counted, never a counter. Whoever may make it more takes the
community's turn first, counts before and after in the same transaction, and takes everything back
if it grew beyond the limit; so two at once cannot pass it together, and what is too much already
may still become less.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields

from models.dal import Session
from models.turns import take_turn

# A column's size is in its row: a document that is kept elsewhere for its length is not read.
KEPT = """
WITH own AS (SELECT workflow_id, status, document FROM workflows WHERE community_id = $1)
SELECT (SELECT count(*) FROM own WHERE status <> 'archived') AS workflows,
       (SELECT coalesce(sum(pg_column_size(document)), 0) FROM own)
       + (SELECT coalesce(sum(pg_column_size(v.document)), 0)
            FROM own JOIN workflow_versions v USING (workflow_id)) AS definition_bytes
"""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one community may keep: workflows that are not archived, and the bytes that their
    latest edits and all their versions take in the database, where they are compressed. Archived
    ones take room as well. None does not limit."""

    workflows: int | None = None
    definition_bytes: int | None = None


class OverQuota(Exception):
    """The community would keep more than it may. `what` is a field of `Quota`, `kept` how much
    there is now."""

    def __init__(self, what: str, limit: int, kept: int) -> None:
        super().__init__(f"{kept} of {limit} {what} are used")
        self.what = what
        self.limit = limit
        self.kept = kept


@asynccontextmanager
async def within(quota: Quota, tx: Session, community_id: int) -> AsyncIterator[None]:
    """Runs a block of the transaction `tx` that may add to what the community keeps. Raises
    `OverQuota`, which the transaction must not survive."""
    limits = {each.name: getattr(quota, each.name) for each in fields(quota)}
    if not any(limits.values()):
        yield
        return
    # A statement of its own: the next one sees what was committed while this one waited.
    await take_turn(tx, "definitions", community_id)
    before = await _kept(tx, community_id)
    yield
    after = await _kept(tx, community_id)
    for what, limit in limits.items():
        if limit is not None and after[what] > max(limit, before[what]):
            raise OverQuota(what, limit, before[what])


async def _kept(tx: Session, community_id: int) -> dict[str, int]:
    row = await tx.fetchrow(KEPT, community_id)
    assert row is not None
    return {what: int(kept) for what, kept in row.items()}
