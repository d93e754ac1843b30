"""Webhooks by HTTP: made, shown, changed, rotated, replayed; by whom; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from models.dal import AsyncDAL
from services.caller import ADMIN
from services.clock import new_id
from tests.controllers.conftest import COMMUNITY, OWNER, Api
from tests.controllers.test_tenants import OTHER, STRANGER, grant, join
from tests.receiver import answers, receiver
from tests.webhook_rows import SECRET, are, deliveries

URL = "https://example.org/hook"
HOOKS = "/workflow-management/webhooks"
GIVEN_UP = """
UPDATE webhook_deliveries SET status = 'failed', due_at = NULL, settled_at = now(), attempts = 10
"""


def a_body(**changes: Any) -> dict[str, Any]:
    return {
        "url": URL,
        "events": ["execution.completed"],
        "community_id": COMMUNITY,
        **changes,
    }


async def made(api: Api, **changes: Any) -> dict[str, Any]:
    answer = await api.call("POST", HOOKS, a_body(**changes))
    assert answer.status == 201, answer.body
    return dict(answer.body)


async def ran(api: Api, workflow_id: str) -> str:
    """The id of an execution that has completed."""
    answer = await api.call(
        "POST",
        f"/workflows/{workflow_id}/execute?wait=10",
        {"community_id": COMMUNITY, "variables": {"username": "ada"}},
    )
    assert answer.data["status"] == "completed", answer.body
    return str(answer.data["execution_id"])


CALLS: list[tuple[str, str, Any]] = [
    ("GET", HOOKS + "/{}", None),
    ("PUT", HOOKS + "/{}", {"enabled": True}),
    ("DELETE", HOOKS + "/{}", None),
    ("POST", HOOKS + "/{}/rotate-secret", {}),
    ("GET", HOOKS + "/{}/deliveries", None),
]


# What it is


async def test_a_webhook_is_shown_with_its_secret_once(api: Api) -> None:
    answer = await api.call("POST", HOOKS, a_body())
    body = answer.body
    secret = body.pop("secret")
    webhook_id = body["webhook_id"]

    shown = await api.call("GET", f"{HOOKS}/{webhook_id}")
    listed = await api.call("GET", HOOKS)

    assert answer.headers["location"] == f"/api/v1{HOOKS}/{webhook_id}"
    assert Verifier(secret)
    assert (body["enabled"], body["created_by"], body["saved_by"]) == (True, OWNER, OWNER)
    assert shown.body == body
    assert listed.body == {"webhooks": [body], "has_more": False, "next_cursor": None}
    assert secret not in str(shown.body) + str(listed.body) + api.log.getvalue()


async def test_a_secret_may_be_brought_along(api: Api) -> None:
    assert (await made(api, secret=SECRET))["secret"] == SECRET


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"url": "ftp://example.org"}, "/url", "https://example.org/hook"),
        ({"url": "https://"}, "/url", "https://example.org/hook"),
        ({"url": "https://user:pass@example.org/"}, "/url", "user or a password"),
        ({"url": "https://example.org/#x"}, "/url", "fragment"),
        ({"url": "https://exa mple.org/"}, "/url", "spaces"),
        ({"url": "https://example.org:99999/"}, "/url", "malformed"),
        ({"url": "https://example.org/" + "x" * 2048}, "/url", "2048"),
        ({"url": "http://169.254.169.254/latest"}, "/url", "public address"),
        ({"url": "http://10.1.2.3/"}, "/url", "public address"),
        ({"url": 7}, "/url", "must be a string"),
        ({"events": []}, "/events", "at least 1"),
        ({"events": ["execution.done"]}, "/events/0", "execution.completed"),
        ({"events": "execution.failed"}, "/events", "must be an array"),
        ({"secret": "hunter2"}, "/secret", "24 to 64 bytes"),
        ({"workflow_id": "no-uuid"}, "/workflow_id", "must be a UUID"),
        ({"community_id": "1"}, "/community_id", "must be an integer"),
        ({"event": ["execution.failed"]}, "/event", "unknown field"),
    ],
)
async def test_g10_what_is_wrong_is_named(
    api: Api, changes: dict[str, Any], path: str, words: str
) -> None:
    answer = await api.call("POST", HOOKS, a_body(**changes))

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    [problem] = answer.body["details"]
    assert problem["path"] == path
    assert words in problem["message"]


async def test_changes_replace_what_they_name(api: Api) -> None:
    webhook = await made(api)
    url = f"{HOOKS}/{webhook['id']}"

    changed = await api.call("PUT", url, {"events": ["execution.failed", "execution.completed"]})
    off = await api.call("PUT", url, {"enabled": False})
    on = await api.call("PUT", url, {"enabled": True})
    moved = await api.call("PUT", url, {"community_id": OTHER})

    assert changed.body["events"] == ["execution.completed", "execution.failed"]
    assert changed.body["url"] == URL
    assert (off.body["enabled"], off.body["disabled_at"] is None) == (False, False)
    assert off.body["disabled_reason"] == f"User {OWNER} disabled it."
    assert (on.body["enabled"], on.body["disabled_reason"], on.body["disabled_at"]) == (
        True,
        None,
        None,
    )
    assert (moved.status, moved.body["details"][0]["path"]) == (400, "/community_id")


async def test_a_secret_is_rotated_with_an_overlap(api: Api) -> None:
    webhook = await made(api)
    url = f"{HOOKS}/{webhook['id']}"

    rotated = await api.call("POST", f"{url}/rotate-secret", {"overlap_seconds": 3600})
    shown = await api.call("GET", url)
    at_once = await api.call("POST", f"{url}/rotate-secret", {"overlap_seconds": 0})
    too_long = await api.call("POST", f"{url}/rotate-secret", {"overlap_seconds": 700_000})

    assert rotated.status == 200
    assert rotated.body["secret"] != webhook["secret"]
    assert rotated.body["old_secret_until"] is not None
    assert "secret" not in shown.body
    assert at_once.body["old_secret_until"] is None
    assert (too_long.status, too_long.body["details"][0]["path"]) == (400, "/overlap_seconds")


async def test_a_deleted_webhook_is_unknown_and_so_are_its_deliveries(
    api: Api, dal: AsyncDAL
) -> None:
    webhook = await made(api)
    workflow_id = await api.stored()
    await ran(api, workflow_id)
    [row] = await deliveries(dal)

    deleted = await api.call("DELETE", f"{HOOKS}/{webhook['id']}")

    assert (deleted.status, deleted.body) == (200, {"webhook_id": webhook["id"], "deleted": True})
    for method, url, body in CALLS:
        answer = await api.call(method, url.format(webhook["id"]), body)
        assert (answer.status, answer.code) == (404, "WEBHOOK_NOT_FOUND")
    replay = f"/workflow-management/deliveries/{row['delivery_id']}/replay"
    assert (await api.call("POST", replay)).code == "DELIVERY_NOT_FOUND"


async def test_a_community_has_a_hundred_webhooks_at_most(api: Api, dal: AsyncDAL) -> None:
    await dal.execute(
        "INSERT INTO webhooks (webhook_id, community_id, url, events, secret, created_by, seen_by,"
        " sees_all) SELECT gen_random_uuid(), $1, 'x', '{}', 's', 1, 1, true"
        " FROM generate_series(1, 100)",
        COMMUNITY,
    )
    answer = await api.call("POST", HOOKS, a_body())

    assert (answer.status, answer.code) == (409, "TOO_MANY_WEBHOOKS")


async def test_lists_go_on_by_cursor(api: Api) -> None:
    ids = [(await made(api))["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = await api.call("GET", f"{HOOKS}?limit=2{cursor}")
        seen += [one["id"] for one in page.body["webhooks"]]
        cursor = f"&cursor={page.body['next_cursor']}"

    foreign = await api.call("GET", f"{HOOKS}?limit=2&community_id=9{cursor}")
    assert seen == ids[::-1]
    assert page.body["has_more"] is False
    assert (foreign.status, foreign.code) == (400, "INVALID_CURSOR")


# Deliveries


async def test_g10_an_execution_is_posted_shown_and_replayed_with_the_same_id(
    api: Api, dal: AsyncDAL
) -> None:
    async with receiver(answers(500), answers(200)) as peer:
        webhook = await made(api, url=peer.url)
        execution_id = await ran(api, await api.stored())
        await peer.got(1)
        url = f"{HOOKS}/{webhook['id']}/deliveries"
        [delivery] = (await api.call("GET", url)).body["deliveries"]
        replay = f"{url}/{delivery['id']}/replay"
        too_early = await api.call("POST", replay)
        await dal.execute(GIVEN_UP)
        replayed = await api.call("POST", replay)
        first, second = await peer.got(2)
        await are(dal, "delivered")
        none = await api.call("GET", f"{url}?status=failed")
        [delivered] = (await api.call("GET", f"{url}?status=delivered")).body["deliveries"]

    assert (delivery["event"], delivery["status"]) == ("execution.completed", "pending")
    assert delivery["execution_id"] == execution_id
    assert delivery["payload"] == first.json() == second.json()
    assert first.delivery_id == second.delivery_id == delivery["id"] == delivered["id"]
    assert Verifier(webhook["secret"]).verify(second.body, second.headers)
    assert none.body == {"deliveries": [], "has_more": False, "next_cursor": None}
    assert (too_early.status, too_early.code) == (409, "DELIVERY_PENDING")
    assert (replayed.status, replayed.body["id"]) == (202, delivery["id"])
    assert (replayed.body["status"], replayed.body["attempts"]) == ("pending", 0)
    assert (delivered["response_status"], delivered["next_attempt_at"]) == (200, None)


async def test_a_disabled_webhook_replays_nothing(api: Api, dal: AsyncDAL) -> None:
    webhook = await made(api)
    workflow_id = await api.stored()
    await ran(api, workflow_id)
    await api.call("PUT", f"{HOOKS}/{webhook['id']}", {"enabled": False})
    [row] = await deliveries(dal)

    answer = await api.call("POST", f"/workflow-management/deliveries/{row['delivery_id']}/replay")

    assert (answer.status, answer.code) == (409, "WEBHOOK_DISABLED")


# Whose it is


@pytest.mark.parametrize(("method", "url", "body"), CALLS)
async def test_g14_another_communitys_webhook_is_like_an_unknown_one(
    api: Api, method: str, url: str, body: Any
) -> None:
    webhook = await made(api)
    stranger = await api.new_key(STRANGER, OTHER)
    seen = [
        await api.call(method, url.format(name), body, key=stranger)
        for name in (webhook["id"], new_id(), "no-uuid")
    ]

    assert [answer.status for answer in seen] == [404] * 3
    assert seen[0].code == "WEBHOOK_NOT_FOUND"
    assert seen[0].body == seen[1].body == seen[2].body


async def test_g14_another_communitys_delivery_is_like_an_unknown_one(
    api: Api, dal: AsyncDAL
) -> None:
    await made(api)
    workflow_id = await api.stored()
    await ran(api, workflow_id)
    [row] = await deliveries(dal)
    stranger = await api.new_key(STRANGER, OTHER)
    seen = [
        await api.call("POST", f"/workflow-management/deliveries/{name}/replay", key=stranger)
        for name in (row["delivery_id"], new_id(), "no-uuid")
    ]

    assert [answer.status for answer in seen] == [404] * 3
    assert seen[0].body == seen[1].body == seen[2].body


@pytest.mark.parametrize(("method", "url", "body"), CALLS)
async def test_in_your_community_but_not_yours_is_403(
    api: Api, method: str, url: str, body: Any
) -> None:
    webhook = await made(api)
    answer = await api.call(
        method, url.format(webhook["id"]), body, key=await api.new_key(STRANGER)
    )

    assert (answer.status, answer.code) == (403, "PERMISSION_DENIED")


async def test_g14_a_list_shows_what_is_yours_and_nothing_of_others(
    api: Api, dal: AsyncDAL
) -> None:
    workflow_id = await api.stored()
    mine = (await made(api))["id"]
    of_workflow = (await made(api, workflow_id=workflow_id))["id"]
    await grant(dal, workflow_id, "user", STRANGER, "can_view", "can_edit")
    unbound = await api.new_key(STRANGER, None)
    keys = {
        "owner": api.key,
        "editor": await api.new_key(STRANGER),
        "stranger": await api.new_key(STRANGER, OTHER),
        "admin": await api.new_key(STRANGER, COMMUNITY, [ADMIN]),
    }
    seen = {
        name: [one["id"] for one in (await api.call("GET", HOOKS, key=key)).body["webhooks"]]
        for name, key in keys.items()
    }
    by_name = await api.call("GET", f"{HOOKS}?community_id={COMMUNITY}", key=unbound)
    elsewhere = await api.call("GET", f"{HOOKS}?community_id={OTHER}", key=unbound)

    assert seen == {
        "owner": [of_workflow, mine],
        "editor": [of_workflow],
        "stranger": [],
        "admin": [of_workflow, mine],
    }
    assert [one["id"] for one in by_name.body["webhooks"]] == [of_workflow]
    assert elsewhere.body["webhooks"] == []


@pytest.mark.parametrize(
    ("flags", "status"),
    [((), 403), (("can_view",), 403), (("can_edit",), 403), (("can_view", "can_edit"), 201)],
)
async def test_a_workflows_webhook_takes_seeing_and_editing_it(
    api: Api, dal: AsyncDAL, flags: tuple[str, ...], status: int
) -> None:
    workflow_id = await api.stored()
    await join(dal, STRANGER, COMMUNITY)
    if flags:
        await grant(dal, workflow_id, "user", STRANGER, *flags)
    answer = await api.call(
        "POST", HOOKS, a_body(workflow_id=workflow_id), key=await api.new_key(STRANGER)
    )

    assert answer.status == status, answer.body


async def test_g14_a_webhook_on_another_communitys_workflow_is_refused_as_on_an_unknown_one(
    api: Api,
) -> None:
    workflow_id = await api.stored()
    stranger = await api.new_key(STRANGER, OTHER)
    seen = [
        await api.call(
            "POST", HOOKS, a_body(workflow_id=name, community_id=community), key=stranger
        )
        for name in (workflow_id, new_id())
        for community in (COMMUNITY, OTHER)
    ]

    assert {answer.status for answer in seen} == {404}
    assert all(answer.body == seen[0].body for answer in seen)


async def test_a_communitys_webhook_takes_belonging_to_it(api: Api) -> None:
    stranger = await api.new_key(STRANGER, OTHER)

    assert (await api.call("POST", HOOKS, a_body(), key=stranger)).status == 403


@pytest.mark.parametrize(
    ("scopes", "missing"),
    [(["workflows:write"], "executions:read"), (["executions:read"], "workflows:write")],
)
async def test_making_one_takes_both_scopes(api: Api, scopes: list[str], missing: str) -> None:
    key = await api.new_key(OWNER, COMMUNITY, scopes)
    answer = await api.call("POST", HOOKS, a_body(), key=key)

    assert (answer.status, answer.body["details"]) == (403, {"scope": missing})


async def test_whoever_saves_it_lends_it_their_eyes(api: Api, dal: AsyncDAL) -> None:
    """Or an editor could have it post elsewhere what only its maker may see."""
    workflow_id = await api.stored()
    webhook = await made(api, workflow_id=workflow_id)
    await grant(dal, workflow_id, "user", STRANGER, "can_view", "can_edit")
    editor = await api.new_key(STRANGER)

    changed = await api.call(
        "PUT", f"{HOOKS}/{webhook['id']}", {"url": "https://example.com/"}, key=editor
    )
    await dal.execute("DELETE FROM workflow_permissions")
    await ran(api, workflow_id)

    assert (changed.body["created_by"], changed.body["saved_by"]) == (OWNER, STRANGER)
    assert await deliveries(dal) == []
