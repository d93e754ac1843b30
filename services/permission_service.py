"""Who may do what: the one door for every permission decision.

Its one rule: default deny. An unknown workflow and one of another community look the same (404);
in the caller's community but not permitted is 403; a database that cannot be asked denies, because
its error is raised and nothing here turns an error into a yes.

Whose a community is: the credential's own, if it is bound to one (then no other exists for it);
every one, for `admin` without a community; else those where the user is a member, owns a workflow
or holds a grant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from models.executions import ExecutionOwner
from models.permissions import AccessFacts, Permissions, Viewer
from models.workflows import After, WorkflowFilter, WorkflowRow, Workflows
from services.cache import TtlCache
from services.caller import EVERYDAY_SCOPES, READ, Caller
from services.errors import Denied, ExecutionUnknown, WorkflowNotFound

Permission = Literal["view", "edit", "execute", "delete", "manage_permissions"]

PERMISSIONS: dict[str, Permission] = {
    f"can_{name}": name for name in ("view", "edit", "execute", "delete", "manage_permissions")
}
"""Names as grants store them, beside the short ones used here."""

CACHE_SECONDS = 1.0
"""How long a grant, a revocation or another process's publishing may go unnoticed."""

_Key = tuple[str, int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Access:
    """One caller's access to one workflow."""

    facts: AccessFacts
    in_community: bool
    unlimited: bool
    """Owner or admin: every permission."""

    def may(self, permission: Permission) -> bool:
        """Whether the caller has this permission on the workflow."""
        if not self.in_community:
            return False
        return self.unlimited or bool(getattr(self.facts, f"can_{permission}"))


class Owned(Protocol):
    """What says whose execution it is."""

    @property
    def workflow_id(self) -> str: ...
    @property
    def community_id(self) -> int: ...
    @property
    def user_id(self) -> int: ...


class Judged(Protocol):
    """Hears what a permission is asked on before it is given or refused: so whoever writes down
    what was done, and what was denied, knows whom it concerned."""

    def __call__(
        self,
        *,
        community_id: int,
        workflow_id: str | None = None,
        execution_id: str | None = None,
    ) -> None: ...


def _nobody_hears(**_: object) -> None:
    return None


class PermissionService:
    """Permission checks on workflows and executions."""

    def __init__(
        self,
        permissions: Permissions,
        workflows: Workflows,
        *,
        judged: Judged = _nobody_hears,
        ttl_seconds: float = CACHE_SECONDS,
    ) -> None:
        self._permissions = permissions
        self._workflows = workflows
        self.judged = judged
        self._facts: TtlCache[_Key, AccessFacts | None] = TtlCache(ttl_seconds=ttl_seconds)

    async def check_permission(
        self, workflow_id: str, user_id: int, permission_type: str, community_id: int | None
    ) -> bool:
        """Whether a user has a permission (`view` or `can_view`, …) on a workflow of this
        community. Raises `ValueError` for an unknown permission, `StoreUnavailable`."""
        permission = PERMISSIONS.get(permission_type) or PERMISSIONS.get(f"can_{permission_type}")
        if permission is None:
            raise ValueError(
                f"unknown permission {permission_type!r}; known: {', '.join(PERMISSIONS)}"
            )
        caller = Caller(user_id=user_id, community_id=community_id, scopes=EVERYDAY_SCOPES)
        access = await self.access(caller, workflow_id)
        return access is not None and access.may(permission)

    async def list_workflows_for_user(
        self,
        caller: Caller,
        narrow: WorkflowFilter,
        *,
        limit: int,
        offset: int = 0,
        after: After | None = None,
    ) -> list[WorkflowRow]:
        """A page of the workflows the caller may view, newest first."""
        viewer = viewer_of(caller)
        return await self._workflows.list(viewer, narrow, limit=limit, offset=offset, after=after)

    async def count_workflows_for_user(self, caller: Caller, narrow: WorkflowFilter) -> int:
        """How many workflows the caller may view."""
        return await self._workflows.count(viewer_of(caller), narrow)

    async def viewable_ids(
        self, caller: Caller, *, community_id: int | None = None, workflow_id: str | None = None
    ) -> tuple[str, ...]:
        """The ids of the workflows that the caller may view; only those of a community, or the
        one of that id, if asked. Never remembered: what was revoked is revoked."""
        return await self._permissions.viewable_ids(
            viewer_of(caller), community_id=community_id, workflow_id=workflow_id
        )

    async def access(self, caller: Caller, workflow_id: str) -> Access | None:
        """The caller's access to a workflow; None if there is no such workflow."""
        roles = caller.community_roles
        key = (workflow_id, caller.user_id, roles)
        facts = await self._facts.get(
            key, lambda: self._permissions.access(workflow_id, caller.user_id, roles)
        )
        return _access(caller, facts)

    async def may_read(self, caller: Caller, workflow_id: str) -> bool:
        """Whether the caller could read the workflow's definition, by permission and by scope:
        changing it does not give that."""
        access = await self.access(caller, workflow_id)
        return caller.may(READ) and access is not None and access.may("view")

    async def authorise(
        self,
        caller: Caller,
        workflow_id: str,
        permission: Permission,
        *,
        community_id: int | None = None,
    ) -> AccessFacts:
        """The workflow's facts, if the caller has this permission on it.

        `community_id` is what the request claims; it must be the workflow's. Raises
        `WorkflowNotFound` (also for another community's workflow), `Denied`, `StoreUnavailable`.
        """
        access = await self.access(caller, workflow_id)
        if access is None:
            raise WorkflowNotFound
        self.judged(community_id=access.facts.community_id, workflow_id=workflow_id)
        if not access.in_community:
            raise WorkflowNotFound(denied=True)
        if community_id is not None and community_id != access.facts.community_id:
            raise WorkflowNotFound(denied=True)
        if not access.may(permission):
            raise Denied(f"You do not have can_{permission} on this workflow.")
        return access.facts

    async def execution_access(
        self, caller: Caller, execution_id: str
    ) -> tuple[ExecutionOwner, Access | None]:
        """Whose an execution is, and the caller's access to its workflow, which need not be there
        any more. Raises `ExecutionUnknown`, `StoreUnavailable`.

        Never remembered, and one query for every answer: an unknown id takes as long as another
        community's.
        """
        roles = caller.community_roles
        found = await self._permissions.execution_access(execution_id, caller.user_id, roles)
        if found is None:
            raise ExecutionUnknown
        owner, facts = found
        self.judged(
            community_id=owner.community_id,
            workflow_id=owner.workflow_id,
            execution_id=execution_id,
        )
        return owner, _access(caller, facts)

    async def execution(
        self, caller: Caller, execution_id: str, permission: Permission
    ) -> ExecutionOwner:
        """Whose an execution is, if the caller triggered it or has this permission on its
        workflow. Raises `ExecutionUnknown` (also for another community's), `Denied`,
        `StoreUnavailable`."""
        owner, access = await self.execution_access(caller, execution_id)
        if not _is_own(caller, owner):
            _judge(access, permission)
        return owner

    async def authorise_execution(
        self, caller: Caller, execution: Owned, permission: Permission
    ) -> None:
        """As `execution`, of one that is known already."""
        if not _is_own(caller, execution):
            _judge(await self.access(caller, execution.workflow_id), permission)

    async def authorise_community(self, caller: Caller, community_id: int) -> None:
        """Passes if the caller may create something in this community. Raises `Denied`, in the
        same words whether the community exists or not.

        Owning a workflow makes one belong to its community, so creating one must not be a way in.
        """
        self.judged(community_id=community_id)
        if not await self.reaches(caller, community_id):
            raise Denied(f"You do not belong to community {community_id}.")

    async def reaches(self, caller: Caller, community_id: int) -> bool:
        """Whether this community is one of the caller's. Raises `StoreUnavailable`."""
        if caller.community_id is not None:
            return caller.community_id == community_id
        return caller.is_admin or await self._permissions.in_community(community_id, caller.user_id)

    def forget(self, workflow_id: str) -> None:
        """Drops what is remembered about a workflow that was just changed."""
        self._facts.drop_where(lambda key: key[0] == workflow_id)

    def forget_user(self, user_id: int) -> None:
        """Drops what is remembered about a user whose roles were just changed."""
        self._facts.drop_where(lambda key: key[1] == user_id)


def viewer_of(caller: Caller) -> Viewer:
    """The caller, as lists see them."""
    return Viewer(
        user_id=caller.user_id,
        community_id=caller.community_id,
        roles=caller.community_roles,
        everything=caller.is_admin,
    )


def _access(caller: Caller, facts: AccessFacts | None) -> Access | None:
    if facts is None:
        return None
    return Access(
        facts=facts,
        in_community=_reaches(caller, facts.community_id, member=facts.member),
        unlimited=caller.is_admin or facts.created_by == caller.user_id,
    )


def _is_own(caller: Caller, execution: Owned) -> bool:
    """Whether the caller triggered it, in a community that their credential is good for."""
    mine = execution.user_id == caller.user_id
    return mine and caller.community_id in (None, execution.community_id)


def _judge(access: Access | None, permission: Permission) -> None:
    """Passes if the access to an execution's workflow is enough for what is not one's own."""
    if access is None or not access.in_community:
        raise ExecutionUnknown(denied=True)
    if not access.may(permission):
        raise Denied(f"You did not start this execution and lack can_{permission} on its workflow.")


def _reaches(caller: Caller, community_id: int, *, member: bool) -> bool:
    if caller.community_id is not None:
        return caller.community_id == community_id
    return caller.is_admin or member
