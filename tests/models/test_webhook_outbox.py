"""The outbox: whatever ends an execution fills it, for those who may see it; claims are fair."""

from __future__ import annotations

import itertools
import re
from datetime import datetime
from typing import Any

import orjson
import pytest

from engine.context import ExecutionStatus
from engine.moments import rfc3339
from engine.progress import how_far
from engine.records import Batch
from models import outbox as sql
from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore
from models.outbox import NOBODY, Outbox, Room, Trial
from models.permissions import Permissions
from models.retention import History
from models.webhooks import NewWebhook, Webhooks
from models.workflows import Workflows
from services.caller import EVERYDAY_SCOPES, Caller
from services.clock import new_id
from services.execution_lists import item
from services.permission_service import PermissionService
from tests.models.aged import aged
from tests.plans import MODES, explained, vacuumed
from tests.store_contract import FIRST, SECOND, a_context, created, progress_of
from tests.webhook_rows import SetClock, a_webhook, deliveries, statuses

TELLER = 2
"""The user who starts the executions of `aged`."""
VIEWER = 7


@pytest.fixture
async def store(dal: AsyncDAL) -> Any:
    made = PostgresExecutionStore(dal)
    await made.register(FIRST, "first", 60)
    yield made
    await made.close()


async def events(dal: AsyncDAL) -> list[str]:
    return sorted(row["event"] for row in await deliveries(dal))


# Whatever ends an execution


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_g10_a_flush_that_ends_an_execution_writes_what_is_told_of_it(
    dal: AsyncDAL, store: PostgresExecutionStore, status: str
) -> None:
    webhook = await a_webhook(dal, sees_all=True)
    long, short = a_context(), a_context()
    await store.flush(FIRST, created((long, progress_of(long))))
    end = {"end_time": long.created_at, "error_message": "why"}
    batch = created((short, progress_of(short, ExecutionStatus(status), **end)))
    batch.updates[long.execution_id] = progress_of(long, ExecutionStatus(status), **end)
    await store.flush(FIRST, batch)

    rows = await deliveries(dal, webhook)
    assert [row["event"] for row in rows] == [f"execution.{status}"] * 2
    assert {row["execution_id"] for row in rows} == {long.execution_id, short.execution_id}
    payload = orjson.loads(rows[0]["payload"])
    assert payload["type"] == f"execution.{status}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", payload["timestamp"])
    assert payload["data"]["status"] == status
    assert payload["data"]["duration"] >= 0
    assert payload["data"]["error"] == "why"


async def test_g10_flushing_an_end_again_tells_it_once(
    dal: AsyncDAL, store: PostgresExecutionStore
) -> None:
    await a_webhook(dal, sees_all=True)
    context = a_context()
    await store.flush(FIRST, created((context, progress_of(context))))
    done = progress_of(context, ExecutionStatus.COMPLETED, end_time=context.created_at)
    for _ in range(2):
        await store.flush(FIRST, Batch(updates={context.execution_id: done}))

    assert await events(dal) == ["execution.completed"]


async def test_g10_cancelling_what_nobody_holds_is_told_and_so_are_its_children(
    dal: AsyncDAL, store: PostgresExecutionStore
) -> None:
    await a_webhook(dal, sees_all=True)
    parent = a_context()
    child = a_context(parent_execution_id=parent.execution_id, parent_step_key="sub")
    waiting = ExecutionStatus.WAITING
    await store.flush(FIRST, created((parent, progress_of(parent, waiting))))
    await store.flush(FIRST, created((child, progress_of(child, waiting))))
    await store.request_cancel(parent.execution_id)

    rows = await deliveries(dal)
    assert {row["execution_id"] for row in rows} == {parent.execution_id, child.execution_id}
    assert await events(dal) == ["execution.cancelled"] * 2


async def test_g10_the_verdict_on_a_poisoned_execution_is_told(
    dal: AsyncDAL, store: PostgresExecutionStore
) -> None:
    await a_webhook(dal, sees_all=True)
    context = a_context()
    await store.flush(FIRST, created((context, progress_of(context))))
    other = PostgresExecutionStore(dal)
    await other.register(SECOND, "second", 60)
    await dal.execute(
        "UPDATE engine_workers SET lease_until = now() - interval '1 hour' WHERE worker_id = $1",
        FIRST,
    )
    await other.reap(SECOND, 0)
    await other.close()

    [row] = await deliveries(dal)
    assert orjson.loads(row["payload"])["data"]["error_code"] == "WORKER_LOST"


async def test_g10_what_is_rolled_back_is_not_told(dal: AsyncDAL) -> None:
    await a_webhook(dal, sees_all=True)
    [execution_id] = await aged(dal, status="waiting")

    async def end_and_fail() -> None:
        async with dal.transaction() as tx:
            await tx.execute(
                "UPDATE workflow_executions SET status = 'completed', end_time = now()"
                " WHERE execution_id = $1",
                execution_id,
            )
            assert await tx.fetchval("SELECT count(*) FROM webhook_deliveries") == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await end_and_fail()
    assert await deliveries(dal) == []


# Who is told


async def test_only_a_webhook_of_this_community_workflow_and_event_is_told(dal: AsyncDAL) -> None:
    mine, other = new_id(), new_id()
    told = [
        await a_webhook(dal, sees_all=True),
        await a_webhook(dal, sees_all=True, workflow_id=mine),
        await a_webhook(dal, sees_all=True, events=("execution.failed",)),
    ]
    await a_webhook(dal, sees_all=True, community_id=2)
    await a_webhook(dal, sees_all=True, workflow_id=other)
    await a_webhook(dal, sees_all=True, events=("execution.completed", "execution.cancelled"))
    off = await a_webhook(dal, sees_all=True)
    new = NewWebhook(off.url, off.events, None, off.seen_by, off.sees_all)
    await Webhooks(dal).update(off.webhook_id, new, enabled=False, why_not="it was disabled")
    await aged(dal, workflow_id=mine, status="failed")

    rows = await deliveries(dal)
    assert {row["webhook_id"] for row in rows} == {one.webhook_id for one in told}


WAYS = ("owner", "user grant", "role grant", "role", "community grant", "member", "starter")


@pytest.mark.parametrize("has", list(itertools.product([False, True], repeat=len(WAYS))))
async def test_g14_a_webhook_is_told_just_what_the_permission_service_would_show(
    dal: AsyncDAL, has: tuple[bool, ...]
) -> None:
    way = dict(zip(WAYS, has, strict=True))
    workflow_id = new_id()
    await dal.execute(
        "INSERT INTO workflows (workflow_id, community_id, name, document, created_by)"
        " VALUES ($1, 1, 'w', '{}', $2)",
        workflow_id,
        VIEWER if way["owner"] else 99,
    )
    for kind, target in (("user", str(VIEWER)), ("role", "mod"), ("community", "1")):
        await dal.execute(
            "INSERT INTO workflow_permissions (permission_id, workflow_id, permission_type,"
            " target_id, can_view, can_edit, granted_by) VALUES ($1, $2, $3, $4, $5, true, 1)",
            new_id(),
            workflow_id,
            kind,
            target,
            way[f"{kind} grant"],
        )
    for role in ["mod"] * way["role"] + ["member"] * way["member"]:
        await dal.execute("INSERT INTO community_members VALUES (1, $1, $2)", VIEWER, role)
    await a_webhook(dal, seen_by=VIEWER)
    await aged(dal, workflow_id=workflow_id)
    if way["starter"]:
        await dal.execute("UPDATE webhooks SET seen_by = $1", TELLER)
        await aged(dal, workflow_id=workflow_id)

    permissions = PermissionService(Permissions(dal), Workflows(dal))
    viewer = Caller(VIEWER, None, EVERYDAY_SCOPES)
    access = await permissions.access(viewer, workflow_id)
    assert access is not None
    expected = int(access.may("view")) + int(way["starter"])
    assert len(await deliveries(dal)) == expected


# What is told


async def test_a_payload_is_small_whatever_the_execution_was(dal: AsyncDAL) -> None:
    await a_webhook(dal, sees_all=True)
    [execution_id] = await aged(dal, status="waiting")
    huge = '"\u0001\u2603\\' * 400_000
    await dal.execute(
        "UPDATE workflow_executions SET status = 'failed', end_time = now(), error_message = $2,"
        " error_code = $2, error_node_id = $2, workflow_name = $2, execution_name = $2,"
        " session_id = $2, triggered_by = $2, trigger_source = $2, total_cost = 'NaN',"
        " execution_time_seconds = 'Infinity', final_output = to_json($2::text)"
        " WHERE execution_id = $1",
        execution_id,
        huge,
    )

    [row] = await deliveries(dal)
    assert len(row["payload"].encode()) < 32_768
    assert orjson.loads(row["payload"])["data"]["error"] == huge[:1000]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_what_is_told_is_the_item_of_the_lists(dal: AsyncDAL, status: str) -> None:
    await a_webhook(dal, sees_all=True)
    [execution_id] = await aged(dal, status="waiting")
    await dal.execute(
        "UPDATE workflow_executions SET status = $2, end_time = now(), total_steps = 3,"
        " current_step = 1, error_message = 'no', execution_time_seconds = 2.5"
        " WHERE execution_id = $1",
        execution_id,
        status,
    )
    row = await dal.fetchrow("SELECT * FROM workflow_executions")
    assert row is not None
    shown = {
        name: rfc3339(value) if isinstance(value, datetime) else value
        for name, value in item(row).items()
    }

    [delivery] = await deliveries(dal)
    told = orjson.loads(delivery["payload"])["data"]
    assert {name: told.get(name) for name in shown} == shown


async def test_a_payload_rounds_how_far_an_execution_came_as_lists_do(dal: AsyncDAL) -> None:
    await aged(dal, status="waiting")
    rows = await dal.fetch(
        "SELECT settled, total, execution_payload(jsonb_populate_record(e, jsonb_build_object("
        "'current_step', settled, 'total_steps', total)))::json #> '{data,progress}' AS told"
        " FROM workflow_executions e, generate_series(0, 100) total,"
        " generate_series(0, total) settled"
    )

    assert len(rows) == 101 * 102 / 2
    for settled, total, told in rows:
        assert told == how_far("waiting", settled, total)
    assert how_far("waiting", 1, 16)["percentage"] == 6.3


async def test_the_ids_of_deliveries_are_uuids_of_version_7_in_the_order_of_time(
    dal: AsyncDAL,
) -> None:
    ids = [await dal.fetchval("SELECT uuid_by_time()") for _ in range(20)]
    moments = [int(each.replace("-", "")[:12], 16) for each in ids]

    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab].*", each) for each in ids)
    assert moments == sorted(moments)
    now = await dal.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8 * 1000")
    assert 0 <= now - moments[-1] < 60_000


# Claims


async def test_a_claim_takes_of_each_webhook_what_it_may_have_and_goes_on_behind(
    dal: AsyncDAL,
) -> None:
    outbox = Outbox(dal, lease_seconds=60, now=await SetClock.ahead_of(dal))
    ids = sorted([(await a_webhook(dal, sees_all=True)).webhook_id for _ in range(3)])
    await aged(dal, count=10)

    first = await outbox.claim(Room(free=5, each=3, busy={ids[0]: 1}))
    second = await outbox.claim(Room(free=5, each=3, busy={}, after=first.onward))
    third = await outbox.claim(Room(free=5, each=3, busy={}, after=second.onward))

    assert [one.webhook_id for one in first.claimed] == [ids[0]] * 2 + [ids[1]] * 3
    assert first.onward == ids[1]
    assert [one.webhook_id for one in second.claimed] == [ids[2]] * 3
    assert second.onward == NOBODY
    assert [one.webhook_id for one in third.claimed] == [ids[0]] * 3 + [ids[1]] * 2
    all_claimed = [one.delivery_id for one in first.claimed + second.claimed + third.claimed]
    assert len(set(all_claimed)) == 13


async def test_a_lease_that_ended_lets_another_try_and_the_late_one_records_nothing(
    dal: AsyncDAL,
) -> None:
    clock = await SetClock.ahead_of(dal)
    outbox = Outbox(dal, lease_seconds=60, now=clock)
    room = Room(free=5, each=5, busy={})
    await a_webhook(dal, sees_all=True)
    await aged(dal)

    [late] = (await outbox.claim(room)).claimed
    clock.pass_by(59)
    assert (await outbox.claim(room)).claimed == []
    clock.pass_by(2)
    [again] = (await outbox.claim(room)).claimed
    await outbox.delivered(late, Trial(error=None, response_status=200))
    assert await statuses(dal) == ["pending"]
    await outbox.failed(again, Trial(error="no"))

    assert (late.delivery_id, late.attempt) == (again.delivery_id, 1)
    assert again.attempt == 2
    assert await statuses(dal) == ["failed"]


async def test_a_try_from_before_a_replay_records_nothing(dal: AsyncDAL) -> None:
    outbox = Outbox(dal, lease_seconds=60, now=await SetClock.ahead_of(dal))
    room = Room(free=1, each=1, busy={})
    await a_webhook(dal, sees_all=True)
    await aged(dal)
    [late] = (await outbox.claim(room)).claimed
    await dal.execute(
        "UPDATE webhook_deliveries SET status = 'failed', due_at = NULL, settled_at = now()"
    )
    await Webhooks(dal).replay(late.delivery_id)
    [again] = (await outbox.claim(room)).claimed

    await outbox.delivered(late, Trial(error=None, response_status=200))
    assert again.attempt == late.attempt == 1
    assert await statuses(dal) == ["pending"]


async def test_a_webhook_that_nothing_reached_for_a_day_is_disabled_and_a_success_forgives(
    dal: AsyncDAL,
) -> None:
    clock = await SetClock.ahead_of(dal)
    outbox = Outbox(dal, lease_seconds=60, now=clock)
    room = Room(free=1, each=1, busy={})
    webhook = await a_webhook(dal, sees_all=True)
    await aged(dal, count=5)
    later = Trial(error="no", retry_seconds=200_000)

    async def fail_one() -> Any:
        [one] = (await outbox.claim(room)).claimed
        return await outbox.failed(one, later)

    assert await fail_one() is None
    clock.pass_by(50_000)
    [one] = (await outbox.claim(room)).claimed
    await outbox.delivered(one, Trial(error=None, response_status=200))
    clock.pass_by(50_000)
    assert await fail_one() is None
    clock.pass_by(86_000)
    assert await fail_one() is None
    clock.pass_by(500)
    disabled = await fail_one()

    assert disabled is not None
    assert (disabled.webhook_id, disabled.reason) == (
        webhook.webhook_id,
        "Nothing was delivered for a day.",
    )


async def test_no_claim_reads_more_than_it_may_take(dal: AsyncDAL) -> None:
    await dal.execute(
        "INSERT INTO webhook_deliveries (delivery_id, webhook_id, event, payload, due_at)"
        " SELECT gen_random_uuid(), ('0190d000-0000-7000-8000-' || lpad((i % 50)::text, 12, '0'))"
        "::uuid, 'execution.failed', '{}', now() + make_interval(secs => i - 40000)"
        " FROM generate_series(1, 50000) i"
    )
    await dal.execute(
        "INSERT INTO webhooks (webhook_id, community_id, url, events, secret, created_by, seen_by,"
        " sees_all) SELECT gen_random_uuid(), i, 'x', '{}', 's', 1, 1, true"
        " FROM generate_series(1, 20000) i"
    )
    await vacuumed(dal, "webhook_deliveries", "webhooks")
    one = "0190d000-0000-7000-8000-000000000001"
    statements: dict[str, tuple[str, tuple[Any, ...]]] = {
        "CLAIM": (sql.CLAIM, (None, NOBODY, 200, [one], [1], 4, 32, 60.0)),
        "DELIVERED": (sql.DELIVERED, (None, one, 1, 200, "x", 0.1)),
        "FAILED": (sql.FAILED, (None, one, 1, 500, "x", 0.1, "no", 5.0, False, 86_400)),
        "the probe of an end": (
            "SELECT EXISTS (SELECT 1 FROM webhooks WHERE community_id = $1 AND enabled),"
            " EXISTS (SELECT 1 FROM alerts WHERE community_id = $1 AND enabled)",
            (30_000,),
        ),
    }
    for mode in MODES:
        for name, (statement, values) in statements.items():
            async with dal.transaction() as tx:
                plan = "\n".join(await explained(tx, statement, values, mode))
            assert not re.search(r"Seq Scan on webhook", plan), (mode, name, plan)


async def test_deliveries_settled_long_ago_are_dropped_and_the_others_stay(dal: AsyncDAL) -> None:
    await a_webhook(dal, sees_all=True)
    await aged(dal, count=3)
    ids = [row["delivery_id"] for row in await deliveries(dal)]
    for delivery_id, days in zip(ids[:2], (31, 29), strict=True):
        await dal.execute(
            "UPDATE webhook_deliveries SET status = 'failed', due_at = NULL,"
            " settled_at = now() - make_interval(hours => $2::int * 24) WHERE delivery_id = $1",
            delivery_id,
            days,
        )

    assert await History(dal).drop_old_deliveries(30) == 1
    assert [row["delivery_id"] for row in await deliveries(dal)] == ids[1:]
