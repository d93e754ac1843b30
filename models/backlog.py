"""How much waits in the database: the same for every process that asks.

Its one rule: a look costs what it counts, at most `MOST` of each, and nothing for what has ended.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.dal import AsyncDAL

MOST = 250_000
"""So many of each are counted; of more, so many."""

BACKLOG = """
SELECT free.number + limited.number AS pending, parked.number AS parked,
       coalesce(greatest(extract(epoch FROM clock_timestamp()
                                            - least(free.oldest, limited.oldest)), 0), 0)::float8
           AS oldest_pending_seconds
  FROM (SELECT count(*) AS number, min(created) AS oldest FROM (
            SELECT created FROM workflow_executions
             WHERE status = 'pending' AND max_parallel_executions IS NULL LIMIT $1) f) free,
       (SELECT count(*) AS number, min(created) AS oldest FROM (
            SELECT created FROM workflow_executions
             WHERE status = 'pending' AND max_parallel_executions IS NOT NULL
               AND end_time IS NULL LIMIT $1) l) limited,
       (SELECT count(*) AS number FROM (
            SELECT 1 FROM workflow_executions WHERE status = 'waiting' LIMIT $1) p) parked
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many executions wait to be claimed, since when the oldest of them was accepted, in
    seconds, and how many are parked."""

    pending: int
    parked: int
    oldest_pending_seconds: float


class Backlogs:
    """Looks at `workflow_executions`."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def look(self) -> Backlog:
        """What waits at this moment. Raises `StoreUnavailable`."""
        row = await self._dal.fetchrow(BACKLOG, MOST)
        assert row is not None
        return Backlog(**dict(row))
