"""The table `api_keys`: hashes, never keys.

Its one rule: every look-up is by the SHA-256 of the whole key, and a key that has expired or been
revoked is not found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.dal import AsyncDAL
from models.query import Query, select
from models.workflows import After

CHANNEL = "workflow_core_keys"
"""Where it is said that a key ends; the payload is its id."""

COLUMNS = (
    "key_id, prefix, name, kind, user_id, community_id, scopes, created_at, created_by, "
    "expires_at, revoked_at, last_used_at, rotated_to"
)

INSERT = """
INSERT INTO api_keys (key_id, prefix, key_hash, name, kind, user_id, community_id, scopes,
                      created_at, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now(), $9, $10)
"""

FIND = f"""
SELECT {COLUMNS} FROM api_keys
 WHERE key_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""

# At most one write a minute and key: `last_used_at` tells "lately", it does not count.
TOUCH = """
UPDATE api_keys SET last_used_at = now()
 WHERE key_id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""

REVOKE = """
WITH ended AS (
    UPDATE api_keys SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL
    RETURNING key_id
)
SELECT pg_notify($2, key_id::text) FROM ended
"""

GET = f"SELECT {COLUMNS} FROM api_keys WHERE key_id = $1"

# The new key has the old one's rights and as long a life; the lock makes of two rotations one.
SUCCEED = f"""
INSERT INTO api_keys (key_id, prefix, key_hash, name, kind, user_id, community_id, scopes,
                      created_at, created_by, expires_at)
SELECT $2, $3, $4, name, kind, user_id, community_id, scopes, now(), $5,
       now() + (expires_at - created_at)
  FROM api_keys
 WHERE key_id = $1 AND revoked_at IS NULL AND rotated_to IS NULL
   AND (expires_at IS NULL OR expires_at > now())
   FOR UPDATE
RETURNING {COLUMNS}
"""

RETIRE = f"""
UPDATE api_keys
   SET rotated_to = $2, expires_at = least(expires_at, now() + make_interval(secs => $3))
 WHERE key_id = $1
RETURNING {COLUMNS}, pg_notify($4, key_id::text)
"""

LIST = f"SELECT {COLUMNS} FROM api_keys ORDER BY created_at, key_id LIMIT $1"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One stored key; `prefix` is the part that may be shown."""

    key_id: str
    prefix: str
    name: str
    kind: str
    user_id: int
    community_id: int | None
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: int | None
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    rotated_to: str | None = None


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys a list is about; None does not narrow it."""

    community_id: int | None = None
    user_id: int | None = None


class ApiKeys:
    """Reads and writes of `api_keys`."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def insert(
        self,
        *,
        key_id: str,
        prefix: str,
        key_hash: bytes,
        name: str,
        kind: str,
        user_id: int,
        community_id: int | None,
        scopes: list[str],
        created_by: int | None,
        expires_at: datetime | None,
    ) -> None:
        """Stores a new key."""
        await self._dal.execute(
            INSERT,
            key_id,
            prefix,
            key_hash,
            name,
            kind,
            user_id,
            community_id,
            scopes,
            created_by,
            expires_at,
        )

    async def find(self, key_hash: bytes) -> ApiKey | None:
        """The living key with this hash."""
        row = await self._dal.fetchrow(FIND, key_hash)
        return None if row is None else _api_key(row)

    async def touch(self, key_id: str) -> None:
        """Notes that the key was used just now."""
        await self._dal.execute(TOUCH, key_id)

    async def revoke(self, key_id: str) -> bool:
        """Ends a key's life; False if there is no living one."""
        return await self._dal.execute(REVOKE, key_id, CHANNEL) == 1

    async def get(self, key_id: str) -> ApiKey | None:
        """One key, living or not."""
        row = await self._dal.fetchrow(GET, key_id)
        return None if row is None else _api_key(row)

    async def rotate(
        self,
        key_id: str,
        *,
        new_id: str,
        prefix: str,
        key_hash: bytes,
        created_by: int | None,
        grace_seconds: float,
    ) -> tuple[ApiKey, ApiKey] | None:
        """Stores a successor with the same rights and lets the old key end after the grace time,
        in one transaction: the successor and the old key. None if there is no living key, or it
        has a successor already."""
        async with self._dal.transaction() as tx:
            made = await tx.fetchrow(SUCCEED, key_id, new_id, prefix, key_hash, created_by)
            if made is None:
                return None
            old = await tx.fetchrow(RETIRE, key_id, new_id, grace_seconds, CHANNEL)
        return _api_key(made), _api_key(old)

    async def page(
        self, narrow: KeyFilter, *, limit: int, after: After | None = None
    ) -> list[ApiKey]:
        """A page of the keys, newest first."""
        query = self.page_query(narrow, limit=limit, after=after)
        return [_api_key(row) for row in await self._dal.fetch(query)]

    def page_query(self, narrow: KeyFilter, *, limit: int, after: After | None) -> Query:
        """The statement of a page."""
        table = self._dal.db.api_keys
        where = table.key_id != None  # noqa: E711  # pyDAL's IS NOT NULL: every row
        if narrow.community_id is not None:
            where &= table.community_id == narrow.community_id
        if narrow.user_id is not None:
            where &= table.user_id == narrow.user_id
        if after is not None:
            older = table.created_at < after.created_at
            same = (table.created_at == after.created_at) & (table.key_id > after.row_id)
            # Said twice: the first says where the index is entered, the second what was shown.
            where &= (table.created_at <= after.created_at) & (older | same)
        return select(
            self._dal.db,
            where,
            *[table[name] for name in COLUMNS.split(", ")],
            orderby=[~table.created_at, table.key_id],
            limitby=(0, limit),
        )

    async def on_end(self, callback: Callable[[str], None]) -> None:
        """Calls `callback(key_id)` whenever a key ends or is about to, in any process."""
        await self._dal.listen(CHANNEL, callback)

    async def list(self, limit: int = 1000) -> list[ApiKey]:
        """The keys, oldest first."""
        return [_api_key(row) for row in await self._dal.fetch(LIST, limit)]

    async def any(self) -> bool:
        """Whether there is any key at all, living or not."""
        return bool(await self._dal.fetchval("SELECT EXISTS (SELECT 1 FROM api_keys)"))


def _api_key(row: Any) -> ApiKey:
    values = {name: row[name] for name in COLUMNS.split(", ")}
    return ApiKey(**{**values, "scopes": tuple(values["scopes"])})
