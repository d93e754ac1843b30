"""Nothing of another community can be read, changed, counted or guessed."""

from __future__ import annotations

from typing import Any

import pytest

from models.dal import AsyncDAL
from services.clock import new_id
from tests.controllers.conftest import COMMUNITY, OWNER, Api

OTHER = COMMUNITY + 1
STRANGER = OWNER + 1

WORKFLOW_CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/workflows/{}", None),
    ("PUT", "/workflows/{}", {"name": "x"}),
    ("DELETE", "/workflows/{}", None),
    ("POST", "/workflows/{}/publish", None),
    ("GET", "/workflows/{}/versions", None),
    ("GET", "/workflows/{}/versions/1", None),
    ("POST", "/workflows/{}/validate", None),
    ("POST", "/workflows/{}/execute", {"community_id": COMMUNITY}),
    ("POST", "/workflows/{}/execute/batch", {"items": [{"community_id": COMMUNITY}]}),
    ("GET", "/workflows/{}/executions", None),
    ("POST", "/workflows/{}/test", {"community_id": COMMUNITY}),
]
EXECUTION_CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/workflows/executions/{}", None),
    ("GET", "/workflows/executions/{}/steps", None),
    ("POST", "/workflows/executions/{}/cancel", None),
]


async def grant(dal: AsyncDAL, workflow_id: str, kind: str, target: object, *flags: str) -> None:
    columns = "".join(f", {flag}" for flag in flags)
    values = ", true" * len(flags)
    await dal.execute(
        "INSERT INTO workflow_permissions (permission_id, workflow_id, permission_type, "
        f"target_id, granted_by{columns}) VALUES ($1, $2, $3, $4, 1{values})",
        new_id(),
        workflow_id,
        kind,
        str(target),
    )


async def join(dal: AsyncDAL, user: int, community: int, role: str = "member") -> None:
    await dal.execute("INSERT INTO community_members VALUES ($1, $2, $3)", community, user, role)


@pytest.mark.parametrize(("method", "url", "body"), WORKFLOW_CALLS)
async def test_another_communitys_workflow_is_like_an_unknown_one(
    api: Api, method: str, url: str, body: Any
) -> None:
    workflow_id = await api.stored()
    stranger = await api.new_key(STRANGER, OTHER)
    seen = [
        await api.call(method, url.format(name), body, key=stranger)
        for name in (workflow_id, new_id(), "no-uuid")
    ]
    assert [answer.status for answer in seen] == [404] * 3
    assert seen[0].code == "WORKFLOW_NOT_FOUND"
    assert seen[0].body == seen[1].body == seen[2].body


@pytest.mark.parametrize(("method", "url", "body"), EXECUTION_CALLS)
async def test_another_communitys_execution_is_like_an_unknown_one(
    api: Api, method: str, url: str, body: Any
) -> None:
    workflow_id = await api.stored()
    ran = await api.call(
        "POST", f"/workflows/{workflow_id}/execute?wait=10", {"community_id": COMMUNITY}
    )
    stranger = await api.new_key(STRANGER, OTHER)
    seen = [
        await api.call(method, url.format(name), body, key=stranger)
        for name in (ran.data["execution_id"], new_id(), "no-uuid")
    ]
    assert [answer.status for answer in seen] == [404] * 3
    assert seen[0].code == "EXECUTION_NOT_FOUND"
    assert seen[0].body == seen[1].body == seen[2].body


@pytest.mark.parametrize(("method", "url", "body"), WORKFLOW_CALLS)
async def test_in_your_community_but_not_permitted_is_403(
    api: Api, method: str, url: str, body: Any
) -> None:
    workflow_id = await api.stored()
    neighbour = await api.new_key(STRANGER)
    answer = await api.call(method, url.format(workflow_id), body, key=neighbour)
    assert (answer.status, answer.code) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(("method", "url", "body"), EXECUTION_CALLS)
async def test_an_execution_in_your_community_but_not_permitted_is_403(
    api: Api, method: str, url: str, body: Any
) -> None:
    workflow_id = await api.stored()
    ran = await api.call(
        "POST", f"/workflows/{workflow_id}/execute?wait=10", {"community_id": COMMUNITY}
    )
    neighbour = await api.new_key(STRANGER)
    answer = await api.call(method, url.format(ran.data["execution_id"]), body, key=neighbour)
    assert (answer.status, answer.code) == (403, "PERMISSION_DENIED")


async def test_a_denial_across_communities_is_logged_as_one(api: Api) -> None:
    workflow_id = await api.stored()
    await api.call("GET", f"/workflows/{workflow_id}", key=await api.new_key(STRANGER, OTHER))
    line = api.log.getvalue().splitlines()[-1]
    assert " AUTHZ " in line
    assert "result=DENIED" in line


async def test_the_body_cannot_claim_another_community(api: Api) -> None:
    workflow_id = await api.stored()
    claim = {"community_id": OTHER}
    for method, url in (
        ("POST", f"/workflows/{workflow_id}/execute"),
        ("POST", f"/workflows/{workflow_id}/test"),
        ("PUT", f"/workflows/{workflow_id}"),
    ):
        answer = await api.call(method, url, claim)
        assert (answer.status, answer.code) == (404, "WORKFLOW_NOT_FOUND"), url
    listed = await api.call("GET", f"/workflows/{workflow_id}/executions?community_id={OTHER}")
    assert listed.status == 404


@pytest.mark.parametrize("community", [None, COMMUNITY])
async def test_a_workflow_is_created_only_where_one_belongs(
    api: Api, community: int | None
) -> None:
    key = await api.new_key(STRANGER, community)
    body = {"name": "x", "community_id": OTHER, "nodes": {}, "connections": []}
    answer = await api.call("POST", "/workflows", body, key=key)
    assert (answer.status, answer.code) == (403, "PERMISSION_DENIED")


async def test_an_unbound_member_creates_in_their_community(api: Api, dal: AsyncDAL) -> None:
    await join(dal, STRANGER, OTHER)
    key = await api.new_key(STRANGER, None)
    body = {"name": "x", "community_id": OTHER, "nodes": {}, "connections": []}
    assert (await api.call("POST", "/workflows", body, key=key)).status == 201


async def test_an_admin_of_one_community_is_a_stranger_in_the_next(api: Api) -> None:
    workflow_id = await api.stored()
    for community, status in ((None, 200), (COMMUNITY, 200), (OTHER, 404)):
        key = await api.new_key(STRANGER, community, scopes=["admin"])
        assert (await api.call("GET", f"/workflows/{workflow_id}", key=key)).status == status


@pytest.mark.parametrize(
    ("kind", "target", "bound"),
    [
        ("user", STRANGER, True),
        ("user", STRANGER, False),
        ("community", COMMUNITY, True),
        ("role", "mod", True),
        ("role", "mod", False),
    ],
)
async def test_a_grant_gives_exactly_what_it_names(
    api: Api, dal: AsyncDAL, kind: str, target: object, *, bound: bool
) -> None:
    workflow_id = await api.stored()
    if kind == "role":
        await join(dal, STRANGER, COMMUNITY, "mod")
    await grant(dal, workflow_id, kind, target, "can_view")
    key = await api.new_key(STRANGER, COMMUNITY if bound else None)
    url = f"/workflows/{workflow_id}"
    assert (await api.call("GET", url, key=key)).status == 200
    assert (await api.call("PUT", url, {"name": "x"}, key=key)).status == 403
    run = await api.call("POST", f"{url}/execute", {"community_id": COMMUNITY}, key=key)
    assert run.status == 403


async def test_a_role_of_another_community_counts_for_nothing(api: Api, dal: AsyncDAL) -> None:
    workflow_id = await api.stored()
    await join(dal, STRANGER, OTHER, "mod")
    await grant(dal, workflow_id, "role", "mod", "can_view")
    key = await api.new_key(STRANGER, None)
    assert (await api.call("GET", f"/workflows/{workflow_id}", key=key)).status == 404
    assert (await api.call("GET", "/workflows", key=key)).data == []


async def test_lists_show_what_may_be_viewed_and_nothing_else(api: Api, dal: AsyncDAL) -> None:
    shared = await api.stored(name="shared")
    await api.stored(name="private")
    await grant(dal, shared, "user", STRANGER, "can_view")
    executable = await api.stored(name="only executable")
    await grant(dal, executable, "user", STRANGER, "can_execute")
    for community in (None, COMMUNITY):
        key = await api.new_key(STRANGER, community)
        answer = await api.call("GET", "/workflows", key=key)
        assert [row["name"] for row in answer.data] == ["shared"]
        assert answer.body["meta"]["pagination"]["total"] == 1
    outside = await api.new_key(STRANGER, OTHER)
    assert (await api.call("GET", "/workflows", key=outside)).data == []
    admin = await api.new_key(STRANGER, None, scopes=["admin"])
    assert len((await api.call("GET", "/workflows", key=admin)).data) == 3


async def test_a_community_grant_reaches_members_only(api: Api, dal: AsyncDAL) -> None:
    shared = await api.stored()
    await grant(dal, shared, "community", COMMUNITY, "can_view")
    key = await api.new_key(STRANGER, None)
    url = f"/workflows/{shared}"
    assert (await api.call("GET", url, key=key)).status == 404
    assert (await api.call("GET", "/workflows", key=key)).data == []
    await join(dal, STRANGER + 1, COMMUNITY)
    member = await api.new_key(STRANGER + 1, None)
    assert (await api.call("GET", url, key=member)).status == 200
    assert len((await api.call("GET", "/workflows", key=member)).data) == 1


async def test_who_started_an_execution_sees_and_cancels_it(api: Api, dal: AsyncDAL) -> None:
    workflow_id = await api.stored()
    await grant(dal, workflow_id, "user", STRANGER, "can_execute")
    key = await api.new_key(STRANGER)
    body = {"community_id": COMMUNITY}
    ran = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", body, key=key)
    url = f"/workflows/executions/{ran.data['execution_id']}"
    assert (await api.call("GET", url, key=key)).status == 200
    assert (await api.call("POST", f"{url}/cancel", key=key)).status == 409


async def test_viewers_see_executions_and_editors_cancel_them(api: Api, dal: AsyncDAL) -> None:
    workflow_id = await api.stored()
    body = {"community_id": COMMUNITY}
    ran = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", body)
    url = f"/workflows/executions/{ran.data['execution_id']}"
    await grant(dal, workflow_id, "user", STRANGER, "can_view")
    await grant(dal, workflow_id, "user", STRANGER + 1, "can_edit")
    viewer, editor = await api.new_key(STRANGER), await api.new_key(STRANGER + 1)
    assert (await api.call("GET", url, key=viewer)).status == 200
    assert (await api.call("POST", f"{url}/cancel", key=viewer)).status == 403
    assert (await api.call("GET", url, key=editor)).status == 403
    assert (await api.call("POST", f"{url}/cancel", key=editor)).status == 409
