"""An alert fires once, also when whoever decided so dies before it is committed."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from models.alerts import Alerts, Condition, NewAlert
from models.dal import AsyncDAL
from services.clock import new_id
from tests.models.aged import aged, rows
from tests.processes import cluster, free_port
from tests.receiver import answers, receiver
from tests.waiting import until
from tests.webhook_rows import a_webhook, are

WAITS = """
SELECT count(*) > 0 FROM pg_stat_activity
 WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO alert_history%'
   AND pid <> pg_backend_pid()
"""


@pytest.fixture
async def holder(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose locks are gone before the tables are emptied, whatever happens."""
    connection = await asyncpg.connect(database_url)
    yield connection
    connection.terminate()


async def test_an_evaluator_killed_before_its_commit_has_fired_nothing_and_the_next_fires_once(
    dal: AsyncDAL, database_url: str, holder: asyncpg.Connection, tmp_path: Path
) -> None:
    environ = {"DATABASE_URL": database_url, "EGRESS_ALLOW": "127.0.0.0/8", "ROLE": "worker"}
    async with receiver(answers(200)) as peer, cluster(tmp_path) as members:
        webhook = await a_webhook(dal, peer.url, events=())
        new = NewAlert(None, Condition("failures", 1, 3_600, 0), (webhook.webhook_id,), 2, True)
        await Alerts(dal).insert(new_id(), 1, new, 50)
        await dal.execute("UPDATE alerts SET counting_since = now() - interval '1 hour'")
        await aged(dal, status="failed")
        await holder.execute("BEGIN; LOCK TABLE alert_history IN EXCLUSIVE MODE")

        doomed = await members.start(**environ, PORT=str(free_port()))
        await until(partial(dal.fetchval, WAITS))
        doomed.process.send_signal(signal.SIGKILL)
        await doomed.process.wait()
        await holder.execute("ROLLBACK")

        heirs = [await members.start(**environ, PORT=str(free_port())) for _ in range(2)]
        await peer.got(1)
        await are(dal, "delivered", webhook)
        for heir in heirs:
            await heir.says("action=serve")  # the alert may be told before the other one is up
            heir.terminate()
            assert await heir.ended() == 0

    assert await rows(dal, "alert_history") == 1
    assert [one.json()["type"] for one in peer.received] == ["alert.fired"]
