"""Secrets over HTTP: values go in and never come out. What may not happen to them is in
`tests/security/test_secrets.py`."""

from __future__ import annotations

from typing import Any

import pytest

from app import create_app
from composition import running
from config import Config
from models.dal import AsyncDAL
from services.community_secrets import MOST_SECRETS
from tests.controllers.conftest import COMMUNITY, OWNER, Answer, Api

URL = f"/communities/{COMMUNITY}/secrets"
VALUE = "tok-4c1f0a9b7d2e"
HOSTS = ["api.example.com"]


@pytest.fixture
async def admin(api: Api) -> str:
    """The key of an admin of the community."""
    return await api.new_key(OWNER, COMMUNITY, scopes=["admin"])


async def put(api: Api, key: str, name: str = "token", **changes: Any) -> Answer:
    body = {"value": VALUE, "allowed_hosts": HOSTS, **changes}
    return await api.call("PUT", f"{URL}/{name}", body, key=key)


async def test_a_secret_is_set_shown_listed_and_removed(api: Api, admin: str) -> None:
    made = await put(api, admin)
    assert made.status == 200, made.body
    shown = made.data
    assert set(shown) == {
        *("community_id", "name", "allowed_hosts", "usable"),
        *("created_at", "created_by", "updated_at", "updated_by"),
    }
    assert (shown["name"], shown["allowed_hosts"], shown["usable"]) == ("token", HOSTS, True)
    assert (shown["created_by"], shown["updated_by"]) == (OWNER, OWNER)
    assert (await api.call("GET", f"{URL}/token", key=admin)).data == shown
    assert (await api.call("GET", URL, key=admin)).data == [shown]
    assert (await api.call("DELETE", f"{URL}/token", key=admin)).data == shown
    for method in ("GET", "DELETE"):
        answer = await api.call(method, f"{URL}/token", key=admin)
        assert (answer.status, answer.code) == (404, "SECRET_NOT_FOUND")
    assert (await api.call("GET", URL, key=admin)).data == []


async def test_setting_it_again_changes_value_hosts_and_who_did_it(api: Api, admin: str) -> None:
    first = (await put(api, admin)).data
    other = await api.new_key(OWNER + 1, COMMUNITY, scopes=["admin"])
    again = (await put(api, other, allowed_hosts=["*.Example.org", "*.example.org"])).data

    assert again["allowed_hosts"] == ["*.example.org"]
    assert (again["created_by"], again["updated_by"]) == (OWNER, OWNER + 1)
    assert again["created_at"] == first["created_at"]


async def test_a_list_is_paged_by_name(api: Api, admin: str) -> None:
    names = ["B", "a", "b_2", "c"]
    for name in reversed(names):
        await put(api, admin, name)
    seen: list[str] = []
    cursor = ""
    while True:
        answer = await api.call("GET", f"{URL}?limit=3{cursor}", key=admin)
        seen += [secret["name"] for secret in answer.data]
        pagination = answer.body["meta"]["pagination"]
        if not pagination["has_next"]:
            break
        cursor = f"&cursor={pagination['next_cursor']}"
    assert seen == names


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"value": "1234567"}, "/value"),
        ({"value": "é" * 4097}, "/value"),
        ({"value": " leading space"}, "/value"),
        ({"value": "trailing line\n"}, "/value"),
        ({"value": 12345678}, "/value"),
        ({"value": None}, "/value"),
        ({"allowed_hosts": []}, "/allowed_hosts"),
        ({"allowed_hosts": ["a.example"] * 21}, "/allowed_hosts"),
        ({"allowed_hosts": ["fine.example", "https://a.example"]}, "/allowed_hosts/1"),
        ({"allowed_hosts": ["*"]}, "/allowed_hosts/0"),
        ({"allowed_hosts": "a.example"}, "/allowed_hosts"),
        ({"hosts": []}, "/hosts"),
    ],
)
async def test_what_is_wrong_is_named_and_the_value_not_shown(
    api: Api, admin: str, changes: dict[str, Any], path: str
) -> None:
    answer = await put(api, admin, **changes)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert [problem["path"] for problem in answer.body["details"]] == [path]
    value = str(changes.get("value") or VALUE).strip()
    assert value not in str(answer.body)
    assert value not in api.log.getvalue()


@pytest.mark.parametrize("name", ["1a", "_a", "a-b", "a.b", "class", "x" * 65, "é", "__proto__"])
async def test_a_name_that_no_template_can_read_is_refused(api: Api, admin: str, name: str) -> None:
    answer = await put(api, admin, name)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.body["details"][0]["path"] == "/name"
    assert (await api.call("GET", f"{URL}/{name}", key=admin)).code == "SECRET_NOT_FOUND"
    assert (await api.call("DELETE", f"{URL}/{name}", key=admin)).code == "SECRET_NOT_FOUND"


async def test_a_community_has_so_many_and_no_more(api: Api, admin: str, dal: AsyncDAL) -> None:
    await dal.execute(
        "INSERT INTO community_secrets (community_id, name, ciphertext, key_id, allowed_hosts, "
        "created_by, updated_by) SELECT $1, 's' || n, 'x', 'k', '{a.example}', 1, 1 "
        "FROM generate_series(1, $2) n",
        COMMUNITY,
        MOST_SECRETS,
    )
    assert ((await put(api, admin)).status, (await put(api, admin)).code) == (
        409,
        "TOO_MANY_SECRETS",
    )
    assert (await put(api, admin, "s7")).status == 200
    await api.call("DELETE", f"{URL}/s8", key=admin)
    assert (await put(api, admin)).status == 200


async def test_a_secret_whose_key_is_lost_is_shown_as_not_usable(
    api: Api, admin: str, dal: AsyncDAL
) -> None:
    await put(api, admin)
    await dal.execute("UPDATE community_secrets SET key_id = 'lost'")
    assert (await api.call("GET", f"{URL}/token", key=admin)).data["usable"] is False


async def test_a_change_is_logged_and_audited_without_the_value(
    api: Api, admin: str, dal: AsyncDAL
) -> None:
    await put(api, admin)
    await api.call("DELETE", f"{URL}/token", key=admin)
    lines = api.log.getvalue().splitlines()
    (made,) = (line for line in lines if "action=set_secret" in line)
    assert f"community={COMMUNITY} user={OWNER}" in made
    assert "target=secrets.token" in made
    assert "allowed_hosts=api.example.com" in made
    assert any("action=remove_secret" in line for line in lines)
    assert VALUE not in api.log.getvalue()


async def test_members_of_the_community_cannot_read_or_set_secrets(api: Api) -> None:
    for method, path in (("GET", URL), ("GET", f"{URL}/token"), ("DELETE", f"{URL}/token")):
        answer = await api.call(method, path)
        assert (answer.status, answer.body["details"]) == (403, {"scope": "admin"})
    assert (await put(api, api.key)).status == 403


async def test_without_a_key_of_secrets_none_can_be_set(
    database_url: str, api: Api, admin: str
) -> None:
    config = Config(database_url=database_url)
    async with running(config, api.log) as service:
        keyless = Api(create_app(config, service=service), api.keys, api.log)
        answer = await put(keyless, admin)
        assert (answer.status, answer.code) == (409, "SECRETS_UNAVAILABLE")
        assert "SECRETS_KEY" in answer.body["message"]
        assert (await keyless.call("GET", URL, key=admin)).data == []
