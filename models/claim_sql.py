"""The SQL of claiming: who of all that may run is taken next.

Candidates are parked executions that are due and pending ones, those of every community that has
any. Each gets a *place*: how many of its community run here already, and how many of that
community's are before it. The lowest places are taken, so communities take turns, however long the
queue of one of them is (G13). Neither history nor the length of a queue costs anything: the next
community, and the first of each, are found by an index.

What was looked at may have moved on when it is locked: another worker may have claimed it, run it
and parked it. Then it has one claim more, and is left alone.

Executions of workflows with `max_parallel_executions`, and communities under
`MAX_CONCURRENT_PER_COMMUNITY`, are counted from live rows while a lock keeps other claimers away.
`$1` the worker, `$2` how many at most, `$3` and `$4` communities and how many of each run here,
`$5` how many of one community may run here; limited: `$6` how many of one may run anywhere.
"""

from __future__ import annotations

from functools import cache

from models import turns
from models.execution_sql import FENCE

TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({turns.JOBS}, {turns.CLAIMING})"
"""Not waited for: whoever is frozen while it holds the lock must not stop the others."""

# A community that has few gives all it has; of many communities, each gives some.
_COMMUNITIES = """
communities AS (
    (SELECT community_id FROM workflow_executions
      WHERE status = 'pending' AND max_parallel_executions IS NULL
      ORDER BY community_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.community_id FROM workflow_executions e
             WHERE e.status = 'pending' AND e.max_parallel_executions IS NULL
               AND e.community_id > c.community_id
             ORDER BY e.community_id LIMIT 1)
      FROM communities c WHERE c.community_id IS NOT NULL
), depth AS (
    SELECT least($2::int, greatest(10, 4 * $2::int / greatest(count(*), 1)))::int AS rows
      FROM communities
)
"""

_DUE = """
SELECT * FROM (
    SELECT execution_id, community_id, wake_at AS since, claims FROM workflow_executions
     WHERE status = 'waiting' AND wake_at IS NOT NULL AND wake_at <= statement_timestamp()
     ORDER BY wake_at LIMIT 2 * $2::int) due
"""

_FREE = """
SELECT q.* FROM communities c CROSS JOIN LATERAL (
    SELECT execution_id, community_id, created AS since, claims
      FROM workflow_executions
     WHERE status = 'pending' AND max_parallel_executions IS NULL
       AND community_id = c.community_id
     ORDER BY created LIMIT (SELECT rows FROM depth)) q
"""

_FLOWS = """
flows AS (
    (SELECT community_id, workflow_id FROM workflow_executions
      WHERE end_time IS NULL AND max_parallel_executions IS NOT NULL
      ORDER BY community_id, workflow_id LIMIT 1)
    UNION ALL
    SELECT n.community_id, n.workflow_id FROM flows f CROSS JOIN LATERAL (
        SELECT e.community_id, e.workflow_id FROM workflow_executions e
         WHERE e.end_time IS NULL AND e.max_parallel_executions IS NOT NULL
           AND (e.community_id, e.workflow_id) > (f.community_id, f.workflow_id)
         ORDER BY e.community_id, e.workflow_id LIMIT 1) n
)
"""

# Live are those that run or are parked, and paused ones that had started.
_LIMITED = """
SELECT q.execution_id, q.community_id, q.since, q.claims FROM flows f CROSS JOIN LATERAL (
    SELECT count(*) AS busy FROM workflow_executions
     WHERE end_time IS NULL AND max_parallel_executions IS NOT NULL
       AND community_id = f.community_id AND workflow_id = f.workflow_id
       AND (status IN ('running', 'waiting')
            OR status = 'paused' AND start_time IS NOT NULL)) live
 CROSS JOIN LATERAL (
    SELECT *, row_number() OVER () AS turn FROM (
        SELECT execution_id, community_id, created AS since, claims,
               max_parallel_executions AS most
          FROM workflow_executions
         WHERE end_time IS NULL AND max_parallel_executions IS NOT NULL
           AND community_id = f.community_id AND workflow_id = f.workflow_id
           AND status = 'pending'
         ORDER BY created LIMIT $2::int) queue) q
 WHERE q.turn + live.busy <= q.most
"""

_EVERYWHERE = """
everywhere AS (
    SELECT community_id, count(*) AS running FROM workflow_executions
     WHERE worker_id IS NOT NULL AND $6::int IS NOT NULL GROUP BY community_id
)
"""


@cache
def claim(*, limited: bool) -> str:
    """The claim; with `limited`, also of what is limited, which needs the lock."""
    recursive = [_COMMUNITIES, *([_FLOWS, _EVERYWHERE] if limited else [])]
    sources = [_DUE, _FREE, *([_LIMITED] if limited else [])]
    turn = "row_number() OVER (PARTITION BY community_id ORDER BY since, execution_id)"
    anywhere = "AND ($6::int IS NULL OR turn + running_anywhere <= $6::int)" if limited else ""
    columns = ", coalesce(a.running, 0) AS running_anywhere" if limited else ""
    joined = "LEFT JOIN everywhere a USING (community_id)" if limited else ""
    return f"""
WITH RECURSIVE {FENCE}, {", ".join(recursive)}, candidates AS (
    {" UNION ALL ".join(sources)}
), mine AS (
    SELECT * FROM unnest($3::bigint[], $4::bigint[]) AS m(community_id, running)
), placed AS (
    SELECT c.*, {turn} AS turn, coalesce(m.running, 0) AS running_here{columns}
      FROM candidates c LEFT JOIN mine m USING (community_id) {joined}
), chosen AS (
    SELECT execution_id, claims, since, turn + running_here AS place FROM placed
     WHERE turn + running_here <= $5::int {anywhere}
     ORDER BY place, since LIMIT 2 * $2::int
), picked AS (
    SELECT e.execution_id, e.last_seq > 1 OR e.start_time IS NOT NULL AS begun
      FROM chosen JOIN workflow_executions e USING (execution_id)
     WHERE e.status IN ('pending', 'waiting') AND e.claims = chosen.claims
     ORDER BY chosen.place, chosen.since LIMIT $2::int FOR UPDATE OF e SKIP LOCKED
)
UPDATE workflow_executions e
   SET status = 'running', worker_id = fence.worker_id, wake_at = NULL, claims = e.claims + 1,
       start_time = coalesce(e.start_time, clock_timestamp())
  FROM fence, picked
 WHERE e.execution_id = picked.execution_id AND e.status IN ('pending', 'waiting')
RETURNING e.*, picked.begun
"""


CLAIM = claim(limited=False)
CLAIM_LIMITED = claim(limited=True)
