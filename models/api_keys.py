"""The table `api_keys`: hashes, never keys.

Its one rule: every look-up is by the SHA-256 of the whole key, and a key that has expired or been
revoked is not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.dal import AsyncDAL

COLUMNS = (
    "key_id, prefix, name, kind, user_id, community_id, scopes, created_at, created_by, "
    "expires_at, revoked_at, last_used_at"
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

REVOKE = "UPDATE api_keys SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL"

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
        return await self._dal.execute(REVOKE, key_id) == 1

    async def list(self, limit: int = 1000) -> list[ApiKey]:
        """The keys, oldest first."""
        return [_api_key(row) for row in await self._dal.fetch(LIST, limit)]

    async def any(self) -> bool:
        """Whether there is any key at all, living or not."""
        return bool(await self._dal.fetchval("SELECT EXISTS (SELECT 1 FROM api_keys)"))


def _api_key(row: Any) -> ApiKey:
    values = dict(row)
    return ApiKey(**{**values, "scopes": tuple(values["scopes"])})
