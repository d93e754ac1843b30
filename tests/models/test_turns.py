"""Turns: one waits for another who has the same, and for nobody else."""

from __future__ import annotations

import asyncio

import pytest

from models import turns
from models.dal import AsyncDAL
from models.turns import take_turn
from tests.waiting import until

WAITING = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


async def test_who_asks_for_a_turn_waits_for_its_end(dal: AsyncDAL) -> None:
    told: list[str] = []

    async def second() -> None:
        async with dal.transaction() as tx:
            await take_turn(tx, "webhooks", 1)
            told.append("second")

    async with dal.transaction() as tx:
        await take_turn(tx, "webhooks", 1)
        waiting = asyncio.create_task(second())
        await until(lambda: dal.fetchval(WAITING))
        told.append("first")
    await waiting
    assert told == ["first", "second"]


@pytest.mark.parametrize("other", [("webhooks", 2), ("alerts", 1), ("webhooks", 1, 1)])
async def test_another_turn_is_free(dal: AsyncDAL, other: tuple[str, *tuple[int, ...]]) -> None:
    async with dal.transaction() as tx, dal.transaction() as beside:
        await take_turn(tx, "webhooks", 1)
        async with asyncio.timeout(20):
            await take_turn(beside, *other)


async def test_no_turn_is_a_lane_of_what_ends_or_a_job(dal: AsyncDAL) -> None:
    taken = "SELECT classid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
    async with dal.transaction() as tx:
        for community in range(64):
            await take_turn(tx, "webhooks", community)
        classes = {row["classid"] for row in await tx.fetch(f"{taken} AND pid = pg_backend_pid()")}
    assert not classes & {turns.JOBS, turns.ENDINGS}
