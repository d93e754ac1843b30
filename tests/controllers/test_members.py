"""Members and their roles: set by the admins of a community, and counted at once."""

from __future__ import annotations

from typing import Any

import pytest

from models.dal import AsyncDAL
from tests.controllers.conftest import COMMUNITY, OWNER, Answer, Api
from tests.controllers.test_permissions import grant
from tests.controllers.test_tenants import join

USER = 789
URL = f"/communities/{COMMUNITY}/members"


@pytest.fixture
async def admin(api: Api) -> str:
    """The key of an admin of the community."""
    return await api.new_key(OWNER, COMMUNITY, scopes=["admin"])


async def put(api: Api, key: str, user: object, *roles: str) -> Answer:
    body = {"roles": list(roles)} if roles else None
    return await api.call("PUT", f"{URL}/{user}", body, key=key)


async def test_a_member_is_set_shown_listed_and_removed(api: Api, admin: str) -> None:
    shown = {"community_id": COMMUNITY, "user_id": USER, "roles": ["mod", "vip"]}
    for _ in range(2):
        answer = await put(api, admin, USER, "vip", "mod", "mod")
        assert (answer.status, answer.data) == (200, shown)
    assert (await api.call("GET", f"{URL}/{USER}", key=admin)).data == shown
    assert (await api.call("GET", URL, key=admin)).data == [shown]
    taken = await api.call("DELETE", f"{URL}/{USER}", key=admin)
    assert (taken.status, taken.data) == (200, shown)
    for method in ("GET", "DELETE"):
        answer = await api.call(method, f"{URL}/{USER}", key=admin)
        assert (answer.status, answer.code) == (404, "MEMBER_NOT_FOUND")
    assert (await api.call("GET", URL, key=admin)).data == []


async def test_roles_are_replaced_and_taken_one_by_one(api: Api, admin: str) -> None:
    await put(api, admin, USER, "mod", "vip")
    assert (await put(api, admin, USER, "vip", "host")).data["roles"] == ["host", "vip"]
    taken = await api.call("DELETE", f"{URL}/{USER}?role=vip", key=admin)
    assert taken.data["roles"] == ["vip"]
    assert (await api.call("GET", f"{URL}/{USER}", key=admin)).data["roles"] == ["host"]
    again = await api.call("DELETE", f"{URL}/{USER}?role=vip", key=admin)
    assert (again.status, again.code) == (404, "MEMBER_NOT_FOUND")


async def test_without_a_body_one_becomes_a_plain_member(api: Api, admin: str) -> None:
    assert (await put(api, admin, USER)).data["roles"] == ["member"]


async def test_a_list_is_paged_by_user_and_narrowed_to_a_role(api: Api, admin: str) -> None:
    for user in range(1, 8):
        await put(api, admin, user, "member", *(["mod"] if user % 2 else []))
    for narrow, users in (("", [*range(1, 8)]), ("&role=mod", [1, 3, 5, 7]), ("&role=x", [])):
        seen: list[int] = []
        cursor = ""
        while True:
            answer = await api.call("GET", f"{URL}?limit=2{narrow}{cursor}", key=admin)
            assert answer.status == 200
            seen += [member["user_id"] for member in answer.data]
            pagination = answer.body["meta"]["pagination"]
            assert pagination["has_next"] == (pagination["next_cursor"] is not None)
            if not pagination["has_next"]:
                break
            cursor = f"&cursor={pagination['next_cursor']}"
        assert seen == users


async def test_a_cursor_is_good_for_its_own_list_only(api: Api, admin: str) -> None:
    for user in (1, 2):
        await put(api, admin, user, "mod")
    page = await api.call("GET", f"{URL}?limit=1", key=admin)
    cursor = page.body["meta"]["pagination"]["next_cursor"]
    for url, key in (
        (f"{URL}?role=mod&cursor={cursor}", admin),
        (f"{URL}?cursor={cursor}", await api.new_key(OWNER, None, scopes=["admin"])),
        (f"{URL}?cursor={cursor}x", admin),
    ):
        answer = await api.call("GET", url, key=key)
        assert (answer.status, answer.code) == (400, "INVALID_CURSOR")


async def test_a_role_counts_at_once_and_so_does_losing_it(api: Api, admin: str) -> None:
    workflow_id = await api.stored()
    await grant(api, workflow_id, permission_type="role", target_id="mod", can_view=True)
    key = await api.new_key(USER, None)
    url = f"/workflows/{workflow_id}"
    assert (await api.call("GET", url, key=key)).status == 404
    await put(api, admin, USER)
    assert (await api.call("GET", url, key=key)).status == 403
    await put(api, admin, USER, "mod")
    assert (await api.call("GET", url, key=key)).status == 200
    assert [row["workflow_id"] for row in (await api.call("GET", "/workflows", key=key)).data] == [
        workflow_id
    ]
    await api.call("DELETE", f"{URL}/{USER}", key=admin)
    assert (await api.call("GET", url, key=key)).status == 404
    assert (await api.call("GET", "/workflows", key=key)).data == []


CALLS: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("GET", f"/{USER}", None),
    ("PUT", f"/{USER}", {"roles": ["mod"]}),
    ("DELETE", f"/{USER}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_to_an_admin_of_one_community_no_other_exists(
    api: Api, dal: AsyncDAL, method: str, path: str, body: Any
) -> None:
    await join(dal, USER, COMMUNITY, "vip")
    stranger = await api.new_key(OWNER, COMMUNITY + 1, scopes=["admin"])
    seen = [
        await api.call(method, f"/communities/{community}/members{path}", body, key=stranger)
        for community in (COMMUNITY, COMMUNITY + 2, "x", 2**63)
    ]
    assert {(answer.status, answer.code) for answer in seen} == {(404, "COMMUNITY_NOT_FOUND")}
    assert all(answer.body == seen[0].body for answer in seen)
    rows = await dal.fetch("SELECT community_id, user_id, role FROM community_members")
    assert [tuple(row) for row in rows] == [(COMMUNITY, USER, "vip")]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_members_are_for_admins(api: Api, method: str, path: str, body: Any) -> None:
    answer = await api.call(method, URL + path, body)
    assert (answer.status, answer.body["details"]) == (403, {"scope": "admin"})


async def test_an_admin_without_a_community_reaches_all(api: Api) -> None:
    key = await api.new_key(OWNER, None, scopes=["admin"])
    for community in (COMMUNITY, COMMUNITY + 1):
        url = f"/communities/{community}/members/{USER}"
        assert (await api.call("PUT", url, key=key)).status == 200


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"roles": []}, "/roles"),
        ({"roles": [""]}, "/roles/0"),
        ({"roles": ["x" * 65]}, "/roles/0"),
        ({"roles": ["a\nb"]}, "/roles/0"),
        ({"roles": ["vip "]}, "/roles/0"),
        ({"roles": [" vip"]}, "/roles/0"),
        ({"roles": [1]}, "/roles/0"),
        ({"roles": [str(number) for number in range(21)]}, "/roles"),
        ({"roles": "mod"}, "/roles"),
        ({"role": "mod"}, "/role"),
        ([], ""),
    ],
)
async def test_wrong_roles_are_refused_by_name(api: Api, admin: str, body: Any, path: str) -> None:
    answer = await api.call("PUT", f"{URL}/{USER}", body, key=admin)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.body["details"][0]["path"] == path


@pytest.mark.parametrize("user", ["ada", "-1", str(2**63), "1.0"])
async def test_what_is_no_user_is_no_member(api: Api, admin: str, user: str) -> None:
    answer = await put(api, admin, user, "mod")
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert (await api.call("GET", f"{URL}/{user}", key=admin)).code == "MEMBER_NOT_FOUND"
    assert (await api.call("DELETE", f"{URL}/{user}", key=admin)).code == "MEMBER_NOT_FOUND"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "role=", "role=vip%20", "cursor=x", "rolle=mod"]
)
async def test_a_wrong_list_is_refused(api: Api, admin: str, query: str) -> None:
    assert (await api.call("GET", f"{URL}?{query}", key=admin)).status == 400


async def test_a_change_says_whose_roles_became_what(api: Api, admin: str) -> None:
    await put(api, admin, USER, "mod", "vip")
    line = api.log.getvalue().splitlines()[-1]
    assert f"community={COMMUNITY} user={OWNER} action=set_member result=SUCCESS" in line
    assert f"target=user:{USER} roles=mod,vip" in line


async def test_too_few_and_too_many_roles_are_told_in_plain_words(api: Api, admin: str) -> None:
    for roles, said in (
        ([], "must have at least 1 item, not 0"),
        ([str(number) for number in range(21)], "must have at most 20 items, not 21"),
    ):
        answer = await api.call("PUT", f"{URL}/{USER}", {"roles": roles}, key=admin)
        assert [each["message"] for each in answer.body["details"]] == [said]
