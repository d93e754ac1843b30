"""Secrets that all processes of a database share and nobody needs to know.

Its one rule: a secret is made once, by whoever needs it first, and never changed.
"""

from __future__ import annotations

import secrets

from models.dal import AsyncDAL

BYTES = 32

KEEP = """
INSERT INTO service_secrets (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING
"""

GET = "SELECT secret FROM service_secrets WHERE name = $1"


class Secrets:
    """Reads of `service_secrets`, which makes what is not there yet."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def get(self, name: str) -> bytes:
        """The secret of this name, the same for every process."""
        found: bytes | None = await self._dal.fetchval(GET, name)
        if found is None:
            await self._dal.execute(KEEP, name, secrets.token_bytes(BYTES))
            found = await self._dal.fetchval(GET, name)
            assert found is not None
        return found
