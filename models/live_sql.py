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

# What has no kind is no step's record: it tells of a pause.
RECORDS = """
SELECT n.execution_id, n.seq, n.step_key, n.node_id, n.node_type, n.kind, n.status, n.attempt,
       n.started_at, n.completed_at, n.port, n.details, n.error, n.error_type, n.wake_at,
       CASE n.kind WHEN 'entered' THEN to_json(json_array_length(n.output_data))
                   WHEN 'waiting' THEN n.output_data END AS output_data
  FROM unnest($1::uuid[], $2::int[]) AS wanted(execution_id, after)
 CROSS JOIN LATERAL (
    (SELECT execution_id, seq, step_key, node_id, node_type, kind, status, attempt, started_at,
            completed_at, port, details, error, error_type, wake_at, output_data
       FROM workflow_steps s
      WHERE s.execution_id = wanted.execution_id AND s.seq > wanted.after
      ORDER BY s.seq LIMIT $3)
     UNION ALL
    (SELECT execution_id, seq, NULL, NULL, NULL, NULL, status, NULL, at,
            NULL, NULL, NULL, NULL, NULL, NULL, NULL
       FROM workflow_events v
      WHERE v.execution_id = wanted.execution_id AND v.seq > wanted.after
      ORDER BY v.seq LIMIT $3)
     ORDER BY seq LIMIT $3) n
 ORDER BY n.execution_id, n.seq
"""

AHEAD = """
SELECT seen.execution_id
  FROM unnest($1::uuid[], $2::int[]) AS seen(execution_id, seq)
  LEFT JOIN workflow_executions e USING (execution_id)
 WHERE e.execution_id IS NULL
    OR e.end_time IS NOT NULL AND e.last_seq > seen.seq
    OR EXISTS (SELECT 1 FROM workflow_steps s
                WHERE s.execution_id = seen.execution_id AND s.seq > seen.seq)
    OR EXISTS (SELECT 1 FROM workflow_events v
                WHERE v.execution_id = seen.execution_id AND v.seq > seen.seq)
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
