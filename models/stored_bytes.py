"""What the executions of communities keep, in bytes: measuring what never was, counting anew.

The count itself is written by triggers (`migrations/0015_what_executions_keep_is_counted.sql`). Its
one rule: it is only ever added to, from a lane of one's own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from uuid import UUID

from models.dal import AsyncDAL
from models.patient import patient, run

_AT_A_TIME = 500

_OWN = " + ".join(
    f"coalesce(octet_length(e.{column}::text), 0)"
    for column in ("input_parameters", "metadata", "final_variables", "final_output")
)

# What ended before there was anything to measure it. The trigger counts what is set here.
MEASURE = f"""
WITH walked AS MATERIALIZED (
    SELECT execution_id, recorded_bytes IS NULL AND end_time IS NOT NULL AS unmeasured
      FROM workflow_executions WHERE execution_id > $1 ORDER BY execution_id LIMIT {_AT_A_TIME}
), measured AS (
    UPDATE workflow_executions e
       SET recorded_bytes = {_OWN} + bytes_of_steps(e.execution_id, 0)
     WHERE e.execution_id = ANY (ARRAY(SELECT execution_id FROM walked WHERE unmeasured))
       AND e.recorded_bytes IS NULL
    RETURNING 1
)
SELECT ARRAY[(SELECT execution_id::text FROM walked ORDER BY execution_id DESC LIMIT 1),
             (SELECT count(*) FROM measured)::text]
"""

# In one snapshot, in which every change of a row is counted or neither is there. So what is missing
# stays missing by as much, and adding it is right at any later moment.
RECOUNT = """
WITH counted AS (
    SELECT community_id, sum(stored_bytes(recorded_bytes, last_seq)) AS bytes
      FROM workflow_executions WHERE recorded_bytes IS NOT NULL GROUP BY 1
), kept AS (
    SELECT community_id, sum(bytes) AS bytes FROM community_history GROUP BY 1
), corrected AS (
    INSERT INTO community_history AS known (community_id, lane, bytes)
    SELECT community_id, (SELECT rollup_lane()),
           coalesce(c.bytes, 0) - coalesce(k.bytes, 0)
      FROM counted c FULL JOIN kept k USING (community_id)
     WHERE coalesce(c.bytes, 0) <> coalesce(k.bytes, 0)
    ON CONFLICT (community_id, lane) DO UPDATE SET bytes = known.bytes + excluded.bytes
    RETURNING 1
)
SELECT count(*) FROM corrected
"""


class StoredBytes:
    """The table `community_history` and the column `recorded_bytes`, which it sums up."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def measure(self) -> AsyncGenerator[int, None]:
        """Walks through all executions and measures those that ended unmeasured; gives how many,
        batch by batch. Anything may go on meanwhile. Raises `StoreUnavailable`."""
        async with patient(self._dal) as connection:
            after: str | None = str(UUID(int=0))
            while after is not None:
                after, measured = await run(connection, MEASURE, after)
                yield int(measured)

    async def recount(self) -> int:
        """Corrects what is counted by the rows that there are; gives of how many communities.
        Raises `StoreUnavailable`."""
        async with patient(self._dal) as connection:
            return int(await run(connection, RECOUNT))
