"""Who may have webhooks and alerts, and whose they are.

Its one rule: nobody is told more than they may see. A webhook or an alert looks through the eyes
of whoever saved it last (`seen_by`), or at everything if that was an admin; so whoever manages it
must be allowed to see what it has seen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, TypeVar

from models.webhooks import Scope
from services.caller import Caller
from services.cursors import Page
from services.errors import Denied, Refusal
from services.permission_service import PermissionService

READ_SCOPE = "executions:read"
NOWHERE = -1
"""The id of no community."""


class Subscription(Protocol):
    """What webhooks and alerts have in common."""

    @property
    def community_id(self) -> int: ...

    @property
    def workflow_id(self) -> str | None: ...

    @property
    def seen_by(self) -> int: ...

    @property
    def sees_all(self) -> bool: ...


S = TypeVar("S", bound=Subscription)


class SubscriptionRights:
    """The rules, on top of the permission service."""

    def __init__(self, permissions: PermissionService) -> None:
        self._permissions = permissions

    async def authorise_saving(
        self, caller: Caller, community_id: int, workflow_id: str | None
    ) -> None:
        """Passes if the caller may have something told about this workflow (which takes
        `can_view` and `can_edit`), or about this community (which takes belonging to it). Raises
        `Denied`, `WorkflowNotFound`, `StoreUnavailable`."""
        if not caller.may(READ_SCOPE):
            raise Denied(f"This needs the scope {READ_SCOPE}.", {"scope": READ_SCOPE})
        if workflow_id is None:
            await self._permissions.authorise_community(caller, community_id)
            return
        for permission in ("view", "edit"):
            await self._permissions.authorise(
                caller, workflow_id, permission, community_id=community_id
            )

    async def authorise_managing(self, caller: Caller, it: S | None, unknown: type[Refusal]) -> S:
        """It, if it is the caller's to see and to change. Raises `unknown` if there is none, with
        `denied` for another community's, and `Denied` within the caller's own.

        The same is asked of the database in both of the first cases, so that neither is told by
        how long it takes.
        """
        community = NOWHERE if it is None else it.community_id
        reached = await self._permissions.reaches(caller, community)
        if it is None:
            raise unknown
        self._permissions.judged(community_id=it.community_id, workflow_id=it.workflow_id)
        if not reached:
            refusal = unknown()
            refusal.denied = True
            raise refusal
        if not await self.may_manage(caller, it):
            raise Denied("This is not yours, and you lack can_view and can_edit on its workflow.")
        return it

    async def manageable(self, caller: Caller, page: Page[S]) -> Page[S]:
        """What of a page is the caller's to manage."""
        return replace(page, rows=[row for row in page.rows if await self.may_manage(caller, row)])

    async def scope(
        self, caller: Caller, community_id: int | None, workflow_id: str | None
    ) -> Scope | None:
        """Where a list looks; None if there is nothing for this caller."""
        community = caller.community_id if community_id is None else community_id
        if community is not None:
            reached = await self.reaches(caller, community)
            return Scope(community, workflow_id) if reached else None
        return Scope(None, workflow_id, None if caller.is_admin else caller.user_id)

    async def may_manage(self, caller: Caller, it: Subscription) -> bool:
        """Whether it is the caller's, who is known to reach its community: an admin's, who saved
        it last, or who may view and edit its workflow."""
        if caller.is_admin or (it.seen_by == caller.user_id and not it.sees_all):
            return True
        if it.workflow_id is None:
            return False
        access = await self._permissions.access(caller, it.workflow_id)
        return access is not None and access.may("view") and access.may("edit")

    async def reaches(self, caller: Caller, community_id: int) -> bool:
        """Whether this community is one of the caller's."""
        return await self._permissions.reaches(caller, community_id)
