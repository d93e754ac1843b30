"""G9: a timer survives what dies, fires not before its time by the database's clock, and once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from chaos.database import Database
from tests.guarantees.stage import staged
from tests.peer import calling
from tests.processes import graph

DELAY_SECONDS = 6
NEARLY = timedelta(seconds=0.8 * DELAY_SECONDS)
"""By its own clock a process may start to count a little before or after it was asked to."""

PARKED = """
SELECT status = 'waiting' AND worker_id IS NULL FROM workflow_executions WHERE execution_id = $1
"""
WAKE_AT = "SELECT wake_at FROM workflow_executions WHERE execution_id = $1"
NOW = "SELECT clock_timestamp()"
FIRED = """
SELECT count(*) FROM workflow_steps
 WHERE execution_id = $1 AND node_id = 'sleep' AND kind = 'finished' AND completed_at >= $2
"""


async def test_g09_a_delay_outlives_every_process_and_the_database_and_ends_once_in_time(
    crashable: Database, tmp_path: Path
) -> None:
    async with staged(crashable, tmp_path) as stage:
        first = await stage.start()
        nodes = {
            "sleep": {"node_type": "action_delay", "config": {"delay_seconds": DELAY_SECONDS}},
            "after": calling(f"{stage.peer.url}/held"),
        }
        document = graph(nodes, "start -> sleep -> after")
        workflow_id = await stage.publish(first, document)
        asked_at = await stage.value(NOW)
        execution_id = await stage.begun(first, workflow_id)
        await stage.comes_true(PARKED, execution_id)
        wake_at = await stage.value(WAKE_AT, execution_id)
        assert wake_at - asked_at > NEARLY
        await first.kill()
        await crashable.restart()

        second, _ = await stage.start_several(2)
        (call,) = await stage.peer.called("/held")
        called_at = await stage.value(NOW)
        call.freed.set()
        assert (await stage.ends(second, execution_id))["status"] == "completed"
        assert called_at >= wake_at
        assert await stage.value(FIRED, execution_id, wake_at) == 1
        assert stage.peer.keys == {f"{execution_id}:after": 1}
