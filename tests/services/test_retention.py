"""The loop that drops history: what it says, how it stops, and what it does while the database is
away."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from engine.errors import StoreUnavailable
from models.dal import AsyncDAL
from models.retention import Batch, Cleared, History, Place, Policy, Walked
from services.aaa_log import AaaLog
from services.retention import ACTION, Retention
from services.rounds import Rounds
from tests.models.aged import WORKFLOW, aged, left, rows
from tests.waiting import until

DAY = 24
SECONDS = 20
"""How long a test waits for what must come."""


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def retention(history: object, stream: io.StringIO, **settings: float) -> Retention:
    quick = {"round_seconds": 0, "retry_seconds": 0, "pause_seconds": 0, "settle_seconds": 0}
    return Retention(AaaLog(stream), cast(History, history), days=7, **(quick | settings))


BLOCKED = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


async def nothing_left(dal: AsyncDAL) -> bool:
    tables = ("workflow_executions", "dropped_executions")
    return sum([await rows(dal, table) for table in tables]) == 0


async def fewer_than(dal: AsyncDAL, number: int) -> bool:
    return await rows(dal, "workflow_executions") < number


async def has_ended() -> bool:
    return all(task.get_name() != ACTION for task in asyncio.all_tasks())


class Unsteady:
    """A history whose database answers or not, round by round, as it is told to."""

    def __init__(self, *answers: bool) -> None:
        self._answers = list(answers)
        self.over = asyncio.Event()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[bool]:
        if not self._answers:
            self.over.set()
            yield False
            return
        if not self._answers.pop(0):
            raise StoreUnavailable("the database does not answer")
        yield True

    async def policies(self, default_days: int | None) -> AsyncGenerator[Policy, None]:
        yield Policy(WORKFLOW, default_days or 1)

    async def drop(self, policy: Policy, place: Place) -> Walked:
        return Walked(1, None)

    async def clear(self, settle_seconds: float) -> Cleared:
        return Cleared(0, 0, False)

    async def drop_expired_keys(self) -> int:
        return 0

    async def drop_old_deliveries(self, days: int) -> int:
        return 0

    async def drop_old_changes(self, days: int) -> int:
        return 0

    async def drop_old_samples(self) -> int:
        return 0

    async def drop_dead_workers(self) -> int:
        return 0

    async def compact_rollups(self) -> int:
        return 0

    async def drop_old_rollups(self) -> int:
        return 0


async def through(history: Unsteady, stream: io.StringIO) -> list[str]:
    """The results of the lines of a loop that goes through all of a history's answers."""
    loop = retention(history, stream)
    loop.start()
    await asyncio.wait_for(history.over.wait(), SECONDS)
    await loop.stop()
    assert "Traceback" not in stream.getvalue()
    return re.findall(r"action=drop_history result=(\w+)", stream.getvalue())


async def test_an_outage_is_one_line_its_end_another_and_the_loop_goes_on_by_itself(
    stream: io.StringIO,
) -> None:
    history = Unsteady(True, *[False] * 50, True)
    assert await through(history, stream) == ["SUCCESS", "FAILURE", "SUCCESS", "SUCCESS"]
    assert "action=drop_history result=SUCCESS over_after_seconds=" in stream.getvalue()
    assert "failed_tries=50" in stream.getvalue()


async def test_the_next_outage_is_a_line_again(stream: io.StringIO) -> None:
    history = Unsteady(False, False, True, False, False)
    dropped, over = "SUCCESS", "SUCCESS"
    assert await through(history, stream) == ["FAILURE", dropped, over, "FAILURE", over]


async def test_a_mistake_of_ours_is_told_with_its_traceback_and_ends_nothing(
    stream: io.StringIO,
) -> None:
    class Broken(Unsteady):
        async def drop(self, policy: Policy, place: Place) -> Walked:
            raise ZeroDivisionError

    history = Broken(True, True)
    loop = retention(history, stream)
    loop.start()
    await asyncio.wait_for(history.over.wait(), SECONDS)
    await loop.stop()
    assert stream.getvalue().count("error_type=ZeroDivisionError") == 2


async def test_a_round_says_what_it_dropped(dal: AsyncDAL, stream: io.StringIO) -> None:
    await aged(dal, count=5, ended=8 * DAY, steps=3, letters=2)
    await dal.execute(
        "INSERT INTO idempotency_keys (user_id, workflow_id, key, request_hash, execution_id,"
        " created_at) VALUES (1, $1, 'k', '', $1, now() - interval '25 hours')",
        WORKFLOW,
    )
    assert await retention(History(dal), stream).drop_history()
    assert stream.getvalue().count("\n") == 1
    assert " INFO workflow_core_module SYSTEM " in stream.getvalue()
    counts = " executions=5 steps=15 letters=10 idempotency_keys=1\n"
    assert f"action=drop_history result=SUCCESS{counts}" in stream.getvalue()


async def test_a_round_that_dropped_nothing_says_nothing(
    dal: AsyncDAL, stream: io.StringIO
) -> None:
    await aged(dal, ended=1)
    assert await retention(History(dal), stream).drop_history()
    assert stream.getvalue() == ""


async def test_what_is_dropped_is_cleared_away_while_the_round_goes_on(
    dal: AsyncDAL, stream: io.StringIO
) -> None:
    """However much there is to drop, no more than a batch of it waits to be cleared away."""

    class Watched(History):
        waiting = 0

        async def drop(self, policy: Policy, place: Place) -> Walked:
            walked = await super().drop(policy, place)
            self.waiting = max(self.waiting, await rows(dal, "dropped_executions"))
            return walked

    history = Watched(dal, Batch(executions=4, rows=5))
    await aged(dal, count=30, ended=8 * DAY, steps=3)
    await retention(history, stream).drop_history()
    assert history.waiting == 4
    assert [await rows(dal, f"workflow_{t}") for t in ("executions", "steps", "letters")] == [0] * 3


async def test_two_loops_at_once_drop_everything_once(
    dal: AsyncDAL, database_url: str, stream: io.StringIO
) -> None:
    await aged(dal, count=60, ended=8 * DAY, steps=3)
    async with AsyncDAL(database_url, min_size=1, max_size=4) as other:
        loops = [
            retention(History(each, Batch(executions=4, rows=5)), stream) for each in (dal, other)
        ]
        for loop in loops:
            loop.start()
        await until(lambda: nothing_left(dal))
        for loop in loops:
            await loop.stop()
    assert "FAILURE" not in stream.getvalue()
    for what, total in {"executions": 60, "steps": 180, "letters": 60}.items():
        assert sum(map(int, re.findall(rf" {what}=(\d+)", stream.getvalue()))) == total


async def test_it_leaves_the_round_to_the_one_that_is_at_it(
    dal: AsyncDAL, database_url: str, stream: io.StringIO
) -> None:
    await aged(dal, ended=8 * DAY)
    async with AsyncDAL(database_url, min_size=1, max_size=2) as other, History(other).alone():
        assert not await retention(History(dal), stream).drop_history()
    assert len(await left(dal)) == 1


async def test_told_to_stop_it_drops_no_further_batch_and_says_what_it_did(
    dal: AsyncDAL, stream: io.StringIO
) -> None:
    """Its pauses are an hour long: only a loop that heeds the word ends."""
    await aged(dal, count=30, ended=8 * DAY)
    loop = retention(History(dal, Batch(executions=4)), stream, pause_seconds=3600)
    loop.start()
    await until(lambda: fewer_than(dal, 30))
    await asyncio.wait_for(loop.stop(timeout_seconds=3600), SECONDS)
    assert len(await left(dal)) == 26
    assert "result=SUCCESS executions=4" in stream.getvalue()


async def test_a_batch_that_hangs_does_not_keep_the_service_from_stopping(
    dal: AsyncDAL, stream: io.StringIO
) -> None:
    await aged(dal, ended=8 * DAY)
    loop = retention(History(dal), stream)
    async with dal.transaction() as tx:
        await tx.execute("LOCK TABLE workflow_executions")
        loop.start()
        await until(lambda: dal.fetchval(BLOCKED))
        await loop.stop(timeout_seconds=0.01)
    await until(has_ended)
    assert len(await left(dal)) == 1


async def test_each_pause_is_longer_than_the_batch_before_it(
    dal: AsyncDAL, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Unsteady):
        """Its batch takes ten seconds, by the clock of the loop."""

        async def drop(self, policy: Policy, place: Place) -> Walked:
            clock[0] += 10
            return Walked(0, None)

    clock, waited = [0.0], []

    async def pause(self: Rounds, seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock[0])
    monkeypatch.setattr(Rounds, "pause", pause)
    await retention(Slow(True), stream, pause_seconds=0.05).drop_history()
    assert waited[0] == pytest.approx(20.05)
