"""Granting permissions on workflows.

Its one rule: a grant gives exactly what it names, to somebody in the workflow's own community.
Whoever may manage a workflow's permissions may give each of them, also to themselves; the owner
needs no grant and cannot lose what they have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from models.grants import FLAGS, Grant, Grants
from services.caller import Caller
from services.errors import GrantUnknown, NotValid, Problem, TooManyGrants
from services.permission_service import PermissionService

__all__ = ["FLAGS", "Grant", "GrantService"]

MOST_GRANTS = 1_000
"""How many targets may have a grant on one workflow; a role or the community stands for many."""


class GrantService:
    """The grants on workflows. `new_id` is the source of ids."""

    def __init__(
        self, grants: Grants, permissions: PermissionService, *, new_id: Callable[[], str]
    ) -> None:
        self._grants = grants
        self._permissions = permissions
        self._new_id = new_id

    async def of(self, caller: Caller, workflow_id: str) -> list[Grant]:
        """A workflow's grants. Raises as `PermissionService.authorise`."""
        await self._permissions.authorise(caller, workflow_id, "manage_permissions")
        return await self._grants.of(workflow_id, MOST_GRANTS)

    async def give(
        self,
        caller: Caller,
        workflow_id: str,
        target: tuple[str, str],
        flags: Mapping[str, bool],
    ) -> Grant:
        """Grants a target (its type and id) exactly what `flags` says, whatever it had before.
        Raises `NotValid`, `TooManyGrants`, and as `PermissionService.authorise`."""
        facts = await self._permissions.authorise(caller, workflow_id, "manage_permissions")
        if target[0] == "community" and target[1] != str(facts.community_id):
            message = f"must be the workflow's own community, {facts.community_id}"
            raise NotValid([Problem(path="/target_id", message=message)])
        if not any(flags[flag] for flag in FLAGS):
            message = f"gives nothing: set one of {', '.join(FLAGS)}, or DELETE the grant"
            raise NotValid([Problem(path="", message=message)])
        grant = await self._grants.give(
            self._new_id(),
            workflow_id,
            target,
            flags,
            granted_by=caller.user_id,
            most=MOST_GRANTS,
        )
        if grant is None:
            raise TooManyGrants
        self._permissions.forget(workflow_id)
        return grant

    async def take(self, caller: Caller, workflow_id: str, target: tuple[str, str]) -> Grant:
        """Removes a target's grant. Raises `GrantUnknown`, and as
        `PermissionService.authorise`."""
        await self._permissions.authorise(caller, workflow_id, "manage_permissions")
        grant = await self._grants.take(workflow_id, target)
        if grant is None:
            raise GrantUnknown
        self._permissions.forget(workflow_id)
        return grant
