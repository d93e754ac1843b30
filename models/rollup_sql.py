"""The SQL of roll-ups: reading them, and correcting them from the rows.

How they are written is in `migrations/0007_rollups.sql`, for it happens in triggers; how they are
kept small in `rollup_upkeep_sql.py`. Its one rule: a roll-up is only ever added to, from a lane of
one's own, or moved; never set.
"""

from __future__ import annotations

from models import turns

HOURLY_DAYS = 8
"""For so many days roll-ups are kept by the hour, beside those by the day."""
KEPT_DAYS = 400
"""After so many days they are dropped."""

DAY_OF, _HOUR_OF = (f"date_bin('1 {width}', {{at}}, 'epoch')" for width in ("day", "hour"))
DAILY_BEFORE = DAY_OF.format(at=f"now() - interval '{HOURLY_DAYS} days'")
OLDEST = DAY_OF.format(at=f"now() - interval '{KEPT_DAYS} days'")


def bucket(at: str) -> str:
    """The start of the hour, or of the day where hours are kept no more, in which `at` is."""
    day, hour = DAY_OF.format(at=at), _HOUR_OF.format(at=at)
    return f"CASE WHEN {at} < {DAILY_BEFORE} THEN {day} ELSE {hour} END"


def tolerance(right: str) -> str:
    """By how much a sum may differ from the right one that added up the same in another order."""
    return f"1e-9 * (1 + abs({right}))"


def known(visible: str) -> str:
    """The `state` of what is gathered, null if nobody knows, and a digest of the `workflows` that
    `visible` selects."""
    return f"""
SELECT (SELECT state::text FROM gathered_state) AS state,
       sha256(string_agg(uuid_send(workflow_id), NULL ORDER BY workflow_id)) AS workflows
  FROM ({visible}) AS v
"""


# Each takes `visible`, which selects the workflows; and from `$first` on: the width, which is an
# hour or days, from, to. The start of a bucket is told in seconds, cheaper to read than an instant.


def _ends_gathered(visible: str, first: int) -> str:
    return f"""
SELECT {_start(first)}, status, executions, seconds, cost, tokens, lowest_bin, sent,
       NULL::integer[] AS bins, NULL::bigint[] AS times
  FROM ({visible}) AS v CROSS JOIN LATERAL (
    SELECT hour, status, executions, seconds, cost, tokens, lowest_bin, sent
      FROM gathered_rollups WHERE {_gathered(first)}
     OFFSET 0) AS found
"""


def _ends_live(visible: str, first: int) -> str:
    return f"""
SELECT {_start(first)}, status, sum(executions)::bigint, sum(seconds), sum(cost), sum(tokens),
       NULL::integer, NULL::bytea, array_agg(bin), array_agg(executions)
  FROM ({visible}) AS v CROSS JOIN LATERAL (
    SELECT hour, status, bin, executions, seconds, cost, tokens
      FROM execution_rollups WHERE {_live(first)}
     OFFSET 0) AS found
 GROUP BY 1, 2
"""


def _nodes_gathered(visible: str, first: int) -> str:
    return f"""
SELECT {_start(first)}, v.workflow_id::text, node_id, node_type, runs, failures, seconds,
       longest_seconds
  FROM ({visible}) AS v CROSS JOIN LATERAL (
    SELECT hour, node_id, node_type, runs, failures, seconds, longest_seconds
      FROM gathered_nodes WHERE {_gathered(first)}
     OFFSET 0) AS found
"""


def _nodes_live(visible: str, first: int) -> str:
    return f"""
SELECT {_start(first)}, v.workflow_id::text, node_id, max(node_type), sum(runs)::bigint,
       sum(failures)::bigint, sum(seconds), max(longest_seconds)
  FROM ({visible}) AS v CROSS JOIN LATERAL (
    SELECT hour, node_id, node_type, runs, failures, seconds, longest_seconds
      FROM node_rollups WHERE {_live(first)}
     OFFSET 0) AS found
 GROUP BY 1, 2, 3
"""


GATHERED = (_ends_gathered, _nodes_gathered)
"""What is gathered: what ended, then how nodes did, in one row or more of each bucket and status,
or node. Durations are `sent`, an array as it is sent, from the highest bin to `lowest_bin`."""

LIVE = (_ends_live, _nodes_live)
"""As `GATHERED`, of what is not gathered yet: durations are `bins` and `times`."""


def _start(first: int) -> str:
    return f"date_part('epoch', date_bin(${first}::interval, hour, 'epoch')) AS start"


def _live(first: int) -> str:
    """Which roll-ups of a workflow `v` are asked for. Comparisons of rows, which nothing but the
    key can answer: by the hour alone what all other workflows have in it would be read as well."""
    return f"""(workflow_id, hour) >= (v.workflow_id, ${first + 1})
       AND (workflow_id, hour) < (v.workflow_id, ${first + 2})"""


def _gathered(first: int) -> str:
    """As `_live`, of what is gathered."""
    row, daily = "(workflow_id, daily, hour)", f"${first}::interval >= interval '1 day'"
    return f"""{row} >= (v.workflow_id, {daily}, ${first + 1})
       AND {row} < (v.workflow_id, {daily}, ${first + 2})"""


READ = "; ".join(
    (
        # What is gathered in between is for all answers where it was, or where it is; and its state
        # is that of what is read.
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        # One plan is right for all, along the keys, and making it takes as long as a report.
        "SET LOCAL plan_cache_mode = force_generic_plan",
        "SET LOCAL enable_seqscan = off",
    )
)
"""How the transaction begins in which `known`, `GATHERED` and `LIVE` are asked."""

WORKFLOWS = """
SELECT workflow_id FROM workflow_executions GROUP BY workflow_id
 UNION SELECT workflow_id FROM execution_rollups
 UNION SELECT workflow_id FROM gathered_rollups ORDER BY workflow_id
"""

LOCK = f"SELECT pg_try_advisory_lock({turns.JOBS}, {turns.ROLLUPS})"
"""One rebuild at a time. It may run beside everything else."""

UNLOCK = f"SELECT pg_advisory_unlock({turns.JOBS}, {turns.ROLLUPS})"

_SINCE = f"""
since AS (
    SELECT greatest({OLDEST}, (
        SELECT {bucket("dropped_until")}
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
    SELECT {bucket("end_time")} AS hour, status, duration_bin(execution_time_seconds) AS bin,
           count(*) AS executions,
           coalesce(sum(summable(execution_time_seconds)), 0) AS seconds,
           sum(summable(total_cost)) AS cost, sum(summable(tokens_used)) AS tokens
      FROM workflow_executions
     WHERE workflow_id = $1 AND end_time >= (SELECT at FROM since) GROUP BY 1, 2, 3
), live AS (
    SELECT {bucket("hour")} AS hour, status, bin, executions, seconds, cost, tokens
      FROM execution_rollups WHERE workflow_id = $1 AND hour >= (SELECT at FROM since)
), gathered AS (
    SELECT hour, status, executions, seconds, cost, tokens, lowest_bin, counts
      FROM gathered_rollups
     WHERE workflow_id = $1 AND hour >= (SELECT at FROM since)
       AND daily = (hour < {DAILY_BEFORE})
), wrong_counts AS (
    SELECT hour, status, bin, sum(executions) AS executions
      FROM (SELECT hour, status, bin, executions FROM counted
             UNION ALL
            SELECT hour, status, bin, -executions FROM live
             UNION ALL
            SELECT hour, status, bin, -count
              FROM gathered CROSS JOIN LATERAL counts_by_bin(lowest_bin, counts)) each
     GROUP BY 1, 2, 3 HAVING sum(executions) <> 0
), sums_counted AS (
    SELECT hour, status, sum(seconds) AS seconds, sum(cost) AS cost, sum(tokens) AS tokens
      FROM counted GROUP BY 1, 2
), sums_kept AS (
    SELECT hour, status, sum(seconds) AS seconds, sum(cost) AS cost, sum(tokens) AS tokens
      FROM (SELECT hour, status, seconds, cost, tokens FROM live
             UNION ALL
            SELECT hour, status, seconds, cost, tokens FROM gathered) each
     GROUP BY 1, 2
), wrong_sums AS (
    SELECT hour, status,
           coalesce(c.seconds, 0) - coalesce(k.seconds, 0) AS seconds,
           coalesce(c.cost, 0) - coalesce(k.cost, 0) AS cost,
           coalesce(c.tokens, 0) - coalesce(k.tokens, 0) AS tokens,
           {tolerance("coalesce(c.seconds, 0)")} AS seconds_off,
           {tolerance("coalesce(c.cost, 0)")} AS cost_off,
           {tolerance("coalesce(c.tokens, 0)")} AS tokens_off
      FROM sums_counted c FULL JOIN sums_kept k USING (hour, status)
), mended AS (
    -- What only sums are short of has no bin; that of what never started tells of no duration.
    INSERT INTO execution_rollups AS kept
           (workflow_id, hour, lane, status, bin, executions, seconds, cost, tokens)
    SELECT $1, hour, (SELECT rollup_lane()), status, bin, sum(executions), sum(seconds),
           sum(cost), sum(tokens)
      FROM (SELECT hour, status, bin, executions, 0 AS seconds, 0 AS cost, 0 AS tokens
              FROM wrong_counts
             UNION ALL
            SELECT hour, status, -1, 0, seconds, cost, tokens FROM wrong_sums
             WHERE abs(seconds) > seconds_off OR abs(cost) > cost_off
                OR abs(tokens) > tokens_off) wrong
     GROUP BY hour, status, bin
    ON CONFLICT (workflow_id, hour, lane, status, bin) DO UPDATE
       SET executions = kept.executions + excluded.executions,
           seconds = kept.seconds + excluded.seconds,
           cost = kept.cost + excluded.cost,
           tokens = kept.tokens + excluded.tokens
    RETURNING 1
), nodes_counted AS (
    SELECT {bucket("e.end_time")} AS hour, s.node_id, max(s.node_type) AS node_type,
           count(*) AS runs, count(*) FILTER (WHERE s.status = 'failed') AS failures,
           sum(seconds_between(s.started_at, s.completed_at)) AS seconds,
           max(seconds_between(s.started_at, s.completed_at)) AS longest_seconds
      FROM workflow_executions e JOIN workflow_steps s USING (execution_id)
     WHERE e.workflow_id = $1 AND e.end_time >= (SELECT at FROM since)
       AND s.kind = 'finished' AND s.completed_at IS NOT NULL
       AND (s.details IS NULL OR s.details -> 'reused' IS NULL)
     GROUP BY 1, 2
), nodes_kept AS (
    SELECT {bucket("hour")} AS hour, node_id, max(node_type) AS node_type, sum(runs) AS runs,
           sum(failures) AS failures, sum(seconds) AS seconds,
           max(longest_seconds) AS longest_seconds
      FROM (SELECT hour, node_id, node_type, runs, failures, seconds, longest_seconds
              FROM node_rollups WHERE workflow_id = $1
             UNION ALL
            SELECT hour, node_id, node_type, runs, failures, seconds, longest_seconds
              FROM gathered_nodes WHERE workflow_id = $1 AND daily = (hour < {DAILY_BEFORE})) each
     WHERE hour >= (SELECT at FROM since) GROUP BY 1, 2
), nodes_wrong AS (
    SELECT hour, node_id, coalesce(c.node_type, k.node_type) AS node_type,
           coalesce(c.runs, 0) - coalesce(k.runs, 0) AS runs,
           coalesce(c.failures, 0) - coalesce(k.failures, 0) AS failures,
           coalesce(c.seconds, 0) - coalesce(k.seconds, 0) AS seconds,
           coalesce(c.longest_seconds, 0) AS longest_seconds,
           coalesce(c.longest_seconds, 0) > coalesce(k.longest_seconds, 0) AS longer,
           {tolerance("coalesce(c.seconds, 0)")} AS seconds_off
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
