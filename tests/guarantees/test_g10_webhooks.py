"""G10: what a process had sent and not recorded when it died is sent again, with the same id."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from standardwebhooks import Webhook as Verifier

from models.dal import AsyncDAL
from tests.models.aged import aged
from tests.processes import Cluster, cluster, free_port
from tests.receiver import Act, answers, receiver
from tests.waiting import until
from tests.webhook_rows import SECRET, a_webhook, are, deliveries

WAITS = """
SELECT count(*) > 0 FROM pg_stat_activity
 WHERE wait_event_type = 'Lock' AND query LIKE '%webhook_deliveries%' AND pid <> pg_backend_pid()
"""

END = """
SELECT bool_and(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
 WHERE wait_event_type = 'Lock' AND query LIKE '%webhook_deliveries%' AND pid <> pg_backend_pid()
"""


@pytest.fixture
async def members(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path) as made:
        yield made


@asynccontextmanager
async def holding(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that may lock what the service wants to write."""
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_g10_killed_between_sending_and_recording_it_is_sent_again_with_the_same_id(
    dal: AsyncDAL, database_url: str, members: Cluster
) -> None:
    environ = {"DATABASE_URL": database_url, "EGRESS_ALLOW": "127.0.0.0/8", "ROLE": "worker"}
    async with holding(database_url) as holder:

        async def answers_when_locked(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await holder.execute("BEGIN; SELECT 1 FROM webhook_deliveries FOR UPDATE")
            await answers(200)(reader, writer)

        first_answer: Act = answers_when_locked
        async with receiver(first_answer, answers(200)) as peer:
            webhook = await a_webhook(dal, peer.url)
            doomed = await members.start(**environ, PORT=str(free_port()))
            await doomed.says("action=serve")
            await aged(dal)
            await peer.got(1)
            await until(partial(dal.fetchval, WAITS))
            doomed.process.send_signal(signal.SIGKILL)
            await doomed.process.wait()
            # What it had sent to the server the server would still do.
            assert await dal.fetchval(END)
            await holder.execute("ROLLBACK")
            [row] = await deliveries(dal)
            assert (row["status"], row["attempts"]) == ("pending", 1)

            heir = await members.start(**environ, PORT=str(free_port()))
            await heir.says("action=serve")
            assert len(peer.received) == 1  # the lease of the dead process holds
            await dal.execute("UPDATE webhook_deliveries SET due_at = now()")
            one, other = await peer.got(2)
            await are(dal, "delivered", webhook)

    assert one.delivery_id == other.delivery_id == row["delivery_id"]
    assert one.body == other.body
    for request in (one, other):
        Verifier(SECRET).verify(request.body, request.headers)


async def test_g10_processes_that_only_accept_send_nothing(
    dal: AsyncDAL, database_url: str, members: Cluster
) -> None:
    async with receiver(answers(200)) as peer:
        await a_webhook(dal, peer.url)
        environ = {"DATABASE_URL": database_url, "EGRESS_ALLOW": "127.0.0.0/8"}
        accepts = await members.start(**environ, ROLE="api", PORT=str(free_port()))
        await accepts.says("action=serve")
        await aged(dal)
        runs = await members.start(**environ, ROLE="worker", PORT=str(free_port()))
        await peer.got(1)
        await are(dal, "delivered")
        accepts.terminate()
        assert await accepts.ended() == 0
        runs.terminate()
        assert await runs.ended() == 0

    assert len(peer.received) == 1
