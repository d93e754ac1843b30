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

# What ended before there was anything to measure it, and letters of a release that measured none.
# The trigger counts what is set here. A row that gets a letter meanwhile is left to the next time.
MEASURE = f"""
WITH walked AS MATERIALIZED (
    SELECT execution_id, letters,
           CASE WHEN letters = 0 THEN 0 ELSE (
               SELECT coalesce(sum(octet_length(payload::text)), 0) FROM workflow_letters l
                WHERE l.execution_id = e.execution_id) END AS letter_bytes
      FROM workflow_executions e WHERE execution_id > $1 ORDER BY execution_id LIMIT {_AT_A_TIME}
), measured AS (
    UPDATE workflow_executions e
       SET letter_bytes = w.letter_bytes,
           recorded_bytes = CASE
               WHEN e.recorded_bytes IS NOT NULL OR e.end_time IS NULL THEN e.recorded_bytes
               ELSE {_OWN} + bytes_of_steps(e.execution_id, 0) END
      FROM walked w
     WHERE e.execution_id = w.execution_id AND e.letters = w.letters
       AND (e.letter_bytes <> w.letter_bytes
            OR e.recorded_bytes IS NULL AND e.end_time IS NOT NULL)
    RETURNING 1
)
SELECT ARRAY[(SELECT execution_id::text FROM walked ORDER BY execution_id DESC LIMIT 1),
             (SELECT count(*) FROM measured)::text]
"""

# In one snapshot, in which every change of a row is counted or neither is there. So what is missing
# stays missing by as much, and adding it is right at any later moment.
RECOUNT = """
WITH counted AS (
    SELECT community_id,
           sum(stored_bytes(recorded_bytes, last_seq, letter_bytes, letters)) AS bytes
      FROM workflow_executions GROUP BY 1
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
    """The table `community_history`, and the columns `recorded_bytes` and `letter_bytes`, which it
    sums up."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def measure(self) -> AsyncGenerator[int, None]:
        """Walks through all executions and measures those that ended unmeasured, and letters;
        gives of how many executions, batch by batch. Anything may go on meanwhile. Raises
        `StoreUnavailable`."""
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
