"""The notifier against receivers on real sockets, with a clock that the test sets."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from standardwebhooks import Webhook as Verifier

from models.dal import AsyncDAL
from models.outbox import Outbox
from models.webhooks import Webhooks
from services.aaa_log import AaaLog
from services.delivery_policy import DELAYS, TRIES
from services.egress import Egress
from services.http_client import AiohttpClient
from services.notifier import Notifier, Pace
from tests.models.aged import aged
from tests.receiver import (
    Act,
    answers,
    closes_early,
    drips,
    hangs,
    receiver,
    resets,
    talks_endlessly,
)
from tests.waiting import until
from tests.webhook_rows import SECRET, SetClock, a_webhook, are, deliveries, statuses, tried

QUICK = Pace(timeout_seconds=0.5, poll_seconds=0.02, retry_seconds=0.05)
PATIENCE_SECONDS = 20.0


@asynccontextmanager
async def notifying(
    dal: AsyncDAL,
    clock: SetClock,
    pace: Pace = QUICK,
    *,
    allow: tuple[str, ...] = ("127.0.0.0/8",),
    stream: io.StringIO | None = None,
) -> AsyncIterator[Notifier]:
    outbox = Outbox(dal, lease_seconds=pace.lease_seconds, now=clock)
    async with AiohttpClient(Egress(allow)) as http:
        lines = AaaLog(stream or io.StringIO())
        made = Notifier(
            lines,
            outbox,
            http,
            now=lambda: datetime.now(UTC),
            chance=lambda: 0.0,
            pace=pace,
        )
        made.start()
        try:
            yield made
        finally:
            await made.stop()


async def nothing_left(dal: AsyncDAL) -> bool:
    return not await deliveries(dal)


@pytest.fixture
async def clock(dal: AsyncDAL) -> SetClock:
    return await SetClock.ahead_of(dal)


async def test_g10_what_ended_is_posted_signed_and_delivered_once(
    dal: AsyncDAL, clock: SetClock
) -> None:
    async with receiver(answers(200, b"thanks")) as peer, notifying(dal, clock):
        webhook = await a_webhook(dal, peer.url)
        [execution_id] = await aged(dal, status="failed")
        [request] = await peer.got(1)
        row = await tried(dal, webhook, 1)

    verified = Verifier(SECRET).verify(request.body, request.headers)
    assert verified["type"] == "execution.failed"
    assert verified["data"]["execution_id"] == execution_id
    assert request.headers["content-type"] == "application/json"
    assert row["delivery_id"] == request.delivery_id
    assert (row["status"], row["response_status"]) == ("delivered", 200)
    assert (row["response_body"], row["error"], row["due_at"]) == ("thanks", None, None)


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (answers(500, b"oops"), "500"),
        (answers(302, Location="/elsewhere"), "redirects are not followed"),
        (hangs, "did not answer within"),
        (resets, "broke off"),
        (closes_early, "broke off|proper HTTP"),
    ],
    ids=["500", "redirect", "hang", "reset", "early close"],
)
async def test_g10_a_bad_receiver_is_tried_again_with_the_same_id(
    dal: AsyncDAL, clock: SetClock, act: Act, error: str
) -> None:
    async with receiver(act, answers(204)) as peer, notifying(dal, clock):
        webhook = await a_webhook(dal, peer.url)
        await aged(dal)
        first = await tried(dal, webhook, 1)
        clock.pass_by(DELAYS[0])
        second = await tried(dal, webhook, 2)

    assert any(each in first["error"] for each in error.split("|"))
    assert first["status"] == "pending"
    assert (first["due_at"] - first["last_attempt_at"]).total_seconds() == DELAYS[0]
    assert second["status"] == "delivered"
    assert [one.path for one in peer.received] == ["/hook", "/hook"]
    assert {one.delivery_id for one in peer.received} == {first["delivery_id"]}


async def test_a_try_waits_for_its_time(dal: AsyncDAL, clock: SetClock) -> None:
    async with receiver(answers(500), answers(200)) as peer, notifying(dal, clock):
        webhook, other = await a_webhook(dal, peer.url), await a_webhook(dal, peer.url + "/b")
        await dal.execute(
            "UPDATE webhooks SET enabled = false, disabled_at = now(),"
            " disabled_reason = 'x' WHERE webhook_id = $1",
            other.webhook_id,
        )
        await aged(dal)
        await tried(dal, webhook, 1)
        clock.pass_by(DELAYS[0] - 1)
        await dal.execute(
            "UPDATE webhooks SET enabled = true, disabled_at = NULL, disabled_reason = NULL"
        )
        await dal.execute(
            "UPDATE webhooks SET events = '{}' WHERE webhook_id = $1", webhook.webhook_id
        )
        await aged(dal)
        await tried(dal, other, 1)  # so the loop has looked since

        assert len(peer.received) == 2
        assert (await deliveries(dal, webhook))[0]["attempts"] == 1


@pytest.mark.parametrize("act", [drips, talks_endlessly], ids=["never ends", "endless"])
async def test_a_status_counts_whatever_becomes_of_the_body(
    dal: AsyncDAL, clock: SetClock, act: Act
) -> None:
    async with receiver(act) as peer, notifying(dal, clock):
        webhook = await a_webhook(dal, peer.url)
        await aged(dal)
        row = await tried(dal, webhook, 1)

    assert row["status"] == "delivered"
    assert len(row["response_body"]) <= 1_000


async def test_retry_after_is_respected(dal: AsyncDAL, clock: SetClock) -> None:
    act = answers(429, Retry_After="120")
    async with receiver(act) as peer, notifying(dal, clock):
        webhook = await a_webhook(dal, peer.url)
        await aged(dal)
        row = await tried(dal, webhook, 1)

    assert (row["due_at"] - row["last_attempt_at"]).total_seconds() == 120


async def test_gone_disables_the_webhook_at_once(dal: AsyncDAL, clock: SetClock) -> None:
    stream = io.StringIO()
    async with receiver(answers(410)) as peer, notifying(dal, clock, stream=stream):
        webhook = await a_webhook(dal, peer.url)
        await aged(dal)
        row = await tried(dal, webhook, 1)
        await aged(dal)

    after = await Webhooks(dal).get(webhook.webhook_id)
    assert after is not None
    assert (after.enabled, after.disabled_at) == (False, clock())
    assert "410" in (after.disabled_reason or "")
    assert (row["status"], row["response_status"]) == ("failed", 410)
    assert len(await deliveries(dal)) == 1
    assert "action=disable_webhook" in stream.getvalue()


async def test_g10_after_ten_tries_it_is_failed_and_the_webhook_disabled_with_a_reason(
    dal: AsyncDAL, clock: SetClock
) -> None:
    async with receiver(answers(503)) as peer, notifying(dal, clock):
        webhook = await a_webhook(dal, peer.url)
        await aged(dal)
        began = clock()
        for number, delay in enumerate(DELAYS, start=1):
            await tried(dal, webhook, number)
            clock.pass_by(delay)
        row = await tried(dal, webhook, TRIES)
        after = await Webhooks(dal).get(webhook.webhook_id)

    assert (row["status"], len(peer.received)) == ("failed", 10)
    assert len({one.delivery_id for one in peer.received}) == 1
    assert 0 <= 86_400 - (clock() - began).total_seconds() < 3_600
    assert after is not None
    assert not after.enabled
    assert after.failing_since == began
    assert after.disabled_at == clock()
    assert "Every try of a delivery failed" in (after.disabled_reason or "")


async def test_g10_a_failed_delivery_can_be_replayed(dal: AsyncDAL, clock: SetClock) -> None:
    async with receiver(answers(410), answers(200)) as peer, notifying(dal, clock):
        webhook = await a_webhook(dal, peer.url)
        await aged(dal)
        failed = await tried(dal, webhook, 1)
        await dal.execute(
            "UPDATE webhooks SET enabled = true, disabled_at = NULL, disabled_reason = NULL"
        )

        again = await Webhooks(dal).replay(failed["delivery_id"])
        assert again is not None
        await peer.got(2)
        await are(dal, "delivered")

    assert peer.received[0].body == peer.received[1].body
    assert peer.received[0].delivery_id == peer.received[1].delivery_id


async def test_both_secrets_sign_while_they_overlap(dal: AsyncDAL, clock: SetClock) -> None:
    fresh = "whsec_" + "ZnJlc2gu" * 6
    async with receiver(answers(200)) as peer:
        webhook = await a_webhook(dal, peer.url)
        await Webhooks(dal).rotate(webhook.webhook_id, fresh, 3600)
        async with notifying(dal, clock):
            await aged(dal)
            [during] = await peer.got(1)
            clock.pass_by(3_601)
            await aged(dal)
            after = (await peer.got(2))[1]

    for secret in (SECRET, fresh):
        Verifier(secret).verify(during.body, during.headers)
    assert len(after.headers["webhook-signature"].split(" ")) == 1
    Verifier(fresh).verify(after.body, after.headers)


async def test_a_receiver_that_hangs_holds_up_no_other(dal: AsyncDAL, clock: SetClock) -> None:
    pace = Pace(most=8, each=2, timeout_seconds=30, poll_seconds=0.02)
    async with receiver(hangs) as stuck, receiver(answers(200)) as well:
        bad = await a_webhook(dal, stuck.url)
        await aged(dal, count=200)
        good = await a_webhook(dal, well.url)
        async with notifying(dal, clock, pace):
            await stuck.got(2)
            await aged(dal, count=20)
            await well.got(20)
            await are(dal, "delivered", good)

    assert len(stuck.received) == stuck.most_under_way == 2
    assert set(await statuses(dal, bad)) == {"pending"}
    assert well.most_under_way <= 2


async def test_several_processes_send_each_try_once(dal: AsyncDAL, clock: SetClock) -> None:
    async with receiver(answers(200)) as peer:
        webhook = await a_webhook(dal, peer.url)
        await aged(dal, count=60)
        async with (
            notifying(dal, clock),
            notifying(dal, clock),
            notifying(dal, clock),
        ):
            await are(dal, "delivered", webhook)

    sent = [one.delivery_id for one in peer.received]
    assert len(sent) == len(set(sent)) == 60
    assert {row["attempts"] for row in await deliveries(dal)} == {1}


async def test_the_egress_guard_of_http_nodes_holds_here_too(
    dal: AsyncDAL, clock: SetClock
) -> None:
    async with receiver(answers(200)) as peer, notifying(dal, clock, allow=()):
        webhook = await a_webhook(dal, peer.url)
        await aged(dal)
        row = await tried(dal, webhook, 1)

    assert peer.received == []
    assert "may not connect" in row["error"]


async def test_what_waits_for_a_disabled_webhook_fails_unsent(
    dal: AsyncDAL, clock: SetClock
) -> None:
    async with receiver(answers(200)) as peer:
        webhook = await a_webhook(dal, peer.url)
        await aged(dal)
        await dal.execute(
            "UPDATE webhooks SET enabled = false, disabled_at = now(), disabled_reason = 'x'"
        )
        async with notifying(dal, clock):
            row = await tried(dal, webhook, 0)

    assert (row["status"], row["error"]) == ("failed", "the webhook is disabled")
    assert peer.received == []


async def test_what_is_given_up_unsent_pretends_no_try(dal: AsyncDAL, clock: SetClock) -> None:
    async with receiver(answers(500)) as peer:
        webhook = await a_webhook(dal, peer.url)
        await aged(dal)
        async with notifying(dal, clock):
            before = await tried(dal, webhook, 1)
        await dal.execute(
            "UPDATE webhooks SET enabled = false, disabled_at = now(), disabled_reason = 'x'"
        )
        clock.moment = before["due_at"] + timedelta(seconds=1)
        async with notifying(dal, clock):
            await are(dal, "failed", webhook)
        [row] = await deliveries(dal)

    assert (row["attempts"], row["error"]) == (1, "the webhook is disabled")
    for name in ("first_attempt_at", "last_attempt_at", "response_status"):
        assert row[name] == before[name]
    assert len(peer.received) == 1


async def test_what_waits_for_a_deleted_webhook_goes_unsent(dal: AsyncDAL, clock: SetClock) -> None:
    async with receiver(answers(200)) as peer:
        webhook = await a_webhook(dal, peer.url)
        await aged(dal, count=3)
        await Webhooks(dal).delete(webhook.webhook_id)
        async with notifying(dal, clock):
            await until(partial(nothing_left, dal))

    assert peer.received == []


async def test_stopping_waits_for_no_receiver_that_hangs(dal: AsyncDAL, clock: SetClock) -> None:
    pace = Pace(timeout_seconds=600, poll_seconds=0.02)
    async with receiver(hangs) as peer:
        webhook = await a_webhook(dal, peer.url)
        await aged(dal)
        async with notifying(dal, clock, pace) as notifier:
            await peer.got(1)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await notifier.stop(0.05)

    assert await statuses(dal, webhook) == ["pending"]
