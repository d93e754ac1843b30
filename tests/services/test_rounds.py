"""The loop of a background service, as far as stopping goes."""

from __future__ import annotations

import asyncio
import io

from services.aaa_log import AaaLog
from services.rounds import Rounds


async def test_what_the_last_round_begins_while_it_is_told_to_stop_is_waited_for() -> None:
    begun: set[asyncio.Task[None]] = set()
    held, done = asyncio.Event(), []

    async def work() -> None:
        await asyncio.sleep(0.05)
        done.append(True)

    async def claiming() -> float:
        await held.wait()
        begun.add(asyncio.create_task(work()))
        return 60.0

    rounds = Rounds(AaaLog(io.StringIO()), "claim", claiming, retry_seconds=60)
    rounds.start()
    await asyncio.sleep(0)
    stopping = asyncio.create_task(rounds.stop(30, begun))
    await asyncio.sleep(0)
    held.set()
    await stopping
    assert done == [True]


async def test_what_does_not_end_in_time_is_cut_off() -> None:
    hanging = asyncio.create_task(asyncio.Event().wait())

    async def idle() -> float:
        return 60.0

    rounds = Rounds(AaaLog(io.StringIO()), "idle", idle, retry_seconds=60)
    rounds.start()
    await rounds.stop(0.01, [hanging])
    assert hanging.cancelled()
