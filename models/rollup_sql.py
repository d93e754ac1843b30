"""The SQL of roll-ups: reading them, correcting them from the rows, keeping them small.

How they are written is in `migrations/0007_rollups.sql`, for it happens in triggers. Its one rule:
a roll-up is only ever added to, from a lane of one's own, or moved; never set.
"""

from __future__ import annotations

from models import turns

HOURLY_DAYS = 8
"""For so many days roll-ups are kept by the hour; then hours become days."""
KEPT_DAYS = 400
"""After so many days they are dropped."""

_DAY, _HOUR = (f"date_bin('1 {width}', {{at}}, 'epoch')" for width in ("day", "hour"))
DAILY_BEFORE = _DAY.format(at=f"now() - interval '{HOURLY_DAYS} days'")
OLDEST = _DAY.format(at=f"now() - interval '{KEPT_DAYS} days'")


def _bucket(at: str) -> str:
    """The start of the hour, or of the day where hours have become days, in which `at` is."""
    day, hour = _DAY.format(at=at), _HOUR.format(at=at)
    return f"CASE WHEN {at} < {DAILY_BEFORE} THEN {day} ELSE {hour} END"


def executions(visible: str, first: int) -> str:
    """What ended, by bucket and status, with its durations as two arrays (bins and counts).
    `visible` selects the workflows; from `$first` on: the width, from, to."""
    return f"""
SELECT start, status, sum(executions)::bigint AS executions, sum(seconds) AS seconds,
       sum(cost) AS cost, sum(tokens) AS tokens,
       array_agg(bin) AS bins, array_agg(executions) AS counts
  FROM (SELECT date_bin(${first}::interval, hour, 'epoch') AS start, status, bin,
               sum(executions)::bigint AS executions, sum(seconds) AS seconds, sum(cost) AS cost,
               sum(tokens) AS tokens
          FROM execution_rollups
         WHERE workflow_id IN ({visible}) AND hour >= ${first + 1} AND hour < ${first + 2}
         GROUP BY 1, 2, 3) bins
 GROUP BY start, status ORDER BY start, status
"""


def nodes(visible: str, first: int) -> str:
    """The slowest and the most-failing nodes of each bucket and, without a start, of all; besides
    what `executions` takes, how many of each."""
    return f"""
WITH each AS (
    SELECT date_bin(${first}::interval, hour, 'epoch') AS start, workflow_id, node_id,
           max(node_type) AS node_type, sum(runs)::bigint AS runs,
           sum(failures)::bigint AS failures, sum(seconds) AS seconds,
           max(longest_seconds) AS longest_seconds
      FROM node_rollups
     WHERE workflow_id IN ({visible}) AND hour >= ${first + 1} AND hour < ${first + 2}
     GROUP BY 1, 2, 3
), counted AS (
    SELECT * FROM each WHERE runs > 0
     UNION ALL
    SELECT NULL, workflow_id, node_id, max(node_type), sum(runs)::bigint, sum(failures)::bigint,
           sum(seconds), max(longest_seconds)
      FROM each GROUP BY workflow_id, node_id HAVING sum(runs) > 0
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY start ORDER BY seconds / runs DESC,
                                 workflow_id, node_id) AS slow,
           row_number() OVER (PARTITION BY start ORDER BY failures DESC, runs,
                              workflow_id, node_id) AS failing
      FROM counted
)
SELECT * FROM ranked
 WHERE slow <= ${first + 3} OR failing <= ${first + 3} AND failures > 0
 ORDER BY start, slow
"""


WORKFLOWS = """
SELECT workflow_id FROM workflow_executions GROUP BY workflow_id
 UNION SELECT workflow_id FROM execution_rollups GROUP BY workflow_id ORDER BY workflow_id
"""

LOCK = f"SELECT pg_try_advisory_lock({turns.JOBS}, {turns.ROLLUPS})"
"""One rebuild at a time. It may run beside everything else."""

_SINCE = f"""
since AS (
    SELECT greatest({OLDEST}, (
        SELECT {_bucket("dropped_until")}
               + CASE WHEN dropped_until < {DAILY_BEFORE} THEN interval '1 day'
                      ELSE interval '1 hour' END
          FROM rollup_horizons WHERE workflow_id = $1)) AS at
)
"""

# One statement sees one snapshot of the rows and of the roll-ups, in which every end is in both or
# in neither. So what it finds missing stays missing by as much, however many end meanwhile, and
# adding it is right at any later moment. Sums of the same fractions in another order differ in
# their last digits, which is no mistake.
REBUILD = f"""
WITH {_SINCE}, counted AS (
    SELECT {_bucket("end_time")} AS hour, status, duration_bin(execution_time_seconds) AS bin,
           count(*) AS executions,
           coalesce(sum(summable(execution_time_seconds)), 0) AS seconds,
           sum(summable(total_cost)) AS cost, sum(summable(tokens_used)) AS tokens
      FROM workflow_executions
     WHERE workflow_id = $1 AND end_time >= (SELECT at FROM since) GROUP BY 1, 2, 3
), kept AS (
    SELECT {_bucket("hour")} AS hour, status, bin, sum(executions) AS executions,
           sum(seconds) AS seconds, sum(cost) AS cost, sum(tokens) AS tokens
      FROM execution_rollups
     WHERE workflow_id = $1 AND hour >= (SELECT at FROM since) GROUP BY 1, 2, 3
), wrong AS (
    SELECT hour, status, bin,
           coalesce(c.executions, 0) - coalesce(k.executions, 0) AS executions,
           coalesce(c.seconds, 0) - coalesce(k.seconds, 0) AS seconds,
           coalesce(c.cost, 0) - coalesce(k.cost, 0) AS cost,
           coalesce(c.tokens, 0) - coalesce(k.tokens, 0) AS tokens,
           1e-9 * (1 + coalesce(c.seconds, 0)) AS seconds_off,
           1e-9 * (1 + abs(coalesce(c.cost, 0))) AS cost_off,
           1e-9 * (1 + abs(coalesce(c.tokens, 0))) AS tokens_off
      FROM counted c FULL JOIN kept k USING (hour, status, bin)
), mended AS (
    INSERT INTO execution_rollups AS kept
           (workflow_id, hour, lane, status, bin, executions, seconds, cost, tokens)
    SELECT $1, hour, (SELECT rollup_lane()), status, bin, executions, seconds, cost, tokens
      FROM wrong
     WHERE executions <> 0 OR abs(seconds) > seconds_off OR abs(cost) > cost_off
        OR abs(tokens) > tokens_off
    ON CONFLICT (workflow_id, hour, lane, status, bin) DO UPDATE
       SET executions = kept.executions + excluded.executions,
           seconds = kept.seconds + excluded.seconds,
           cost = kept.cost + excluded.cost,
           tokens = kept.tokens + excluded.tokens
    RETURNING 1
), nodes_counted AS (
    SELECT {_bucket("e.end_time")} AS hour, s.node_id, max(s.node_type) AS node_type,
           count(*) AS runs, count(*) FILTER (WHERE s.status = 'failed') AS failures,
           sum(seconds_between(s.started_at, s.completed_at)) AS seconds,
           max(seconds_between(s.started_at, s.completed_at)) AS longest_seconds
      FROM workflow_executions e JOIN workflow_steps s USING (execution_id)
     WHERE e.workflow_id = $1 AND e.end_time >= (SELECT at FROM since)
       AND s.kind = 'finished' AND s.completed_at IS NOT NULL
       AND (s.details IS NULL OR s.details -> 'reused' IS NULL)
     GROUP BY 1, 2
), nodes_kept AS (
    SELECT {_bucket("hour")} AS hour, node_id, max(node_type) AS node_type, sum(runs) AS runs,
           sum(failures) AS failures, sum(seconds) AS seconds,
           max(longest_seconds) AS longest_seconds
      FROM node_rollups
     WHERE workflow_id = $1 AND hour >= (SELECT at FROM since) GROUP BY 1, 2
), nodes_wrong AS (
    SELECT hour, node_id, coalesce(c.node_type, k.node_type) AS node_type,
           coalesce(c.runs, 0) - coalesce(k.runs, 0) AS runs,
           coalesce(c.failures, 0) - coalesce(k.failures, 0) AS failures,
           coalesce(c.seconds, 0) - coalesce(k.seconds, 0) AS seconds,
           coalesce(c.longest_seconds, 0) AS longest_seconds,
           coalesce(c.longest_seconds, 0) > coalesce(k.longest_seconds, 0) AS longer,
           1e-9 * (1 + coalesce(c.seconds, 0)) AS seconds_off
      FROM nodes_counted c FULL JOIN nodes_kept k USING (hour, node_id)
), nodes_mended AS (
    INSERT INTO node_rollups AS kept
           (workflow_id, hour, lane, node_id, node_type, runs, failures, seconds, longest_seconds)
    SELECT $1, hour, (SELECT rollup_lane()), node_id, node_type, runs, failures, seconds,
           longest_seconds
      FROM nodes_wrong
     WHERE runs <> 0 OR failures <> 0 OR longer OR abs(seconds) > seconds_off
    ON CONFLICT (workflow_id, hour, lane, node_id) DO UPDATE
       SET runs = kept.runs + excluded.runs,
           failures = kept.failures + excluded.failures,
           seconds = kept.seconds + excluded.seconds,
           longest_seconds = greatest(kept.longest_seconds, excluded.longest_seconds)
    RETURNING 1
)
SELECT (SELECT count(*) FROM mended) + (SELECT count(*) FROM nodes_mended)
"""

# The rows of hours that are long over are gathered in lanes in which nobody writes but this, so it
# never waits. What somebody has locked is left for the next time.
_GATHER = """
WITH old AS (
    DELETE FROM {table}
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {which}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING *
), moved AS (
    INSERT INTO {table} AS kept (workflow_id, hour, lane, {key}, {figures})
    SELECT workflow_id, {bucket}, CASE WHEN hour < {daily_before} THEN -2 ELSE -1 END,
           {key}, {sums} FROM old GROUP BY 1, 2, 3, {key}
    ON CONFLICT (workflow_id, hour, lane, {key}) DO UPDATE SET {added}
)
SELECT count(*) FROM old
"""

_ADDED = "{0} = kept.{0} + excluded.{0}"
_FIGURES = ("executions", "seconds", "cost", "tokens")
_NODE_FIGURES = ("runs", "failures", "seconds")

_EXECUTIONS = {
    "table": "execution_rollups",
    "key": "status, bin",
    "figures": ", ".join(_FIGURES),
    "sums": ", ".join(f"sum({name})" for name in _FIGURES),
    "added": ", ".join(_ADDED.format(name) for name in _FIGURES),
}
_NODES = {
    "table": "node_rollups",
    "key": "node_id",
    "figures": ", ".join((*_NODE_FIGURES, "node_type", "longest_seconds")),
    "sums": ", ".join(
        (*(f"sum({name})" for name in _NODE_FIGURES), "max(node_type)", "max(longest_seconds)")
    ),
    "added": ", ".join(_ADDED.format(name) for name in _NODE_FIGURES)
    + ", longest_seconds = greatest(kept.longest_seconds, excluded.longest_seconds)",
}
_OVER = "lane >= 0 AND hour < now() - interval '1 day'"
_LONG_OVER = f"lane = -1 AND hour < {DAILY_BEFORE}"

COMPACT = tuple(
    _GATHER.format(which=which, bucket=_bucket("hour"), daily_before=DAILY_BEFORE, **table)
    for table in (_EXECUTIONS, _NODES)
    for which in (_OVER, _LONG_OVER)
)

DROP_OLD = f"""
WITH executions AS (
    DELETE FROM execution_rollups
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM execution_rollups
                              WHERE lane = -2 AND hour < {OLDEST}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING 1
), nodes AS (
    DELETE FROM node_rollups
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM node_rollups
                              WHERE lane = -2 AND hour < {OLDEST}
                              ORDER BY hour LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING 1
)
SELECT (SELECT count(*) FROM executions) + (SELECT count(*) FROM nodes)
"""
