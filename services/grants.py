"""Granting permissions on workflows.

Its one rule: a grant gives exactly what it names, to somebody in the workflow's own community.
Whoever may manage a workflow's permissions may give each of them, also to themselves; the owner
needs no grant and cannot lose what they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.grants import FLAGS, Grant, Grants, Wish
from services.caller import Caller
from services.errors import GrantUnknown, NotValid, Problem, TooManyGrants
from services.permission_service import PermissionService

__all__ = ["FLAGS", "Gift", "Grant", "GrantService"]

MOST_GRANTS = 1_000
"""How many targets may have a grant on one workflow; a role or the community stands for many."""


@dataclass(frozen=True, slots=True)
class Gift:
    """What somebody is to be granted. `path` is where the request says so."""

    target: tuple[str, str]
    flags: Mapping[str, bool]
    path: str = ""


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

    async def give(self, caller: Caller, workflow_id: str, gifts: Sequence[Gift]) -> list[Grant]:
        """Grants each target (its type and id) exactly what its flags say, whatever it had before:
        all of them, or none. Other targets keep what they have. Raises `NotValid`,
        `TooManyGrants`, and as `PermissionService.authorise`."""
        facts = await self._permissions.authorise(caller, workflow_id, "manage_permissions")
        problems = [
            Problem(path=f"{gift.path}{place}", message=message)
            for number, gift in enumerate(gifts)
            for place, message in _wrong(gift, gifts[:number], facts.community_id)
        ]
        if problems:
            raise NotValid(problems)
        wishes = [Wish(self._new_id(), gift.target, gift.flags) for gift in gifts]
        given = await self._grants.give(
            workflow_id, wishes, granted_by=caller.user_id, most=MOST_GRANTS
        )
        if given is None:
            raise TooManyGrants
        self._permissions.forget(workflow_id)
        return given

    async def take(self, caller: Caller, workflow_id: str, target: tuple[str, str]) -> Grant:
        """Removes a target's grant. Raises `GrantUnknown`, and as
        `PermissionService.authorise`."""
        await self._permissions.authorise(caller, workflow_id, "manage_permissions")
        grant = await self._grants.take(workflow_id, target)
        if grant is None:
            raise GrantUnknown
        self._permissions.forget(workflow_id)
        return grant


def _wrong(gift: Gift, before: Sequence[Gift], community_id: int) -> Iterator[tuple[str, str]]:
    """What is wrong with a gift, and where in it."""
    kind, target = gift.target
    if kind == "community" and target != str(community_id):
        yield "/target_id", f"must be the workflow's own community, {community_id}"
    if not any(gift.flags[flag] for flag in FLAGS):
        yield "", f"gives nothing: set one of {', '.join(FLAGS)}, or DELETE the grant"
    if any(other.target == gift.target for other in before):
        yield "/target_id", f"the {kind} {target} is named twice"
