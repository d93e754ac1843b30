"""The SQL that keeps roll-ups small: hours that are over are gathered, hours that are long over
become days, what is very old is dropped.

Its one rule: what is gathered is moved, in one statement, so that every reader sees it in one place
or in the other; and what somebody has locked is left for the next time. Only who has the turn
(`MY_TURN`) writes where it gathers, and whoever has not moves nothing: so nobody waits.
"""

from __future__ import annotations

from models import turns
from models.rollup_sql import DAILY_BEFORE, OLDEST, bucket

MY_TURN = f"(SELECT pg_try_advisory_xact_lock({turns.JOBS}, {turns.GATHERING}))"
"""Asked once a statement."""

_OVER = "hour < now() - interval '2 hours'"
"""An hour may be written to for as long as a transaction takes that ends something in it; what is
late is gathered a round later."""

_SUMS = ("executions", "seconds", "cost", "tokens")
_ROW = "workflow_id, hour, daily, status"
_SAME_ROW = " AND ".join(f"g.{name} = p.{name}" for name in _ROW.split(", "))

# `placed` has what comes, in rows as they are kept; what is there already is added to it.
_INTO_GATHERED = f"""
, known AS (
    DELETE FROM gathered_rollups g USING (SELECT DISTINCT {_ROW} FROM placed) p
     WHERE {_SAME_ROW} RETURNING g.*
), together AS (
    SELECT * FROM placed
     UNION ALL
    SELECT {_ROW}, {", ".join(_SUMS)}, bins, counts FROM known
), binned AS (
    SELECT {_ROW}, bin, sum(count)::bigint AS count
      FROM together CROSS JOIN LATERAL unnest(bins, counts) AS u (bin, count)
     GROUP BY {_ROW}, bin
), histograms AS (
    SELECT {_ROW}, array_agg(bin ORDER BY bin) AS bins, array_agg(count ORDER BY bin) AS counts
      FROM binned GROUP BY {_ROW}
), kept AS (
    INSERT INTO gathered_rollups ({_ROW}, {", ".join(_SUMS)}, bins, counts)
    SELECT {_ROW}, {", ".join(f"sum({name})" for name in _SUMS)}, h.bins, h.counts
      FROM together JOIN histograms h USING ({_ROW}) GROUP BY {_ROW}, h.bins, h.counts
)
SELECT count(*) FROM old
"""

_GATHER = f"""
WITH old AS (
    DELETE FROM execution_rollups
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM execution_rollups
                              WHERE {_OVER} AND {MY_TURN}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING *
), placed AS (
    SELECT workflow_id, {bucket("hour")} AS hour, hour < {DAILY_BEFORE} AS daily, status,
           {", ".join(f"sum({name}) AS {name}" for name in _SUMS)},
           array_agg(bin) AS bins, array_agg(executions) AS counts
      FROM old GROUP BY 1, 2, 3, 4
)
{_INTO_GATHERED}
"""

_BECOME_DAYS = f"""
WITH old AS (
    DELETE FROM gathered_rollups
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM gathered_rollups
                              WHERE NOT daily AND hour < {DAILY_BEFORE} AND {MY_TURN}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING *
), placed AS (
    SELECT workflow_id, {bucket("hour")} AS hour, true AS daily, status, {", ".join(_SUMS)},
           bins, counts
      FROM old
)
{_INTO_GATHERED}
"""

_GATHER_NODES = f"""
WITH old AS (
    DELETE FROM node_rollups
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM node_rollups WHERE {{which}}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING *
), moved AS (
    INSERT INTO node_rollups AS kept
           (workflow_id, hour, lane, node_id, node_type, runs, failures, seconds, longest_seconds)
    SELECT workflow_id, {bucket("hour")}, CASE WHEN hour < {DAILY_BEFORE} THEN -2 ELSE -1 END,
           node_id, max(node_type), sum(runs), sum(failures), sum(seconds), max(longest_seconds)
      FROM old GROUP BY 1, 2, 3, 4 ORDER BY 1, 2
    ON CONFLICT (workflow_id, hour, lane, node_id) DO UPDATE
       SET node_type = excluded.node_type,
           runs = kept.runs + excluded.runs,
           failures = kept.failures + excluded.failures,
           seconds = kept.seconds + excluded.seconds,
           longest_seconds = greatest(kept.longest_seconds, excluded.longest_seconds)
)
SELECT count(*) FROM old
"""

COMPACT = (
    _GATHER,
    _BECOME_DAYS,
    _GATHER_NODES.format(which=f"lane >= 0 AND {_OVER}"),
    _GATHER_NODES.format(which=f"lane = -1 AND hour < {DAILY_BEFORE}"),
)
"""Each moves at most `$1` rows and gives how many it moved."""

DROP_OLD = f"""
WITH executions AS (
    DELETE FROM gathered_rollups
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM gathered_rollups
                              WHERE daily AND hour < {OLDEST}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING 1
), nodes AS (
    DELETE FROM node_rollups
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM node_rollups
                              WHERE lane = -2 AND hour < {OLDEST}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING 1
)
SELECT (SELECT count(*) FROM executions) + (SELECT count(*) FROM nodes)
"""
