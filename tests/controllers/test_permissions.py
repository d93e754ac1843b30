"""Granting: exactly what is named, to somebody of the workflow's community, at once."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from services.grants import FLAGS
from tests.controllers.conftest import COMMUNITY, OWNER, Answer, Api, greeting

OTHER = 789
NEEDED = {
    "can_view": ("GET", "", None),
    "can_edit": ("PUT", "", {"description": "new"}),
    "can_execute": ("POST", "/execute", {"community_id": COMMUNITY}),
    "can_delete": ("DELETE", "", None),
    "can_manage_permissions": ("GET", "/permissions", None),
}


async def grant(api: Api, workflow_id: str, key: str | None = None, **body: Any) -> Answer:
    sent = {"permission_type": "user", "target_id": OTHER, **body}
    return await api.call("PUT", f"/workflows/{workflow_id}/permissions", sent, key=key)


async def tried(api: Api, workflow_id: str, permission: str, key: str) -> int:
    """The status of what takes this permission."""
    method, path, body = NEEDED[permission]
    return (await api.call(method, f"/workflows/{workflow_id}{path}", body, key=key)).status


@pytest.mark.parametrize("given", FLAGS)
async def test_a_grant_gives_exactly_what_it_names_and_at_once(api: Api, given: str) -> None:
    workflow_id = await api.stored()
    key = await api.new_key(user=OTHER)
    assert await tried(api, workflow_id, given, key) == 403
    answer = await grant(api, workflow_id, **{given: True})
    assert answer.status == 200
    assert answer.data | {"permission_id": "", "created_at": ""} == {
        "permission_id": "",
        "workflow_id": workflow_id,
        "permission_type": "user",
        "target_id": str(OTHER),
        **{flag: flag == given for flag in FLAGS},
        "granted_by": OWNER,
        "created_at": "",
    }
    allowed = {flag: await tried(api, workflow_id, flag, key) in (200, 202) for flag in FLAGS}
    assert allowed == {flag: flag == given for flag in FLAGS}


@pytest.mark.parametrize(
    ("given", "method", "url", "body"),
    [
        ("can_edit", "PUT", "/workflows/{}", {"description": "changed"}),
        ("can_edit", "POST", "/workflows/{}/publish", None),
        ("can_delete", "DELETE", "/workflows/{}", None),
    ],
)
async def test_changing_a_workflow_does_not_show_it_to_who_may_not_read_it(
    api: Api, given: str, method: str, url: str, body: Any
) -> None:
    workflow_id = await api.stored(name="Nobody reads this")
    key = await api.new_key(OTHER)
    await grant(api, workflow_id, **{given: True})

    blind = await api.call(method, url.format(workflow_id), body, key=key)
    read = await api.call("GET", f"/workflows/{workflow_id}", key=key)
    await grant(api, workflow_id, **{given: True, "can_view": True})
    seen = await api.call(method, url.format(workflow_id), body, key=key)
    writes = await api.new_key(OTHER, scopes=["workflows:write"])
    by_scope = await api.call(method, url.format(workflow_id), body, key=writes)

    assert (blind.status, read.status) == (200, 403)
    assert blind.data["workflow_id"] == workflow_id
    assert blind.headers["etag"] == f'"{blind.data["version"]}"'
    for answer in (blind, by_scope):
        assert "Nobody reads this" not in str(answer.body)
        assert answer.data.keys().isdisjoint({"nodes", "connections", "name", "global_variables"})
    assert (seen.status, seen.data["name"]) == (200, "Nobody reads this")


async def test_a_grant_replaces_what_its_target_had(api: Api) -> None:
    workflow_id = await api.stored()
    first = await grant(api, workflow_id, can_view=True, can_edit=True)
    second = await grant(api, workflow_id, can_execute=True)
    assert second.data["permission_id"] == first.data["permission_id"]
    listed = await api.call("GET", f"/workflows/{workflow_id}/permissions")
    assert listed.data == [second.data]
    assert [flag for flag in FLAGS if second.data[flag]] == ["can_execute"]


@pytest.mark.parametrize("by_query", [True, False])
async def test_a_grant_taken_away_is_gone_at_once(api: Api, by_query: bool) -> None:
    workflow_id = await api.stored()
    key = await api.new_key(user=OTHER)
    await grant(api, workflow_id, can_view=True)
    assert await tried(api, workflow_id, "can_view", key) == 200
    path = f"/workflows/{workflow_id}/permissions"
    if by_query:
        path += f"?permission_type=user&target_id={OTHER}"
    body = None if by_query else {"permission_type": "user", "target_id": OTHER}
    assert (await api.call("DELETE", path, body)).status == 200
    assert await tried(api, workflow_id, "can_view", key) == 403
    again = await api.call("DELETE", path, body)
    assert (again.status, again.code) == (404, "PERMISSION_NOT_FOUND")


@pytest.mark.parametrize(
    ("query", "body", "path"),
    [
        ({"permission_type": "user", "target_id": OTHER}, {"target_id": 51}, "/target_id"),
        ({"permission_type": "user", "target_id": 51}, {"target_id": OTHER}, "/target_id"),
        ({"permission_type": "user"}, {"permission_type": "role"}, "/permission_type"),
    ],
)
async def test_a_target_that_query_and_body_name_otherwise_is_refused(
    api: Api, query: dict[str, Any], body: dict[str, Any], path: str
) -> None:
    workflow_id = await api.stored()
    for user in (OTHER, 51):
        await grant(api, workflow_id, target_id=user, can_view=True)
    sent = {"permission_type": "user", "target_id": OTHER, **body}
    url = f"/workflows/{workflow_id}/permissions?{urlencode(query)}"
    answer = await api.call("DELETE", url, sent)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    [problem] = answer.body["details"]
    assert problem["path"] == path
    assert "contradicts the query" in problem["message"]
    assert len(await listed(api, workflow_id)) == 2


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ({"permission_type": "user"}, {"target_id": OTHER}),
        ({"target_id": OTHER}, {"permission_type": "user"}),
        ({"permission_type": "user", "target_id": OTHER}, {"target_id": float(OTHER)}),
        ({"permission_type": "user", "target_id": f"0{OTHER}"}, {"target_id": str(OTHER)}),
    ],
)
async def test_a_target_may_be_named_in_parts_that_fit_together(
    api: Api, query: dict[str, Any], body: dict[str, Any]
) -> None:
    workflow_id = await api.stored()
    await grant(api, workflow_id, can_view=True)
    url = f"/workflows/{workflow_id}/permissions?{urlencode(query)}"
    assert (await api.call("DELETE", url, body)).status == 200
    assert await listed(api, workflow_id) == {}


async def test_a_role_and_the_community_are_granted_to_like_a_user(api: Api) -> None:
    workflow_id = await api.stored()
    key = await api.new_key(user=OTHER)
    await grant(api, workflow_id, permission_type="role", target_id="moderator", can_view=True)
    assert await tried(api, workflow_id, "can_view", key) == 403
    community = {"permission_type": "community", "target_id": str(COMMUNITY)}
    await grant(api, workflow_id, **community, can_view=True)
    assert await tried(api, workflow_id, "can_view", key) == 200


async def test_whoever_manages_permissions_may_give_and_take_them(api: Api) -> None:
    workflow_id = await api.stored()
    manager = await api.new_key(user=OTHER)
    await grant(api, workflow_id, can_manage_permissions=True)
    given = await grant(api, workflow_id, manager, target_id=5, can_view=True)
    assert (given.status, given.data["granted_by"]) == (200, OTHER)


async def test_the_owner_keeps_everything_whatever_is_granted(api: Api) -> None:
    workflow_id = await api.stored()
    await grant(api, workflow_id, target_id=OWNER, can_view=True)
    assert await tried(api, workflow_id, "can_edit", api.key) == 200


@pytest.mark.parametrize(
    ("body", "path", "says"),
    [
        ({"target_id": 1, "can_view": True}, "/permission_type", "required"),
        ({"permission_type": "team", "target_id": 1, "can_view": True}, "/permission_type", "user"),
        ({"permission_type": "user", "can_view": True}, "/target_id", "required"),
        *(
            ({"permission_type": kind, "target_id": wrong, "can_view": True}, "/target_id", says)
            for kind, says in (("user", "the id of a user, an integer"), ("community", "integer"))
            for wrong in ("ada", "", str(2**63), -1, 1.5, True, None, [], {})
        ),
        *(
            ({"permission_type": "role", "target_id": wrong, "can_view": True}, "/target_id", says)
            for wrong, says in (
                ("", "1 to 64"),
                ("r" * 65, "1 to 64"),
                ("r ", "without a space"),
                (-1, "a role's name"),
                (None, "a role's name"),
            )
        ),
        (
            {"permission_type": "community", "target_id": 124, "can_view": True},
            "/target_id",
            str(COMMUNITY),
        ),
        ({"permission_type": "user", "target_id": 1}, "", "gives nothing"),
        ({"permission_type": "user", "target_id": 1, "can_view": "yes"}, "/can_view", "true"),
        ({"permission_type": "user", "target_id": 1, "can_fly": True}, "/can_fly", "can_view"),
    ],
)
async def test_a_wrong_grant_is_refused_by_name_and_nothing_is_granted(
    api: Api, body: dict[str, Any], path: str, says: str
) -> None:
    workflow_id = await api.stored()
    answer = await api.call("PUT", f"/workflows/{workflow_id}/permissions", body)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    [problem] = answer.body["details"]
    assert problem["path"] == path
    assert says in problem["message"]
    assert (await api.call("GET", f"/workflows/{workflow_id}/permissions")).data == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_another_communitys_workflow_is_as_unknown_as_one_that_is_not_there(
    api: Api, method: str
) -> None:
    workflow_id = await api.stored()
    stranger = await api.new_key(user=OTHER, community=COMMUNITY + 1)
    body = {"permission_type": "user", "target_id": OTHER, "can_view": True}
    sent = {"GET": None, "PUT": body, "DELETE": {k: body[k] for k in list(body)[:2]}}[method]
    answers = [
        await api.call(method, f"/workflows/{one}/permissions", sent, key=stranger)
        for one in (workflow_id, uuid4())
    ]
    assert answers[0].status == 404
    assert answers[0].body == answers[1].body


async def test_a_workflow_has_a_bounded_number_of_grants(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.grants.MOST_GRANTS", 2)
    workflow_id = await api.stored()
    for user in (1, 2):
        assert (await grant(api, workflow_id, target_id=user, can_view=True)).status == 200
    refused = await grant(api, workflow_id, target_id=3, can_view=True)
    assert (refused.status, refused.code) == (409, "TOO_MANY_PERMISSIONS")
    assert (await grant(api, workflow_id, target_id=2, can_edit=True)).status == 200


async def test_a_grant_is_a_line_that_says_who_may_do_what(api: Api) -> None:
    workflow_id = await api.stored(**greeting(name="Logged"))
    await grant(api, workflow_id, can_view=True, can_edit=True)
    line = api.log.getvalue().splitlines()[-1]
    assert "action=grant_permissions result=SUCCESS" in line
    assert f"target=user:{OTHER}" in line
    assert "granted=can_view,can_edit" in line


async def listed(api: Api, workflow_id: str) -> dict[str, list[str]]:
    """Who has what, by the list."""
    answer = await api.call("GET", f"/workflows/{workflow_id}/permissions")
    return {
        f"{each['permission_type']}:{each['target_id']}": [f for f in FLAGS if each[f]]
        for each in answer.data
    }


def gift(kind: str, target: Any, *flags: str) -> dict[str, Any]:
    return {"permission_type": kind, "target_id": target, **dict.fromkeys(flags, True)}


async def test_several_grants_are_given_at_once_and_others_keep_theirs(api: Api) -> None:
    workflow_id = await api.stored()
    await grant(api, workflow_id, target_id=1, can_view=True)
    await grant(api, workflow_id, target_id=2, can_view=True)
    several = [gift("user", 2, "can_edit"), gift("role", "mod", "can_view", "can_delete")]
    url = f"/workflows/{workflow_id}/permissions"
    for _ in range(2):
        answer = await api.call("PUT", url, {"permissions": several})
        assert answer.status == 200
        assert [each["target_id"] for each in answer.data] == ["2", "mod"]
    assert await listed(api, workflow_id) == {
        "user:1": ["can_view"],
        "user:2": ["can_edit"],
        "role:mod": ["can_view", "can_delete"],
    }


@pytest.mark.parametrize(
    ("wrong", "path", "says"),
    [
        (gift("community", 124, "can_view"), "/permissions/1/target_id", str(COMMUNITY)),
        (gift("user", 7), "/permissions/1", "gives nothing"),
        (gift("user", "01", "can_edit"), "/permissions/1/target_id", "named twice"),
        (gift("user", "x", "can_edit"), "/permissions/1/target_id", "integer"),
        (gift("user", 7, "can_fly"), "/permissions/1/can_fly", "unknown field; known: permission_"),
    ],
)
async def test_of_several_grants_all_are_given_or_none(
    api: Api, wrong: dict[str, Any], path: str, says: str
) -> None:
    workflow_id = await api.stored()
    several = {"permissions": [gift("user", 1, "can_view"), wrong]}
    answer = await api.call("PUT", f"/workflows/{workflow_id}/permissions", several)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.body["details"][0]["path"] == path
    assert says in answer.body["details"][0]["message"]
    assert await listed(api, workflow_id) == {}


async def test_a_misspelt_permission_is_told_with_the_nearest_one(api: Api) -> None:
    workflow_id = await api.stored()
    several = {"permissions": [gift("user", 1, "can_veiw")]}
    answer = await api.call("PUT", f"/workflows/{workflow_id}/permissions", several)
    [problem] = answer.body["details"]
    assert problem["path"] == "/permissions/0/can_veiw"
    assert problem["hint"] == "Did you mean 'can_view'?"


async def test_a_target_without_a_type_is_judged_by_itself(api: Api) -> None:
    workflow_id = await api.stored()
    body = {"permission_type": "team", "target_id": None, "can_view": True}
    answer = await api.call("PUT", f"/workflows/{workflow_id}/permissions", body)
    told = {each["path"]: each["message"] for each in answer.body["details"]}
    assert told.keys() == {"/permission_type", "/target_id"}
    assert "an id, an integer from 0 to 2^63 - 1, or a role's name" in told["/target_id"]


async def test_several_grants_beyond_the_most_are_refused_together(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.grants.MOST_GRANTS", 2)
    workflow_id = await api.stored()
    await grant(api, workflow_id, target_id=1, can_view=True)
    url = f"/workflows/{workflow_id}/permissions"
    several = [gift("user", user, "can_view") for user in (2, 3)]
    answer = await api.call("PUT", url, {"permissions": several})
    assert (answer.status, answer.code) == (409, "TOO_MANY_PERMISSIONS")
    assert list(await listed(api, workflow_id)) == ["user:1"]
    several = [gift("user", user, "can_edit") for user in (1, 3)]
    assert (await api.call("PUT", url, {"permissions": several})).status == 200
