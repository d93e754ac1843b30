"""Alerts by HTTP: made, shown, changed, fired; by whom; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from models.dal import AsyncDAL
from services.clock import new_id
from tests.controllers.conftest import COMMUNITY, OWNER, Api
from tests.controllers.test_tenants import OTHER, STRANGER, grant, join
from tests.controllers.test_webhook_api import made as made_webhook
from tests.receiver import answers, receiver

ALERTS = "/workflow-management/alerts"
CONDITION = {"metric": "failure_rate", "threshold": 0.5, "window_seconds": 300, "min_count": 10}


def a_body(**changes: Any) -> dict[str, Any]:
    return {"community_id": COMMUNITY, "condition": CONDITION, "notify": [], **changes}


async def made(api: Api, **changes: Any) -> dict[str, Any]:
    answer = await api.call("POST", ALERTS, a_body(**changes))
    assert answer.status == 201, answer.body
    return dict(answer.body)


CALLS: list[tuple[str, str, Any]] = [
    ("GET", ALERTS + "/{}", None),
    ("PUT", ALERTS + "/{}", {"enabled": True}),
    ("DELETE", ALERTS + "/{}", None),
    ("GET", ALERTS + "/{}/history", None),
]


async def test_an_alert_is_shown_listed_changed_and_deleted(api: Api) -> None:
    webhook = await made_webhook(api)
    answer = await api.call("POST", ALERTS, a_body(notify=[webhook["id"]]))
    body = answer.body
    url = f"{ALERTS}/{body['alert_id']}"
    shown = await api.call("GET", url)
    listed = await api.call("GET", ALERTS)
    condition = {"metric": "failures", "threshold": 3, "window_seconds": 60}
    changed = await api.call("PUT", url, {"condition": condition, "enabled": False})
    moved = await api.call("PUT", url, {"community_id": OTHER})
    deleted = await api.call("DELETE", url)

    assert answer.status == 201
    assert answer.headers["location"] == f"/api/v1{url}"
    assert (body["state"], body["enabled"], body["notify"]) == ("ok", True, [webhook["id"]])
    assert (body["condition"], body["saved_by"]) == (CONDITION, OWNER)
    fixed = ("id", "condition", "notify", "created_at")
    assert {name: shown.body[name] for name in fixed} == {name: body[name] for name in fixed}
    assert [one["id"] for one in listed.body["alerts"]] == [body["id"]]
    assert (listed.body["has_more"], listed.body["next_cursor"]) == (False, None)
    assert changed.body["condition"] == {**condition, "min_count": 0}
    assert (changed.body["enabled"], changed.body["notify"]) == (False, [webhook["id"]])
    assert (moved.status, moved.body["details"][0]["path"]) == (400, "/community_id")
    assert deleted.body == {"alert_id": body["id"], "deleted": True}
    for method, call, sent in CALLS:
        gone = await api.call(method, call.format(body["id"]), sent)
        assert (gone.status, gone.code) == (404, "ALERT_NOT_FOUND")


async def test_an_alert_fires_by_webhook_and_its_history_says_so(api: Api, dal: AsyncDAL) -> None:
    async with receiver(answers(200)) as peer:
        webhook = await made_webhook(api, url=peer.url)
        condition = {"metric": "failures", "threshold": 1, "window_seconds": 60}
        alert = await made(api, condition=condition, notify=[webhook["id"]])
        workflow_id = await api.stored()
        # Without its variable the message cannot be rendered.
        ran = await api.call(
            "POST", f"/workflows/{workflow_id}/execute?wait=10", {"community_id": COMMUNITY}
        )
        assert ran.data["status"] == "failed", ran.body
        [request] = await peer.got(1)
    history = await api.call("GET", f"{ALERTS}/{alert['id']}/history")
    shown = await api.call("GET", f"{ALERTS}/{alert['id']}")

    verified = Verifier(webhook["secret"]).verify(request.body, request.headers)
    assert (verified["type"], verified["data"]["value"]) == ("alert.fired", 1)
    [change] = history.body["history"]
    assert (change["event"], change["value"], change["executions"]) == ("fired", 1, 1)
    assert change["metric"] == "failures"
    assert (shown.body["state"], shown.body["state_since"]) == ("firing", change["at"])


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"condition": {**CONDITION, "metric": "errors"}}, "/condition/metric", "failure_rate"),
        ({"condition": {**CONDITION, "threshold": 2}}, "/condition/threshold", "at most 1"),
        ({"condition": {**CONDITION, "threshold": "1"}}, "/condition/threshold", "number"),
        ({"condition": {**CONDITION, "window_seconds": 5}}, "/condition/window_seconds", "60"),
        ({"condition": {**CONDITION, "window": 5}}, "/condition/window", "known: metric"),
        ({"condition": {"metric": "failures"}}, "/condition/threshold", "is required"),
        ({"condition": None}, "/condition", "must be an object"),
        ({"notify": ["x"]}, "/notify/0", "must be a UUID"),
        ({"notify": [new_id()]}, "/notify/0", "no webhook of this community"),
        ({"workflow_id": "x"}, "/workflow_id", "must be a UUID"),
        ({"name": "x"}, "/name", "unknown field"),
    ],
)
async def test_what_is_wrong_is_named(
    api: Api, changes: dict[str, Any], path: str, words: str
) -> None:
    answer = await api.call("POST", ALERTS, a_body(**changes))

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    problem = answer.body["details"][0]
    assert problem["path"] == path
    assert words in problem["message"]


async def test_an_alert_whose_webhook_is_gone_can_still_be_changed(api: Api) -> None:
    gone, other = await made_webhook(api), await made_webhook(api)
    alert = await made(api, notify=[gone["id"]])
    await api.call("DELETE", f"/workflow-management/webhooks/{gone['id']}")
    url = f"{ALERTS}/{alert['id']}"
    off = await api.call("PUT", url, {"enabled": False})
    same = await api.call("PUT", url, {"notify": [gone["id"]]})
    more = await api.call("PUT", url, {"notify": [other["id"], gone["id"]]})

    assert (off.status, off.body["enabled"], off.body["notify"]) == (200, False, [gone["id"]])
    assert same.status == 200
    assert (more.status, more.body["details"][0]["path"]) == (400, "/notify/1")


async def test_g14_webhooks_of_others_are_refused_as_unknown_ones(api: Api, dal: AsyncDAL) -> None:
    stranger = await api.new_key(STRANGER, OTHER)
    neighbour = await api.new_key(STRANGER, COMMUNITY)
    body = {"url": "https://example.org/x", "events": ["execution.failed"]}
    elsewhere = await api.call(
        "POST", "/workflow-management/webhooks", {**body, "community_id": OTHER}, key=stranger
    )
    not_mine = await api.call(
        "POST", "/workflow-management/webhooks", {**body, "community_id": COMMUNITY}, key=neighbour
    )
    seen = [
        await api.call("POST", ALERTS, a_body(notify=[name]))
        for name in (elsewhere.body["id"], not_mine.body["id"], new_id())
    ]

    assert [answer.status for answer in seen] == [400] * 3
    assert seen[0].body == seen[1].body == seen[2].body


@pytest.mark.parametrize(("method", "url", "body"), CALLS)
async def test_g14_another_communitys_alert_is_like_an_unknown_one(
    api: Api, method: str, url: str, body: Any
) -> None:
    alert = await made(api)
    stranger = await api.new_key(STRANGER, OTHER)
    seen = [
        await api.call(method, url.format(name), body, key=stranger)
        for name in (alert["id"], new_id(), "no-uuid")
    ]

    assert [answer.status for answer in seen] == [404] * 3
    assert seen[0].code == "ALERT_NOT_FOUND"
    assert seen[0].body == seen[1].body == seen[2].body


@pytest.mark.parametrize(("method", "url", "body"), CALLS)
async def test_in_your_community_but_not_yours_is_403(
    api: Api, method: str, url: str, body: Any
) -> None:
    alert = await made(api)
    answer = await api.call(method, url.format(alert["id"]), body, key=await api.new_key(STRANGER))

    assert (answer.status, answer.code) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("flags", "status"),
    [((), 403), (("can_view",), 403), (("can_edit",), 403), (("can_view", "can_edit"), 201)],
)
async def test_a_workflows_alert_takes_seeing_and_editing_it(
    api: Api, dal: AsyncDAL, flags: tuple[str, ...], status: int
) -> None:
    workflow_id = await api.stored()
    await join(dal, STRANGER, COMMUNITY)
    if flags:
        await grant(dal, workflow_id, "user", STRANGER, *flags)
    answer = await api.call(
        "POST", ALERTS, a_body(workflow_id=workflow_id), key=await api.new_key(STRANGER)
    )

    assert answer.status == status, answer.body


async def test_a_community_has_fifty_alerts_at_most(api: Api, dal: AsyncDAL) -> None:
    await dal.execute(
        "INSERT INTO alerts (alert_id, community_id, metric, threshold, window_seconds, min_count,"
        " notify, created_by, seen_by, sees_all, enabled) SELECT gen_random_uuid(), $1,"
        " 'failures', 1, 60, 0, '{}', 1, 1, true, false FROM generate_series(1, 50)",
        COMMUNITY,
    )
    answer = await api.call("POST", ALERTS, a_body())

    assert (answer.status, answer.code) == (409, "TOO_MANY_ALERTS")
