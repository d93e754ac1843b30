"""The members of communities and their roles there.

Its one rule: a community's members are the business of its admins. To a credential that is bound
to one community no other exists; one that is bound to none must have the scope `admin`, and
reaches all. What changes counts at once in this process, and within `CACHE_SECONDS` in others.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.context import Json
from models.members import Member, Members
from services.caller import ADMIN, Caller
from services.cursors import Cursors, Page, bound
from services.errors import CommunityUnknown, Denied, MemberUnknown
from services.permission_service import PermissionService

__all__ = ["EVERYDAY_ROLE", "MOST_ROLES", "Member", "MemberService", "within_reach"]

EVERYDAY_ROLE = "member"
"""The role of those who are given no other."""
MOST_ROLES = 20
"""How many roles one request may give."""


class MemberService:
    """The use cases."""

    def __init__(self, members: Members, permissions: PermissionService, cursors: Cursors) -> None:
        self._members = members
        self._permissions = permissions
        self._cursors = cursors

    async def page(
        self,
        caller: Caller,
        community_id: int | None,
        *,
        role: str | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> Page[Member]:
        """A page of a community's members by user id; only those in `role`, if asked. Raises
        `CommunityUnknown`, `Denied`, `InvalidCursor`."""
        community = within_reach(caller, community_id)
        binding = bound("members", caller, community, role)

        async def read(most: int, after: Json) -> list[Member]:
            first = -1 if after is None else after
            return await self._members.page(community, role, limit=most, after=first)

        return await self._cursors.page(binding, limit, cursor, read, lambda row: row.user_id)

    async def get(self, caller: Caller, community_id: int | None, user_id: int | None) -> Member:
        """One member. Raises `CommunityUnknown`, `Denied`, `MemberUnknown`."""
        community = within_reach(caller, community_id)
        found = None if user_id is None else await self._members.get(community, user_id)
        if found is None:
            raise MemberUnknown
        return found

    async def set(
        self, caller: Caller, community_id: int | None, user_id: int, roles: Sequence[str]
    ) -> Member:
        """Makes the user a member with exactly these roles, whatever they had. Raises
        `CommunityUnknown`, `Denied`."""
        community = within_reach(caller, community_id)
        await self._members.set(community, user_id, roles)
        self._permissions.forget_user(user_id)
        return Member(community, user_id, tuple(sorted(set(roles))))

    async def add(
        self, caller: Caller, community_id: int | None, user_id: int, roles: Sequence[str]
    ) -> Member:
        """Gives the user these roles beside those they have. Raises as `get`."""
        community = within_reach(caller, community_id)
        await self._members.add(community, user_id, roles)
        self._permissions.forget_user(user_id)
        return await self.get(caller, community, user_id)

    async def remove(
        self,
        caller: Caller,
        community_id: int | None,
        user_id: int | None,
        role: str | None = None,
    ) -> Member:
        """Takes a role from the user, or all, and with the last one the membership; what was
        taken. Raises `CommunityUnknown`, `Denied`, `MemberUnknown` if there was nothing to take."""
        community = within_reach(caller, community_id)
        taken = () if user_id is None else await self._members.remove(community, user_id, role)
        if user_id is None or not taken:
            raise MemberUnknown
        self._permissions.forget_user(user_id)
        return Member(community, user_id, taken)


def within_reach(caller: Caller, community_id: int | None) -> int:
    """The community, if it is the caller's to administer. Raises `CommunityUnknown`, `Denied`."""
    if not caller.is_admin:
        raise Denied(f"This needs the scope {ADMIN}.", {"scope": ADMIN})
    if community_id is None:
        raise CommunityUnknown
    if caller.community_id not in (None, community_id):
        raise CommunityUnknown(denied=True)
    return community_id
