"""The table `community_secrets`: what communities send and nobody reads.

Its one rule: it holds ciphertexts. What they say, and under which key, is `services/vault.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.dal import AsyncDAL
from models.turns import take_turn

SHOWN = "community_id, name, allowed_hosts, key_id, created_at, created_by, updated_at, updated_by"

PAGE = f"""
SELECT {SHOWN} FROM community_secrets
 WHERE community_id = $1 AND name COLLATE "C" > $2 ORDER BY name COLLATE "C" LIMIT $3
"""

GET = f"SELECT {SHOWN} FROM community_secrets WHERE community_id = $1 AND name = $2"

SET = f"""
INSERT INTO community_secrets
       (community_id, name, ciphertext, key_id, allowed_hosts, created_by, updated_by)
SELECT $1, $2, $3, $4, $5, $6, $6
 WHERE EXISTS (SELECT 1 FROM community_secrets WHERE community_id = $1 AND name = $2)
    OR (SELECT count(*) FROM community_secrets WHERE community_id = $1) < $7
ON CONFLICT (community_id, name) DO UPDATE
   SET ciphertext = excluded.ciphertext, key_id = excluded.key_id,
       allowed_hosts = excluded.allowed_hosts,
       updated_at = now(), updated_by = excluded.updated_by
RETURNING {SHOWN}
"""

REMOVE = f"""
DELETE FROM community_secrets WHERE community_id = $1 AND name = $2 RETURNING {SHOWN}
"""

FETCH = """
SELECT name, ciphertext, key_id, allowed_hosts FROM community_secrets
 WHERE community_id = $1 AND name = ANY($2::text[])
"""

UNDER_OTHER_KEYS = """
SELECT community_id, name, ciphertext, key_id, allowed_hosts FROM community_secrets
 WHERE key_id <> $1 AND (community_id, name) > ($2, $3)
 ORDER BY community_id, name LIMIT $4
"""

# Only what was read is replaced: a secret that was set anew meanwhile is under the first key.
REPLACE = """
UPDATE community_secrets SET ciphertext = $4, key_id = $5
 WHERE community_id = $1 AND name = $2 AND ciphertext = $3
"""


@dataclass(frozen=True, slots=True)
class SecretRow:
    """What may be seen of a secret."""

    community_id: int
    name: str
    allowed_hosts: tuple[str, ...]
    key_id: str
    created_at: datetime
    created_by: int
    updated_at: datetime
    updated_by: int


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret as it is stored."""

    community_id: int
    name: str
    allowed_hosts: tuple[str, ...]
    key_id: str
    ciphertext: bytes


class CommunitySecrets:
    """Reads and writes of `community_secrets`."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def page(self, community_id: int, *, limit: int, after: str = "") -> list[SecretRow]:
        """What may be seen of the secrets whose names follow `after`, by name."""
        return [_row(each) for each in await self._dal.fetch(PAGE, community_id, after, limit)]

    async def get(self, community_id: int, name: str) -> SecretRow | None:
        """What may be seen of one secret."""
        row = await self._dal.fetchrow(GET, community_id, name)
        return None if row is None else _row(row)

    async def set(self, secret: SealedSecret, user_id: int, *, most: int) -> SecretRow | None:
        """Stores a secret, or another value for one; None if the community has `most` already."""
        async with self._dal.transaction() as tx:
            # Two who add the last one that there is room for would both find the room.
            await take_turn(tx, "secrets", secret.community_id)
            row = await tx.fetchrow(
                SET,
                secret.community_id,
                secret.name,
                secret.ciphertext,
                secret.key_id,
                list(secret.allowed_hosts),
                user_id,
                most,
            )
        return None if row is None else _row(row)

    async def remove(self, community_id: int, name: str) -> SecretRow | None:
        """Removes a secret; what could be seen of it."""
        row = await self._dal.fetchrow(REMOVE, community_id, name)
        return None if row is None else _row(row)

    async def fetch(self, community_id: int, names: Sequence[str]) -> list[SealedSecret]:
        """Those of these secrets that the community has."""
        rows = await self._dal.fetch(FETCH, community_id, list(names))
        return [_sealed({"community_id": community_id, **dict(row)}) for row in rows]

    async def under_other_keys(
        self, key_id: str, after: tuple[int, str], *, limit: int
    ) -> list[SealedSecret]:
        """The next secrets, of all communities, that are not under this key."""
        rows = await self._dal.fetch(UNDER_OTHER_KEYS, key_id, *after, limit)
        return [_sealed(dict(row)) for row in rows]

    async def replace(self, was: SealedSecret, now: SealedSecret) -> bool:
        """Puts a secret under another key, unless it has been set anew; whether it did."""
        return (
            await self._dal.execute(
                REPLACE, was.community_id, was.name, was.ciphertext, now.ciphertext, now.key_id
            )
            == 1
        )


def _row(row: Any) -> SecretRow:
    values = {name: row[name] for name in SHOWN.split(", ")}
    return SecretRow(**{**values, "allowed_hosts": tuple(values["allowed_hosts"])})


def _sealed(values: dict[str, Any]) -> SealedSecret:
    return SealedSecret(**{**values, "allowed_hosts": tuple(values["allowed_hosts"])})
