"""The SQL that keeps roll-ups small: hours that are over are gathered, into the hour's row and into
its day's; hours that are long over are dropped, and what is very old.

Its one rule: what is gathered is moved, in one statement, so that every reader sees it in one place
or in the other; and what somebody has locked is left for the next time. Only who has the turn
(`MY_TURN`) writes where it gathers, and whoever has not moves nothing: so nobody waits.
"""

from __future__ import annotations

from models import turns
from models.rollup_sql import DAILY_BEFORE, DAY_OF, OLDEST, tolerance

MY_TURN = f"(SELECT pg_try_advisory_xact_lock({turns.JOBS}, {turns.GATHERING}))"
"""Asked once a statement."""

TAKE_TURN = f"SELECT pg_advisory_xact_lock({turns.JOBS}, {turns.GATHERING})"

_AN_HOUR = "hour > '-infinity'"
"""What is always so, and opens the indexes for upkeep: reading must not go along them."""

_OVER = f"{_AN_HOUR} AND hour < now() - interval '65 minutes'"
"""A few minutes after its end nobody writes to an hour but a transaction that took so long; what is
late is gathered a round later."""

_NAMES = ("seconds", "cost", "tokens")
_SUMS = ", ".join(_NAMES)
_SUMMED = ", ".join(f"sum({name}) AS {name}" for name in _NAMES)
_ROW = "workflow_id, daily, hour, status"
_SAME = " AND ".join(f"g.{name} = {{0}}.{name}" for name in _ROW.split(", "))
_NODE = "workflow_id, daily, hour, node_id"
_NODE_COLUMNS = f"{_NODE}, node_type, runs, failures, seconds, longest_seconds"
_NODE_SUMMED = """max(node_type) AS node_type, sum(runs)::bigint AS runs,
           sum(failures)::bigint AS failures, sum(seconds) AS seconds,
           max(longest_seconds) AS longest_seconds"""
_SAME_NODE = " AND ".join(f"g.{name} = w.{name}" for name in _NODE.split(", "))
_COLUMNS = f"{_ROW}, {_SUMS}, lowest_bin, counts"

# Rows as they are gathered, from sums (`summed`) and from how many executions are in which bin
# (`binned`). What has no bin left has no counts.
_MADE = f"""
SELECT {_ROW}, {_SUMS}, coalesce(lowest_bin, 0) AS lowest_bin, coalesce(counts, '{{}}') AS counts
  FROM summed LEFT JOIN (
    SELECT {_ROW}, lowest_bin, array_agg(coalesce(count, 0) ORDER BY bin DESC) AS counts
      FROM (SELECT {_ROW}, min(bin) AS lowest_bin, max(bin) AS highest_bin FROM binned
             GROUP BY {_ROW}) bounds
     CROSS JOIN LATERAL generate_series(lowest_bin, highest_bin) AS bin
      LEFT JOIN binned USING ({_ROW}, bin)
     GROUP BY {_ROW}, lowest_bin) histograms USING ({_ROW})
"""

# The rows that something `old` goes into. Where hours are kept no more, that is the day's alone.
_PLACE = f"""(
        SELECT true AS daily, {DAY_OF.format(at="old.hour")} AS hour
         UNION ALL
        SELECT false, old.hour WHERE old.hour >= {DAILY_BEFORE}) place"""

# What is there already is added to what comes.
_GATHER = f"""
WITH old AS (
    DELETE FROM execution_rollups
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM execution_rollups
                              WHERE {_OVER} AND {MY_TURN}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING *
), placed AS MATERIALIZED (
    SELECT workflow_id, daily, place.hour, status, bin, sum(executions) AS executions, {_SUMMED}
      FROM old CROSS JOIN LATERAL {_PLACE}
     GROUP BY workflow_id, daily, place.hour, status, bin
), known AS (
    DELETE FROM gathered_rollups g USING (SELECT DISTINCT {_ROW} FROM placed) p
     WHERE {_SAME.format("p")} RETURNING g.*
), binned AS (
    SELECT {_ROW}, bin, sum(count)::bigint AS count
      FROM (SELECT {_ROW}, bin, executions AS count FROM placed
             UNION ALL
            SELECT {_ROW}, bin, count
              FROM known CROSS JOIN LATERAL counts_by_bin(lowest_bin, counts)) each
     GROUP BY {_ROW}, bin HAVING sum(count) <> 0
), summed AS (
    SELECT {_ROW}, {_SUMMED}
      FROM (SELECT {_ROW}, {_SUMS} FROM placed UNION ALL SELECT {_ROW}, {_SUMS} FROM known) each
     GROUP BY {_ROW}
), kept AS (
    INSERT INTO gathered_rollups ({_COLUMNS}) {_MADE}
)
SELECT count(*) FROM old
"""

_GATHER_NODES = f"""
WITH old AS (
    DELETE FROM node_rollups
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM node_rollups
                              WHERE {_OVER} AND {MY_TURN}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING *
), moved AS (
    INSERT INTO gathered_nodes AS kept ({_NODE_COLUMNS})
    SELECT workflow_id, daily, place.hour, node_id, {_NODE_SUMMED}
      FROM old CROSS JOIN LATERAL {_PLACE}
     GROUP BY workflow_id, daily, place.hour, node_id
    ON CONFLICT ({_NODE}) DO UPDATE
       SET node_type = excluded.node_type,
           runs = kept.runs + excluded.runs,
           failures = kept.failures + excluded.failures,
           seconds = kept.seconds + excluded.seconds,
           longest_seconds = greatest(kept.longest_seconds, excluded.longest_seconds)
)
SELECT count(*) FROM old
"""

_DROP_HOURS = f"""
WITH old AS (
    DELETE FROM {{table}}
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM {{table}}
                              WHERE {_AN_HOUR} AND NOT daily AND hour < {DAILY_BEFORE}
                                AND {MY_TURN}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING 1
)
SELECT count(*) FROM old
"""

_DAYS_OF_HOURS = f"""
WITH hours AS MATERIALIZED (
    SELECT workflow_id, true AS daily, {DAY_OF.format(at="hour")} AS hour, status,
           {_SUMS}, lowest_bin, counts
      FROM gathered_rollups WHERE workflow_id = $1 AND NOT daily AND hour >= {DAILY_BEFORE}
), binned AS (
    SELECT {_ROW}, bin, sum(count)::bigint AS count
      FROM hours CROSS JOIN LATERAL counts_by_bin(lowest_bin, counts)
     GROUP BY {_ROW}, bin HAVING sum(count) <> 0
), summed AS (
    SELECT {_ROW}, {_SUMMED} FROM hours GROUP BY {_ROW}
), made AS MATERIALIZED ({_MADE}), wrong AS MATERIALIZED (
    SELECT {_ROW}
      FROM made m FULL JOIN (
        SELECT * FROM gathered_rollups
         WHERE workflow_id = $1 AND daily AND hour >= {DAILY_BEFORE}) k USING ({_ROW})
     WHERE (m.lowest_bin, m.counts) IS DISTINCT FROM (k.lowest_bin, k.counts)
        OR {" OR ".join(f"abs(m.{name} - k.{name}) > {tolerance('m.' + name)}" for name in _NAMES)}
), gone AS (
    DELETE FROM gathered_rollups g USING wrong w WHERE {_SAME.format("w")} RETURNING 1
), kept AS (
    INSERT INTO gathered_rollups ({_COLUMNS})
    SELECT {_COLUMNS} FROM made JOIN wrong USING ({_ROW})
     WHERE (SELECT count(*) FROM gone) IS NOT NULL
)
SELECT count(*) FROM wrong
"""

_DAYS_OF_HOURS_OF_NODES = f"""
WITH made AS MATERIALIZED (
    SELECT workflow_id, true AS daily, {DAY_OF.format(at="hour")} AS hour, node_id, {_NODE_SUMMED}
      FROM gathered_nodes WHERE workflow_id = $1 AND NOT daily AND hour >= {DAILY_BEFORE}
     GROUP BY 1, 2, 3, 4
), wrong AS MATERIALIZED (
    SELECT {_NODE}
      FROM made m FULL JOIN (
        SELECT * FROM gathered_nodes
         WHERE workflow_id = $1 AND daily AND hour >= {DAILY_BEFORE}) k USING ({_NODE})
     WHERE (m.runs, m.failures, m.longest_seconds)
           IS DISTINCT FROM (k.runs, k.failures, k.longest_seconds)
        OR abs(m.seconds - k.seconds) > {tolerance("m.seconds")}
), gone AS (
    DELETE FROM gathered_nodes g USING wrong w WHERE {_SAME_NODE} RETURNING 1
), kept AS (
    INSERT INTO gathered_nodes ({_NODE_COLUMNS})
    SELECT {_NODE_COLUMNS} FROM made JOIN wrong USING ({_NODE})
     WHERE (SELECT count(*) FROM gone) IS NOT NULL
)
SELECT count(*) FROM wrong
"""

DAYS_OF_HOURS = (_DAYS_OF_HOURS, _DAYS_OF_HOURS_OF_NODES)
"""The days of one workflow (`$1`) of which hours are kept, made anew from these where they differ;
each gives how many did. They need the turn, taken before (`TAKE_TURN`)."""

COMPACT = (
    _GATHER,
    _GATHER_NODES,
    _DROP_HOURS.format(table="gathered_rollups"),
    _DROP_HOURS.format(table="gathered_nodes"),
)
"""Each moves at most `$1` rows and gives how many it moved."""

DROP_OLD = f"""
WITH executions AS (
    DELETE FROM gathered_rollups
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM gathered_rollups
                              WHERE {_AN_HOUR} AND daily AND hour < {OLDEST}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING 1
), nodes AS (
    DELETE FROM gathered_nodes
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM gathered_nodes
                              WHERE {_AN_HOUR} AND daily AND hour < {OLDEST}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING 1
)
SELECT (SELECT count(*) FROM executions) + (SELECT count(*) FROM nodes)
"""
