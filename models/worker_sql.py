"""The SQL of workers: how one enters, lives, leaves, and what becomes of what it held.

Its one rule: all times are the database's, judged where they are written.
"""

from __future__ import annotations

from models.execution_sql import END_NOW, NEWEST_SEQ, NEXT_SEQ

LOCK_WORKER = "SELECT pg_try_advisory_lock($1)"

REGISTER = """
INSERT INTO engine_workers (worker_id, name, lease_until, lock_key, telling)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3), $4, true)
RETURNING clock_timestamp()
"""

_HEARTBEAT = """
UPDATE engine_workers
   SET heartbeat_at = clock_timestamp(), locked_at = {locked_at},
       lease_until = clock_timestamp() + make_interval(secs => $2)
 WHERE worker_id = $1 AND state = 'alive'
RETURNING clock_timestamp()
"""

HEARTBEAT = _HEARTBEAT.format(locked_at="locked_at")

HEARTBEAT_RELOCKED = _HEARTBEAT.format(locked_at="clock_timestamp()")

HEARTBEAT_UNLOCKED = _HEARTBEAT.format(locked_at="'-infinity'")

_SILENT = """
SELECT worker_id FROM engine_workers
 WHERE state = 'alive' AND worker_id <> $1
   AND CASE WHEN lease_until < clock_timestamp() THEN true
            WHEN locked_at <= pg_postmaster_start_time() THEN false
            ELSE pg_try_advisory_xact_lock(lock_key) END
"""

ANY_SILENT = f"SELECT EXISTS ({_SILENT})"

# Flushes hold the row by a lock that an UPDATE of its state alone would pass by, so that they do
# not hold up heartbeats: whoever ends a worker waits for them with FOR UPDATE.
DECLARE_DEAD = f"""
WITH silent AS MATERIALIZED ({_SILENT} ORDER BY worker_id FOR UPDATE)
UPDATE engine_workers w SET state = 'dead' FROM silent WHERE w.worker_id = silent.worker_id
RETURNING w.worker_id
"""

FAIL_POISONED = f"""
UPDATE workflow_executions e
   SET status = 'failed', worker_id = NULL, last_seq = {NEXT_SEQ},
       {END_NOW},
       error_code = 'WORKER_LOST',
       error_message = 'The worker running this execution was lost ' || recoveries + 1
                       || ' times in a row; it is not tried again.',
       error_node_id = (SELECT s.node_id FROM workflow_steps s
                         WHERE s.execution_id = e.execution_id ORDER BY seq DESC LIMIT 1)
 WHERE worker_id = ANY($1::uuid[]) AND recoveries >= $2 AND {NEWEST_SEQ} = last_seq
"""

# If it has recorded something since it was measured, a trigger leaves it unmeasured
# (`advances_need_a_measure`), and whoever takes it measures it.
FREE_ORPHANS = f"""
UPDATE workflow_executions e
   SET status = 'pending', worker_id = NULL, last_seq = {NEWEST_SEQ},
       recoveries = CASE WHEN {NEWEST_SEQ} > last_seq THEN 1 ELSE recoveries + 1 END
 WHERE worker_id = ANY($1::uuid[])
"""

RELEASE = """
UPDATE workflow_executions SET status = 'pending', worker_id = NULL, recorded_bytes = NULL
 WHERE worker_id = $1
"""

RETIRE = """
WITH retired AS MATERIALIZED (
    SELECT worker_id FROM engine_workers WHERE worker_id = $1 FOR UPDATE)
UPDATE engine_workers w SET state = 'dead' FROM retired WHERE w.worker_id = retired.worker_id
"""
