"""The table `community_members`: who is in a community, in which roles.

Its one rule: a member has at least one role, for a row is a role. Two who set one member's
roles take turns, so that what was set last is what is there, and all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.dal import AsyncDAL
from models.turns import take_turn

PAGE = """
SELECT user_id, array_agg(role ORDER BY role) AS roles
  FROM community_members
 WHERE community_id = $1 AND user_id > $2
 GROUP BY user_id ORDER BY user_id LIMIT $3
"""

# Those who have the role are found by the index on it, whoever else there is.
PAGE_OF_ROLE = """
SELECT m.user_id,
       ARRAY(SELECT r.role FROM community_members r
              WHERE r.community_id = $1 AND r.user_id = m.user_id ORDER BY r.role) AS roles
  FROM community_members m
 WHERE m.community_id = $1 AND m.role = $4 AND m.user_id > $2
 ORDER BY m.user_id LIMIT $3
"""

ROLES = """
SELECT role FROM community_members WHERE community_id = $1 AND user_id = $2 ORDER BY role
"""

DROP_OTHERS = """
DELETE FROM community_members
 WHERE community_id = $1 AND user_id = $2 AND role <> ALL($3::text[])
"""

ADD = """
INSERT INTO community_members (community_id, user_id, role)
SELECT $1, $2, unnest($3::text[]) ON CONFLICT DO NOTHING
"""

REMOVE = """
DELETE FROM community_members
 WHERE community_id = $1 AND user_id = $2 AND ($3::text IS NULL OR role = $3)
RETURNING role
"""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a community and their roles there, in order."""

    community_id: int
    user_id: int
    roles: tuple[str, ...]


class Members:
    """Reads and writes of `community_members`."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def page(
        self, community_id: int, role: str | None, *, limit: int, after: int = -1
    ) -> list[Member]:
        """The members whose ids follow `after`, by id; only those in `role`, if asked."""
        if role is None:
            rows = await self._dal.fetch(PAGE, community_id, after, limit)
        else:
            rows = await self._dal.fetch(PAGE_OF_ROLE, community_id, after, limit, role)
        return [Member(community_id, row["user_id"], tuple(row["roles"])) for row in rows]

    async def get(self, community_id: int, user_id: int) -> Member | None:
        """One member; None if the user is none."""
        rows = await self._dal.fetch(ROLES, community_id, user_id)
        roles = tuple(row["role"] for row in rows)
        return Member(community_id, user_id, roles) if roles else None

    async def set(self, community_id: int, user_id: int, roles: Sequence[str]) -> None:
        """Gives the user exactly these roles, at least one."""
        async with self._dal.transaction() as tx:
            # Two who set a member's roles at once would each keep what the other has just added.
            await take_turn(tx, "members", community_id, user_id)
            await tx.execute(DROP_OTHERS, community_id, user_id, list(roles))
            await tx.execute(ADD, community_id, user_id, list(roles))

    async def add(self, community_id: int, user_id: int, roles: Sequence[str]) -> None:
        """Gives the user these roles beside those they have."""
        await self._dal.execute(ADD, community_id, user_id, list(roles))

    async def remove(self, community_id: int, user_id: int, role: str | None) -> tuple[str, ...]:
        """Takes one role from the user, or all of them; returns which were taken."""
        rows = await self._dal.fetch(REMOVE, community_id, user_id, role)
        return tuple(sorted(row["role"] for row in rows))
