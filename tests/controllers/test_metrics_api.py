"""Metrics over HTTP: what is counted, for whom, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controllers.metrics_api import Metrics
from models.dal import AsyncDAL
from tests.controllers.conftest import COMMUNITY, OWNER, Api, greeting

FAILING = {
    "start": {"node_type": "trigger_command", "config": {"command": "!boom"}},
    "boom": {"node_type": "data_transform", "config": {"transformations": {"x": "1 / 0"}}},
}
NO_DURATION = dict.fromkeys(f"{name}_duration" for name in ("p50", "p95", "p99", "mean"))


async def ran(api: Api, workflow_id: str, times: int = 1, key: str | None = None) -> str:
    for _ in range(times):
        answer = await api.call(
            "POST",
            f"/workflows/{workflow_id}/execute?wait=20",
            {"community_id": COMMUNITY, "variables": {"username": "Ada"}},
            key=key,
        )
        assert answer.status == 200, answer.body
    return str(answer.data["execution_id"])


async def metrics(api: Api, query: str = "", key: str | None = None) -> Any:
    answer = await api.call("GET", f"/workflow-management/metrics{query}", key=key)
    assert answer.status == 200, answer.body
    return answer.body


async def failing(api: Api) -> str:
    edges = [{"from_node_id": "start", "to_node_id": "boom"}]
    return await api.stored(nodes=FAILING, connections=edges)


async def test_nobody_has_run_anything_yet(api: Api) -> None:
    body = await metrics(api)

    assert Metrics.model_validate(body)
    assert body["bucket"] == "hour"
    assert len(body["buckets"]) == 24
    assert body["totals"] == {
        "executions": 0,
        "by_status": {"completed": 0, "failed": 0, "cancelled": 0},
        "success_rate": None,
        **NO_DURATION,
        "throughput_per_minute": 0.0,
        "total_cost": 0,
        "tokens_used": 0,
        "slowest_nodes": [],
        "most_failing_nodes": [],
    }


@pytest.mark.parametrize("bucket", ["hour", "day"])
async def test_what_ended_is_counted_at_once(api: Api, bucket: str) -> None:
    good, bad = await api.stored(), await failing(api)
    await ran(api, good, 3)
    await ran(api, bad)

    body = await metrics(api, f"?bucket={bucket}")

    assert Metrics.model_validate(body)
    totals = body["totals"]
    assert totals["by_status"] == {"completed": 3, "failed": 1, "cancelled": 0}
    assert totals["success_rate"] == 0.75
    assert totals["throughput_per_minute"] > 0
    assert 0 < totals["p50_duration"] <= totals["p95_duration"] <= totals["p99_duration"]
    (failed,) = totals["most_failing_nodes"]
    assert (failed["workflow_id"], failed["node_id"]) == (bad, "boom")
    assert (failed["runs"], failed["failures"], failed["failure_rate"]) == (1, 1, 1.0)
    slow = {
        (node["workflow_id"], node["node_id"]): node["runs"] for node in totals["slowest_nodes"]
    }
    assert slow == {(good, "start"): 3, (good, "greet"): 3, (bad, "start"): 1, (bad, "boom"): 1}
    busy = [each for each in body["buckets"] if each["executions"]]
    assert sum(each["executions"] for each in busy) == 4
    assert [each["start"] for each in body["buckets"][1:]] == [
        each["end"] for each in body["buckets"][:-1]
    ]
    assert (body["from"], body["to"]) == (body["buckets"][0]["start"], body["buckets"][-1]["end"])


async def test_one_workflow_or_one_community_can_be_asked_for(api: Api) -> None:
    good, bad = await api.stored(), await failing(api)
    await ran(api, good, 2)
    await ran(api, bad)

    assert (await metrics(api, f"?workflow_id={good}"))["totals"]["executions"] == 2
    assert (await metrics(api, f"?community_id={COMMUNITY}"))["totals"]["executions"] == 3
    assert (await metrics(api, "?community_id=9"))["totals"]["executions"] == 0


async def test_the_workflows_one_may_view_are_counted_and_no_other(api: Api, dal: AsyncDAL) -> None:
    seen, hidden = await api.stored(), await api.stored()
    await dal.execute(
        "INSERT INTO workflow_permissions (permission_id, workflow_id, permission_type, target_id,"
        " can_view, granted_by) VALUES (gen_random_uuid(), $1, 'user', '457', true, $2)",
        seen,
        OWNER,
    )
    await dal.execute(
        "INSERT INTO workflow_permissions (permission_id, workflow_id, permission_type, target_id,"
        " can_execute, granted_by) VALUES (gen_random_uuid(), $1, 'user', '457', true, $2)",
        hidden,
        OWNER,
    )
    guest = await api.new_key(user=457)
    await ran(api, seen, 2)
    await ran(api, hidden, 1)
    await ran(api, hidden, 1, key=guest)  # its own, of a workflow that it may not view

    body = await metrics(api, key=guest)
    assert body["totals"]["executions"] == 2
    assert {node["workflow_id"] for node in body["totals"]["slowest_nodes"]} == {seen}
    assert (await metrics(api))["totals"]["executions"] == 4
    path = f"/workflow-management/metrics?workflow_id={hidden}"
    assert (await api.call("GET", path, key=guest)).status == 403
    stranger = await api.new_key(user=457, community=9)
    assert (await metrics(api, key=stranger))["totals"]["executions"] == 0
    for workflow_id in (seen, "0190a000-0000-7000-8000-000000000404"):
        path = f"/workflow-management/metrics?workflow_id={workflow_id}"
        answer = await api.call("GET", path, key=stranger)
        assert (answer.status, answer.code) == (404, "WORKFLOW_NOT_FOUND")


async def test_an_execution_that_was_cancelled_while_it_waited_is_counted(api: Api) -> None:
    nodes = greeting()["nodes"] | {
        "greet": {"node_type": "action_delay", "config": {"delay_seconds": 200}}
    }
    workflow_id = await api.stored(nodes=nodes)
    path = f"/workflows/{workflow_id}/execute"
    started = (await api.call("POST", path, {"community_id": COMMUNITY})).data
    cancel = f"/workflows/executions/{started['execution_id']}/cancel"
    assert (await api.call("POST", cancel)).status == 200

    totals = (await metrics(api))["totals"]

    assert totals["by_status"] == {"completed": 0, "failed": 0, "cancelled": 1}
    assert totals["success_rate"] is None
    assert totals | NO_DURATION == totals


async def test_a_span_is_widened_to_whole_buckets(api: Api) -> None:
    day = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()

    body = await metrics(api, f"?bucket=day&from={day}T05:30:00%2B01:00&to={day}T20:00:00Z")
    assert (body["from"], body["to"]) == (f"{day}T00:00:00.000Z", body["buckets"][0]["end"])
    assert len(body["buckets"]) == 1

    body = await metrics(api, f"?from={day}T04:30:00Z&to={day}T06:30:00Z")
    assert [each["start"][11:13] for each in body["buckets"]] == ["04", "05", "06"]

    body = await metrics(api, f"?from={day}")
    assert body["from"] == f"{day}T00:00:00.000Z"


@pytest.mark.parametrize(
    ("query", "path", "words"),
    [
        ("bucket=week", "/bucket", "'hour' or 'day'"),
        ("form=2026-01-01", "/form", "known: workflow_id, community_id, from, to, bucket"),
        ("start=2026-01-01", "/start", "unknown query parameter"),
        ("from=yesterday", "/from", "such as 2026-11-27T08:00:00Z"),
        ("from=2026-01-01T00:00:00", "/from", "zone"),
        ("from=2026-13-01", "/from", "such as"),
        ("to=0001-01-01", "/to", "from 2000 on"),
        ("to=1700000000", "/to", "such as"),
        ("from=2026-01-02&to=2026-01-01", "/from", "earlier than to"),
        ("from=2026-01-01&to=2026-01-01", "/from", "earlier than to"),
        ("from=2999-01-01", "/from", "earlier than to"),
        ("bucket=day&from=2025-10-24&to=2026-11-29", "/from", "at most 400 days"),
        ("bucket=day&from=2024-01-01&to=2026-01-01", "/from", "at most 400 days"),
        ("from=2026-01-01&to=2026-02-01", "/from", "at most 7 days; use bucket=day"),
        ("from=2020-01-01&to=2020-01-02", "/from", "use bucket=day"),
        ("workflow_id=7", "/workflow_id", "must be a UUID"),
        ("community_id=-1", "/community_id", "greater than or equal to 0"),
        ("bucket=day&bucket=hour", "/bucket", "more than once"),
    ],
)
async def test_what_is_wrong_is_named(api: Api, query: str, path: str, words: str) -> None:
    answer = await api.call("GET", f"/workflow-management/metrics?{query}")

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    (problem,) = answer.body["details"]
    assert problem["path"] == path
    assert words in problem["message"]
