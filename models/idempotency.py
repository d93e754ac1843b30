"""Idempotency keys: which execution a caller's key stands for.

The one rule: a key names its execution *before* that execution is created. So whoever repeats a
request, whatever became of the first one, creates the same execution or finds it there.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.context import Json
from models.dal import AsyncDAL

# A key lives for a day. Each use clears away a few that are older, so nothing has to sweep.
_CLAIM = """
WITH expired AS (
    DELETE FROM idempotency_keys
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM idempotency_keys
                              WHERE created_at < now() - interval '24 hours'
                                AND (user_id, workflow_id, key) <> ($1, $2, $3)
                              ORDER BY created_at LIMIT 20 FOR UPDATE SKIP LOCKED))
)
INSERT INTO idempotency_keys AS k (user_id, workflow_id, key, request_hash, execution_id, answer)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (user_id, workflow_id, key) DO UPDATE
   SET request_hash = excluded.request_hash, execution_id = excluded.execution_id,
       answer = excluded.answer, created_at = now()
 WHERE k.created_at < now() - interval '24 hours'
"""

_FIND = """
SELECT request_hash, execution_id, answer FROM idempotency_keys
 WHERE user_id = $1 AND workflow_id = $2 AND key = $3
   AND created_at >= now() - interval '24 hours'
"""


_CORRECT = """
UPDATE idempotency_keys SET answer = $5
 WHERE user_id = $1 AND workflow_id = $2 AND key = $3 AND execution_id = $4
"""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that was used within the last day: for which request, and for which execution. For a
    batch, `execution_id` is what the ids of its items follow from, and `answer` are the items."""

    request_hash: bytes
    execution_id: str
    answer: Json = None


class IdempotencyKeys:
    """The keys of all callers; each is known to its own user and workflow only."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def find(self, user_id: int, workflow_id: str, key: str) -> KnownKey | None:
        """What the key stands for; None if it is new, or older than a day."""
        row = await self._dal.fetchrow(_FIND, user_id, workflow_id, key)
        return None if row is None else KnownKey(**dict(row))

    async def claim(
        self, user_id: int, workflow_id: str, key: str, wanted: KnownKey
    ) -> KnownKey | None:
        """Lets a new key stand for `wanted`; returns what it stands for now, which is something
        else if another request was faster."""
        await self._dal.execute(
            *(_CLAIM, user_id, workflow_id, key),
            *(wanted.request_hash, wanted.execution_id, wanted.answer),
        )
        return await self.find(user_id, workflow_id, key)

    async def correct(self, user_id: int, workflow_id: str, key: str, stands_for: KnownKey) -> None:
        """Gives the key another answer, the first one having come to nothing."""
        await self._dal.execute(
            _CORRECT, user_id, workflow_id, key, stands_for.execution_id, stands_for.answer
        )
