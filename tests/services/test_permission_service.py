"""The one door: owners, grants, communities, and a database that cannot be asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from engine.errors import StoreUnavailable
from models.executions import ExecutionOwner
from models.permissions import AccessFacts, Permissions
from models.workflows import Workflows
from services.caller import ADMIN, EVERYDAY_SCOPES, Caller
from services.errors import Denied, ExecutionUnknown, WorkflowNotFound
from services.permission_service import PermissionService

OWNER, OTHER = 1, 2
HERE, THERE = 10, 20
FACTS = AccessFacts(
    workflow_id="w",
    community_id=HERE,
    entity_id=None,
    name="W",
    status="active",
    version=1,
    published_version=1,
    created_by=OWNER,
    member=False,
    can_view=False,
    can_edit=False,
    can_execute=False,
    can_delete=False,
    can_manage_permissions=False,
)
EXECUTION = ExecutionOwner("e", "w", HERE, OTHER, "running")


class Stored:
    """Facts as the database would tell them."""

    def __init__(self, facts: AccessFacts | None = FACTS) -> None:
        self.facts = facts
        self.asked = 0
        self.away = False

    async def access(self, *key: Any) -> AccessFacts | None:
        self.asked += 1
        if self.away:
            raise StoreUnavailable
        return self.facts


def service(stored: Stored) -> PermissionService:
    return PermissionService(cast(Permissions, stored), cast(Workflows, None))


def caller(user: int = OTHER, community: int | None = HERE, *, admin: bool = False) -> Caller:
    return Caller(user, community, EVERYDAY_SCOPES | ({ADMIN} if admin else set()))


async def test_the_owner_has_every_permission() -> None:
    permissions = service(Stored())
    for name in ("can_view", "edit", "can_execute", "delete", "can_manage_permissions"):
        assert await permissions.check_permission("w", OWNER, name, HERE)
        assert not await permissions.check_permission("w", OTHER, name, HERE)


async def test_a_grant_is_that_permission_and_no_other() -> None:
    permissions = service(Stored(replace(FACTS, can_execute=True)))
    assert await permissions.check_permission("w", OTHER, "can_execute", HERE)
    assert not await permissions.check_permission("w", OTHER, "can_view", HERE)


async def test_nothing_is_allowed_in_the_name_of_another_community() -> None:
    permissions = service(Stored(replace(FACTS, can_view=True)))
    assert not await permissions.check_permission("w", OWNER, "can_view", THERE)


async def test_nothing_is_allowed_on_what_does_not_exist() -> None:
    assert not await service(Stored(None)).check_permission("w", OWNER, "can_view", HERE)


async def test_an_unknown_permission_is_an_error_not_an_answer() -> None:
    with pytest.raises(ValueError, match="can_fly"):
        await service(Stored()).check_permission("w", OWNER, "can_fly", HERE)


async def test_a_database_that_cannot_be_asked_denies() -> None:
    stored = Stored()
    stored.away = True
    permissions = service(stored)
    with pytest.raises(StoreUnavailable):
        await permissions.check_permission("w", OWNER, "can_view", HERE)
    with pytest.raises(StoreUnavailable):
        await permissions.authorise(caller(admin=True), "w", "view")


async def test_look_ups_are_remembered_until_the_workflow_changes() -> None:
    stored = Stored()
    permissions = service(stored)
    for _ in range(3):
        await permissions.authorise(caller(OWNER), "w", "view")
    assert stored.asked == 1
    permissions.forget("w")
    await permissions.authorise(caller(OWNER), "w", "view")
    assert stored.asked == 2


@pytest.mark.parametrize(
    ("who", "member", "error"),
    [
        (caller(community=THERE), False, WorkflowNotFound),
        (caller(OWNER, THERE), False, WorkflowNotFound),
        (caller(community=THERE, admin=True), True, WorkflowNotFound),
        (caller(community=None), False, WorkflowNotFound),
        (caller(community=None), True, Denied),
        (caller(), False, Denied),
    ],
)
async def test_who_is_refused_and_how(who: Caller, member: bool, error: type[Exception]) -> None:
    permissions = service(Stored(replace(FACTS, member=member)))
    with pytest.raises(error):
        await permissions.authorise(who, "w", "view")


@pytest.mark.parametrize(
    "who",
    [
        caller(OWNER),
        caller(admin=True),
        caller(community=None, admin=True),
    ],
)
async def test_who_needs_no_grant(who: Caller) -> None:
    assert await service(Stored()).authorise(who, "w", "manage_permissions") == FACTS


async def test_a_claimed_community_must_be_the_workflows() -> None:
    permissions = service(Stored())
    await permissions.authorise(caller(OWNER), "w", "view", community_id=HERE)
    with pytest.raises(WorkflowNotFound):
        await permissions.authorise(caller(OWNER), "w", "view", community_id=THERE)


@pytest.mark.parametrize("community", [None, HERE])
async def test_who_triggered_an_execution_may_see_and_cancel_it(community: int | None) -> None:
    permissions = service(Stored(None))
    await permissions.authorise_execution(caller(OTHER, community), EXECUTION, "edit")


@pytest.mark.parametrize(
    ("who", "error"),
    [
        (caller(3), Denied),
        (caller(3, THERE), ExecutionUnknown),
        (caller(OTHER, THERE), ExecutionUnknown),
    ],
)
async def test_others_need_a_permission_on_the_workflow(
    who: Caller, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await service(Stored()).authorise_execution(who, EXECUTION, "view")
