"""Notifications arrive, also after the connection that listens was lost."""

from __future__ import annotations

import asyncio

import pytest

from engine.errors import StoreUnavailable
from models import listener
from models.dal import AsyncDAL
from tests.waiting import until

KILL_LISTENERS = (
    "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
    " WHERE application_name = 'workflow_core listen' AND datname = current_database()"
)


async def notify(dal: AsyncDAL, channel: str, payload: str) -> None:
    await dal.execute("SELECT pg_notify($1, $2)", channel, payload)


async def receive(queue: asyncio.Queue[str]) -> str:
    async with asyncio.timeout(10):
        return await queue.get()


async def test_a_payload_reaches_every_callback_of_its_channel(dal: AsyncDAL) -> None:
    first, second, other = asyncio.Queue[str](), asyncio.Queue[str](), asyncio.Queue[str]()
    await dal.listen("steps", first.put_nowait)
    await dal.listen("steps", second.put_nowait)
    await dal.listen("workers", other.put_nowait)
    await notify(dal, "steps", "hello")
    assert [await receive(first), await receive(second)] == ["hello", "hello"]
    assert other.empty()


async def test_listening_resumes_after_the_connection_was_killed(
    dal: AsyncDAL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "RETRY_SECONDS", (0.0,))
    heard = asyncio.Queue[str]()
    await dal.listen("steps", heard.put_nowait)
    assert await dal.fetchval(KILL_LISTENERS) == 1
    await dal.listen("again", heard.put_nowait)

    async def told_again() -> bool:  # the two channels are taken up in any order
        await notify(dal, "steps", "back")
        return not heard.empty()

    await until(told_again)
    assert await receive(heard) == "back"


async def test_listening_without_a_server_is_unavailable_and_can_be_closed() -> None:
    dal = AsyncDAL("postgresql://nobody@127.0.0.1:1/nothing", acquire_timeout=0.2)
    with pytest.raises(StoreUnavailable):
        await dal.listen("steps", lambda payload: None)
    await dal.close()


async def test_nothing_is_heard_after_close(database_url: str, dal: AsyncDAL) -> None:
    heard = asyncio.Queue[str]()
    async with AsyncDAL(database_url) as other:
        await other.listen("steps", heard.put_nowait)
    await notify(dal, "steps", "too late")
    assert await dal.fetchval(KILL_LISTENERS) == 0
    assert heard.empty()
