"""The SQL of live updates: what of an execution its events need, and who watches.

Its one rule: an event's values are small. Inputs, outputs and variables are not read here; of a
loop only how many items it has, of a wait only what it waits for.
"""

from __future__ import annotations

CHANNEL = "workflow_live"
"""The NOTIFY channel of those who watch."""

HEADS = """
SELECT execution_id, workflow_id, workflow_version, community_id, user_id, trigger_source,
       trigger_node_id, session_id, created, status, end_time, last_seq
  FROM workflow_executions WHERE execution_id = ANY($1::uuid[])
"""

RECORDS = """
SELECT s.execution_id, s.seq, s.step_key, s.node_id, s.node_type, s.kind, s.status, s.attempt,
       s.started_at, s.completed_at, s.port, s.details, s.error, s.error_type, s.wake_at,
       CASE s.kind WHEN 'entered' THEN to_json(json_array_length(s.output_data))
                   WHEN 'waiting' THEN s.output_data END AS output_data
  FROM unnest($1::uuid[], $2::int[]) AS wanted(execution_id, after)
 CROSS JOIN LATERAL (
    SELECT * FROM workflow_steps one
     WHERE one.execution_id = wanted.execution_id AND one.seq > wanted.after
     ORDER BY one.seq LIMIT $3) s
 ORDER BY s.execution_id, s.seq
"""

AHEAD = """
SELECT seen.execution_id
  FROM unnest($1::uuid[], $2::int[]) AS seen(execution_id, seq)
  LEFT JOIN workflow_executions e USING (execution_id)
 WHERE e.execution_id IS NULL
    OR e.end_time IS NOT NULL AND e.last_seq > seen.seq
    OR EXISTS (SELECT 1 FROM workflow_steps s
                WHERE s.execution_id = seen.execution_id AND s.seq > seen.seq)
"""

WATCH = """
WITH mine AS (
    INSERT INTO live_watchers (process_id, until)
    VALUES ($1, clock_timestamp() + make_interval(secs => $2))
    ON CONFLICT (process_id) DO UPDATE SET until = excluded.until
    RETURNING process_id
)
SELECT pg_notify($3, 'watch') IS NOT NULL FROM mine WHERE $4
"""

UNWATCH = """
DELETE FROM live_watchers WHERE process_id = $1 OR until < clock_timestamp()
"""

ALL_TELL = """
SELECT NOT EXISTS (SELECT 1 FROM engine_workers
                    WHERE state = 'alive' AND NOT telling AND worker_id <> ALL ($1::uuid[]))
"""

TELL = "UPDATE engine_workers SET telling = $2 WHERE worker_id = $1 AND state = 'alive'"
