"""Alerts fire once and recover once, whoever evaluates them, by a clock that the test sets."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import pytest

from models import alert_watch as sql
from models.alert_watch import AlertWatch
from models.alerts import Alert, Alerts, Condition, NewAlert
from models.dal import AsyncDAL
from models.retention import History
from models.webhooks import Webhooks
from services.aaa_log import AaaLog
from services.alert_evaluator import AlertEvaluator
from services.clock import new_id
from tests.models.aged import WORKFLOW, aged, rows
from tests.plans import MODES, explained, vacuumed
from tests.waiting import until
from tests.webhook_rows import SetClock, a_webhook, deliveries

RATE = Condition("failure_rate", 0.5, 300, 4)


@pytest.fixture
async def clock(dal: AsyncDAL) -> SetClock:
    return await SetClock.ahead_of(dal)


def an_evaluator(dal: AsyncDAL, clock: SetClock) -> AlertEvaluator:
    return AlertEvaluator(AaaLog(io.StringIO()), AlertWatch(dal, now=clock), poll_seconds=0.02)


async def an_alert(
    dal: AsyncDAL,
    condition: Condition = RATE,
    *,
    notify: Sequence[str] = (),
    workflow_id: str | None = None,
    seen_by: int = 2,
    sees_all: bool = True,
) -> Alert:
    new = NewAlert(workflow_id, condition, tuple(notify), seen_by, sees_all)
    made = await Alerts(dal).insert(new_id(), 1, new, 50)
    assert made is not None
    # So that what a test has end a moment ago counts.
    await dal.execute("UPDATE alerts SET counting_since = counting_since - interval '1 hour'")
    return made


async def evaluated(dal: AsyncDAL, clock: SetClock, after_seconds: float = 60) -> Alert:
    """The only alert, once everything that is due so much later was evaluated."""
    clock.pass_by(after_seconds)
    evaluator = an_evaluator(dal, clock)
    while await evaluator.evaluate_one():
        pass
    found = await Alerts(dal).get(await dal.fetchval("SELECT alert_id FROM alerts"))
    assert found is not None
    return found


async def history(dal: AsyncDAL) -> list[str]:
    found = await dal.fetch("SELECT event FROM alert_history ORDER BY at, change_id")
    return [row["event"] for row in found]


async def told(dal: AsyncDAL) -> list[Any]:
    return [orjson.loads(row["payload"]) for row in await deliveries(dal)]


async def test_it_fires_once_on_crossing_and_once_on_recovery(
    dal: AsyncDAL, clock: SetClock
) -> None:
    webhook = await a_webhook(dal, events=())
    alert = await an_alert(dal, notify=[webhook.webhook_id])
    calm = await evaluated(dal, clock, 0)
    await aged(dal, count=2)
    await aged(dal, count=2, status="failed")
    fired = await evaluated(dal, clock)
    still = await evaluated(dal, clock)
    recovered = await evaluated(dal, clock, 600)
    quiet = await evaluated(dal, clock)

    assert (calm.state, calm.value, calm.executions) == ("ok", None, 0)
    assert (fired.state, fired.value, fired.executions) == ("firing", 0.5, 4)
    assert fired.state_since == fired.evaluated_at == still.state_since
    assert (recovered.state, recovered.executions) == ("ok", 0)
    assert quiet.state_since == recovered.state_since
    assert await history(dal) == ["fired", "recovered"]
    first, second = await told(dal)
    assert (first["type"], second["type"]) == ("alert.fired", "alert.recovered")
    assert first["data"] == {
        "id": alert.alert_id,
        "alert_id": alert.alert_id,
        "community_id": 1,
        "workflow_id": None,
        "state": "firing",
        "condition": {
            "metric": "failure_rate",
            "threshold": 0.5,
            "window_seconds": 300,
            "min_count": 4,
        },
        "value": 0.5,
        "executions": 4,
    }


async def test_fewer_executions_than_wanted_are_no_reason(dal: AsyncDAL, clock: SetClock) -> None:
    await an_alert(dal)
    await aged(dal, count=3, status="failed")

    assert (await evaluated(dal, clock)).state == "ok"


async def test_cancelled_executions_count_neither_way(dal: AsyncDAL, clock: SetClock) -> None:
    await an_alert(dal)
    await aged(dal, count=20, status="cancelled")
    await aged(dal, count=4, status="failed")

    assert (await evaluated(dal, clock)).value == 1.0


async def test_a_percentile_is_that_of_the_durations(dal: AsyncDAL, clock: SetClock) -> None:
    await an_alert(dal, Condition("duration_p95", 90, 300, 1))
    await aged(dal, count=100)
    await dal.execute(
        "UPDATE alert_samples s SET duration_seconds = n.number FROM (SELECT execution_id,"
        " row_number() OVER () AS number FROM alert_samples) n"
        " WHERE n.execution_id = s.execution_id"
    )
    found = await evaluated(dal, clock)

    assert found.value == pytest.approx(95.05)
    assert found.state == "firing"


async def test_silence_fires_and_a_success_ends_it(dal: AsyncDAL, clock: SetClock) -> None:
    await an_alert(dal, Condition("no_success_for", 300, 300, 0))
    await aged(dal)
    calm = await evaluated(dal, clock, 200)
    await aged(dal, status="failed")
    fired = await evaluated(dal, clock, 200)
    late = await evaluated(dal, clock, 4_000)
    await dal.execute(
        "INSERT INTO alert_samples SELECT alert_id, $1, gen_random_uuid(), false, 1 FROM alerts",
        clock() + timedelta(seconds=30),
    )
    over = await evaluated(dal, clock)

    assert [one.state for one in (calm, fired, late, over)] == ["ok", "firing", "firing", "ok"]
    assert late.value is not None
    assert late.value > 4_300  # since the success that has left the window
    assert await history(dal) == ["fired", "recovered"]


async def test_only_what_it_looks_at_and_may_see_is_counted(dal: AsyncDAL, clock: SetClock) -> None:
    failures = Condition("failures", 1, 300, 0)
    other = new_id()
    everything = await an_alert(dal, failures)
    of_workflow = await an_alert(dal, failures, workflow_id=other)
    of_starter = await an_alert(dal, failures, seen_by=2, sees_all=False)
    of_stranger = await an_alert(dal, failures, seen_by=77, sees_all=False)
    await aged(dal, status="failed", workflow_id=WORKFLOW)
    await evaluated(dal, clock)

    states = {row["alert_id"]: row["state"] for row in await dal.fetch("SELECT * FROM alerts")}
    assert states == {
        everything.alert_id: "firing",
        of_workflow.alert_id: "ok",
        of_starter.alert_id: "firing",
        of_stranger.alert_id: "ok",
    }


async def test_the_named_and_the_subscribed_are_told_and_nobody_else(
    dal: AsyncDAL, clock: SetClock
) -> None:
    both = ("alert.fired", "alert.recovered")
    named = await a_webhook(dal, events=("execution.completed",), seen_by=9)
    admins = await a_webhook(dal, events=both, sees_all=True, seen_by=9)
    await a_webhook(dal, events=both, seen_by=9)
    await a_webhook(dal, events=both, sees_all=True, community_id=2)
    await a_webhook(dal, events=("alert.recovered",), sees_all=True)
    await a_webhook(dal, events=both, sees_all=True, workflow_id=new_id())
    off = await a_webhook(dal, events=both, sees_all=True)
    await dal.execute(
        "UPDATE webhooks SET enabled = false, disabled_at = now(), disabled_reason = 'x'"
        " WHERE webhook_id = $1",
        off.webhook_id,
    )
    await an_alert(dal, Condition("failures", 1, 300, 0), notify=[named.webhook_id, off.webhook_id])
    await aged(dal, status="failed")
    await evaluated(dal, clock)

    hooks = {row["webhook_id"] for row in await deliveries(dal) if row["event"] == "alert.fired"}
    assert hooks == {named.webhook_id, admins.webhook_id}


async def test_changing_what_it_looks_at_begins_anew_and_says_nothing(
    dal: AsyncDAL, clock: SetClock
) -> None:
    alert = await an_alert(dal, Condition("failures", 1, 300, 0))
    await aged(dal, status="failed")
    fired = await evaluated(dal, clock)
    same = NewAlert(None, Condition("failures", 1, 600, 0), (), 2, True)
    kept = await Alerts(dal).update(alert.alert_id, same, enabled=True)
    other = NewAlert(new_id(), Condition("failures", 1, 600, 0), (), 2, True)
    anew = await Alerts(dal).update(alert.alert_id, other, enabled=True)
    after = await evaluated(dal, clock)

    assert kept is not None
    assert anew is not None
    assert [one.state for one in (fired, kept, anew, after)] == ["firing", "firing", "ok", "ok"]
    assert (anew.value, after.value) == (None, 0)
    assert await history(dal) == ["fired"]


async def test_many_evaluators_fire_each_alert_once(dal: AsyncDAL, clock: SetClock) -> None:
    for _ in range(20):
        await an_alert(dal, Condition("failures", 1, 300, 0))
    await aged(dal, status="failed")
    evaluators = [an_evaluator(dal, clock) for _ in range(4)]
    for one in evaluators:
        one.start()

    async def all_fired() -> bool:
        return await rows(dal, "alert_history") >= 20

    await until(all_fired)
    clock.pass_by(30)
    await asyncio.gather(*(one.stop() for one in evaluators))

    assert await history(dal) == ["fired"] * 20


async def test_an_alert_that_cannot_be_evaluated_waits_behind_the_others(
    dal: AsyncDAL, clock: SetClock
) -> None:
    broken = await an_alert(dal, Condition("failures", 1, 300, 0))
    await aged(dal, status="failed")
    well = await an_alert(dal, Condition("failures", 1, 300, 0))
    await aged(dal, status="failed")
    await dal.execute(
        "UPDATE alerts SET due_at = due_at - interval '1 minute' WHERE alert_id = $1",
        broken.alert_id,
    )
    await dal.execute(
        f"ALTER TABLE alert_history ADD CONSTRAINT broken CHECK (alert_id <> '{broken.alert_id}')"
    )
    evaluator = an_evaluator(dal, clock)
    try:
        evaluator.start()

        async def fired() -> bool:
            found = await Alerts(dal).get(well.alert_id)
            return found is not None and found.state == "firing"

        await until(fired)
        await evaluator.stop()
    finally:
        await dal.execute("ALTER TABLE alert_history DROP CONSTRAINT broken")
    clock.pass_by(61)
    assert await history(dal) == ["fired"]
    await evaluated(dal, clock, 0)
    assert await history(dal) == ["fired", "fired"]


async def test_what_left_the_window_is_deleted_and_so_is_what_nobody_looks_at(
    dal: AsyncDAL, clock: SetClock
) -> None:
    alert = await an_alert(dal)
    await aged(dal, count=3)
    await evaluated(dal, clock, 200)
    kept = await rows(dal, "alert_samples")
    await evaluated(dal, clock, 600)
    trimmed = await rows(dal, "alert_samples")
    await aged(dal, count=3)
    spared = await History(dal).drop_old_samples()
    await Alerts(dal).delete(alert.alert_id)
    dropped = await History(dal).drop_old_samples()

    assert (kept, trimmed, spared, dropped) == (3, 0, 0, 3)


async def test_old_changes_are_dropped(dal: AsyncDAL, clock: SetClock) -> None:
    await an_alert(dal, Condition("failures", 1, 300, 0))
    await aged(dal, status="failed")
    await evaluated(dal, clock)
    assert await History(dal).drop_old_changes(30) == 0
    await dal.execute("UPDATE alert_history SET at = now() - interval '31 days'")

    assert await History(dal).drop_old_changes(30) == 1


async def test_an_evaluation_reads_its_window_by_the_index(dal: AsyncDAL) -> None:
    one = "0190d000-0000-7000-8000-000000000001"
    await dal.execute(
        "INSERT INTO alert_samples SELECT ('0190d000-0000-7000-8000-' || lpad((i % 50)::text, 12,"
        " '0'))::uuid, now() - i * interval '1 s', gen_random_uuid(), false, 1"
        " FROM generate_series(1, 50000) i"
    )
    await vacuumed(dal, "alert_samples")
    now = await dal.fetchval("SELECT now()")
    for statement, values in (
        (sql.MEASURE, (one, now, 300, now - timedelta(days=1))),
        (sql.P95, (one, now, 300, now - timedelta(days=1))),
        (sql.TRIM, (one, now, 300, 1000)),
    ):
        for mode in MODES:
            async with dal.transaction() as tx:
                plan = await explained(tx, statement, values, mode)
            assert "Seq Scan" not in "\n".join(plan), (mode, plan)


async def test_webhooks_that_are_gone_are_no_trouble(dal: AsyncDAL, clock: SetClock) -> None:
    webhook = await a_webhook(dal)
    await an_alert(dal, Condition("failures", 1, 300, 0), notify=[webhook.webhook_id])
    await Webhooks(dal).delete(webhook.webhook_id)
    await aged(dal, status="failed")
    fired = await evaluated(dal, clock)

    assert fired.state == "firing"
    assert await deliveries(dal) == []
