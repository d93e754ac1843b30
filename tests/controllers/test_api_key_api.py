"""API keys over HTTP: shown once, never more than their maker, gone when revoked."""

from __future__ import annotations

import re
from typing import Any

import pytest

from composition import Running
from models.dal import AsyncDAL
from services.caller import SCOPES
from tests.controllers.conftest import COMMUNITY, OWNER, Answer, Api

NEW = {"name": "bot", "scopes": ["workflows:read"]}
NOTHING = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def admin(api: Api) -> Api:
    """The service, seen by an admin of everything."""
    api.key = await api.new_key(user=1, community=None, scopes=["admin"])
    return api


@pytest.fixture
async def bound(api: Api) -> str:
    """The key of an admin of one community."""
    return await api.new_key(user=2, scopes=["admin"])


async def made(api: Api, **changes: Any) -> Answer:
    answer = await api.call("POST", "/api-keys", {**NEW, **changes})
    assert answer.status == 201, answer.body
    return answer


async def works(api: Api, secret: str) -> bool:
    return (await api.call("GET", "/status", key=secret)).status == 200


async def test_a_key_is_shown_once_and_works(admin: Api, dal: AsyncDAL) -> None:
    answer = await made(admin, community_id=COMMUNITY, user_id=OWNER, kind="service")
    secret, key_id = answer.data["key"], answer.data["key_id"]
    assert re.fullmatch(r"wa-[0-9a-f]{64}", secret)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["location"] == f"/api/v1/api-keys/{key_id}"
    assert answer.data["created_by"] == 1
    assert answer.data["state"] == "active"
    assert await works(admin, secret)
    shown = await admin.call("GET", f"/api-keys/{key_id}")
    assert {**shown.data, "last_used_at": None, "key": secret} == answer.data
    listed = await admin.call("GET", "/api-keys")
    everything = await dal.fetchval("SELECT string_agg(api_keys::text, ' ') FROM api_keys")
    for where in (str(shown.body), str(listed.body), admin.log.getvalue(), everything):
        assert secret not in where
        assert secret.removeprefix("wa-") not in where


async def test_a_key_can_expire(admin: Api) -> None:
    answer = await made(admin, expires_days=2)
    assert answer.data["expires_at"][:10] > answer.data["created_at"][:10]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"scopes": ["admin"]}, "/name"),
        ({"name": "x"}, "/scopes"),
        ({**NEW, "scopes": []}, "/scopes"),
        ({**NEW, "scopes": ["everything"]}, "/scopes/0"),
        ({**NEW, "name": ""}, "/name"),
        ({**NEW, "user_id": "7"}, "/user_id"),
        ({**NEW, "community_id": -1}, "/community_id"),
        ({**NEW, "kind": "robot"}, "/kind"),
        ({**NEW, "expires_days": 0}, "/expires_days"),
        ({**NEW, "secret": "wa-mine"}, "/secret"),
    ],
)
async def test_a_wrong_body_names_its_fields(admin: Api, body: dict[str, Any], path: str) -> None:
    answer = await admin.call("POST", "/api-keys", body)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert [problem["path"] for problem in answer.body["details"]] == [path]


async def test_keys_are_paged_newest_first_without_gap_or_repeat(admin: Api) -> None:
    expected = [(await made(admin, name=f"k{n}", user_id=77)).data["key_id"] for n in range(5)]
    found: list[str] = []
    query = "user_id=77&limit=2"
    while True:
        answer = await admin.call("GET", f"/api-keys?{query}")
        found += [row["key_id"] for row in answer.data]
        pagination = answer.body["meta"]["pagination"]
        if not pagination["has_next"]:
            break
        query = f"user_id=77&limit=2&cursor={pagination['next_cursor']}"
    assert found == expected[::-1]


async def test_a_cursor_of_another_list_is_refused(admin: Api) -> None:
    await made(admin)
    answer = await admin.call("GET", "/api-keys?limit=1")
    cursor = answer.body["meta"]["pagination"]["next_cursor"]
    answer = await admin.call("GET", f"/api-keys?limit=1&user_id=1&cursor={cursor}")
    assert (answer.status, answer.code) == (400, "INVALID_CURSOR")


async def test_a_revoked_key_ends_at_once_and_stays_visible(admin: Api) -> None:
    answer = await made(admin)
    url = f"/api-keys/{answer.data['key_id']}"
    assert await works(admin, answer.data["key"])
    first = await admin.call("DELETE", url)
    assert (first.status, first.data["state"]) == (200, "revoked")
    assert not await works(admin, answer.data["key"])
    assert (await admin.call("DELETE", url)).data == first.data
    assert (await admin.call("GET", url)).data["state"] == "revoked"


async def test_both_keys_work_while_a_rotation_is_under_way(admin: Api) -> None:
    old = (await made(admin, community_id=COMMUNITY, kind="service", expires_days=9)).data
    answer = await admin.call("POST", f"/api-keys/{old['key_id']}/rotate", {"grace_seconds": 60})
    new = answer.data
    assert answer.status == 201
    rights = ("name", "kind", "user_id", "community_id", "scopes")
    assert [new[name] for name in rights] == [old[name] for name in rights]
    assert new["expires_at"] > old["expires_at"] > new["replaces"]["expires_at"]
    assert new["replaces"]["rotated_to"] == new["key_id"]
    assert new["replaces"]["state"] == "rotated"
    assert await works(admin, old["key"])
    assert await works(admin, new["key"])
    assert new["key"] not in admin.log.getvalue()


async def test_without_a_grace_time_the_old_key_ends_at_once(admin: Api) -> None:
    old = (await made(admin)).data
    assert await works(admin, old["key"])
    answer = await admin.call("POST", f"/api-keys/{old['key_id']}/rotate", {"grace_seconds": 0})
    assert answer.data["expires_at"] is None
    assert not await works(admin, old["key"])
    assert await works(admin, answer.data["key"])
    assert (await admin.call("GET", f"/api-keys/{old['key_id']}")).data["state"] == "expired"


async def test_what_has_ended_or_has_a_successor_is_not_rotated(admin: Api) -> None:
    key_id = (await made(admin)).data["key_id"]
    assert (await admin.call("POST", f"/api-keys/{key_id}/rotate")).status == 201
    again = await admin.call("POST", f"/api-keys/{key_id}/rotate")
    assert (again.status, again.code) == (409, "KEY_NOT_ACTIVE")
    revoked = (await made(admin)).data["key_id"]
    await admin.call("DELETE", f"/api-keys/{revoked}")
    answer = await admin.call("POST", f"/api-keys/{revoked}/rotate")
    assert (answer.status, answer.code) == (409, "KEY_NOT_ACTIVE")


@pytest.mark.parametrize("seconds", [-1, 2_592_001, "60", 1.5])
async def test_the_grace_time_is_bounded(admin: Api, seconds: Any) -> None:
    key_id = (await made(admin)).data["key_id"]
    answer = await admin.call("POST", f"/api-keys/{key_id}/rotate", {"grace_seconds": seconds})
    assert (answer.status, answer.body["details"][0]["path"]) == (400, "/grace_seconds")


@pytest.mark.parametrize("key_id", [NOTHING, "7", "%FF"])
@pytest.mark.parametrize(("method", "more"), [("GET", ""), ("DELETE", ""), ("POST", "/rotate")])
async def test_an_unknown_key_is_404(admin: Api, key_id: str, method: str, more: str) -> None:
    answer = await admin.call(method, f"/api-keys/{key_id}{more}")
    assert (answer.status, answer.code) == (404, "KEY_NOT_FOUND")


async def test_everyday_scopes_are_not_enough(api: Api) -> None:
    key = await api.new_key(scopes=sorted(SCOPES - {"admin"}))
    for method, path in (("GET", ""), ("POST", ""), ("GET", f"/{NOTHING}"),
                         ("DELETE", f"/{NOTHING}"), ("POST", f"/{NOTHING}/rotate")):  # fmt: skip
        answer = await api.call(method, f"/api-keys{path}", NEW, key=key)
        assert (answer.status, answer.body["details"]) == (403, {"scope": "admin"})


async def test_a_service_that_acts_for_a_user_makes_no_keys(api: Api) -> None:
    key = await api.new_key(user=1, community=None, scopes=["admin"], kind="service")
    answer = await api.call("POST", "/api-keys", NEW, key=key, headers={"X-Acting-User": "9"})
    assert answer.status == 403


async def test_a_bound_admin_makes_keys_of_its_own_community_only(api: Api, bound: str) -> None:
    api.key = bound
    assert (await made(api)).data["community_id"] == COMMUNITY
    assert (await made(api, community_id=COMMUNITY)).data["user_id"] == 2
    answer = await api.call("POST", "/api-keys", {**NEW, "community_id": COMMUNITY + 1})
    assert (answer.status, answer.code) == (403, "PERMISSION_DENIED")
    assert " AUTHZ " in api.log.getvalue().splitlines()[-1]


async def test_a_bound_admin_finds_no_key_of_others(api: Api, bound: str, dal: AsyncDAL) -> None:
    await api.new_key(user=3, community=COMMUNITY + 1)
    await api.new_key(user=3, community=None)
    others = await dal.fetch("SELECT key_id FROM api_keys WHERE community_id IS DISTINCT FROM $1",
                             COMMUNITY)  # fmt: skip
    unknown = await api.call("GET", f"/api-keys/{NOTHING}", key=bound)
    for row in others:
        for method, more in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
            answer = await api.call(method, f"/api-keys/{row['key_id']}{more}", key=bound)
            assert (answer.status, answer.body) == (404, unknown.body)
    listed = await api.call("GET", "/api-keys", key=bound)
    assert {row["community_id"] for row in listed.data} == {COMMUNITY}
    for query in (f"community_id={COMMUNITY + 1}", "user_id=3"):
        assert (await api.call("GET", f"/api-keys?{query}", key=bound)).data == []
    assert await dal.fetchval("SELECT count(*) FROM api_keys WHERE revoked_at IS NOT NULL") == 0


async def test_every_change_is_an_audit_row(admin: Api, service: Running, dal: AsyncDAL) -> None:
    key_id = (await made(admin)).data["key_id"]
    rotated = await admin.call("POST", f"/api-keys/{key_id}/rotate")
    await admin.call("DELETE", f"/api-keys/{key_id}")
    await service.state.audit.stop()
    rows = await dal.fetch("SELECT action, result, user_id, details FROM audit_log ORDER BY 1")
    assert [(row["action"], row["result"], row["user_id"]) for row in rows] == [
        ("create_api_key", "SUCCESS", 1),
        ("revoke_api_key", "SUCCESS", 1),
        ("rotate_api_key", "SUCCESS", 1),
    ]
    assert [row["details"]["target"] for row in rows] == [key_id] * 3
    assert rows[2]["details"]["successor"] == rotated.data["key_id"]
    assert rotated.data["key"] not in str([dict(row) for row in rows])
