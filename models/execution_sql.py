"""The SQL of the execution store: every state transition of an execution, literally.

Kept apart from the code that runs it so that a reader can check the transitions against the
table's constraints on one page. `$1` is always the worker where a worker acts.
"""

from __future__ import annotations

from functools import cache

_CONTEXT_COLUMNS = (
    ("execution_id", "uuid"),
    ("workflow_id", "uuid"),
    ("workflow_version", "int"),
    ("workflow_name", "text"),
    ("community_id", "bigint"),
    ("entity_id", "bigint"),
    ("user_id", "bigint"),
    ("triggered_by", "text"),
    ("trigger_source", "text"),
    ("trigger_node_id", "text"),
    ("session_id", "text"),
    ("platform", "text"),
    ("execution_name", "text"),
    ("parent_execution_id", "uuid"),
    ("parent_step_key", "text"),
    ("retry_of", "uuid"),
    ("depth", "int"),
    ("error_workflow_id", "uuid"),
    ("input_parameters", "json"),
    ("metadata", "json"),
    ("created", "timestamptz"),
    ("max_execution_seconds", "int"),
    ("max_parallel_executions", "int"),
)

_PROGRESS_COLUMNS = (
    ("status", "text"),
    ("start_time", "timestamptz"),
    ("end_time", "timestamptz"),
    ("execution_time_seconds", "float8"),
    ("held", "bool"),
    ("wake_at", "timestamptz"),
    ("last_seq", "int"),
    ("letters_read", "int"),
    ("claims", "int"),
    ("nodes_executed", "int"),
    ("steps_completed", "int"),
    ("steps_failed", "int"),
    ("current_step", "int"),
    ("total_steps", "int"),
    ("engine_seconds", "float8"),
    ("final_variables", "json"),
    ("final_output", "json"),
    ("error_message", "text"),
    ("error_code", "text"),
    ("error_node_id", "text"),
    ("total_cost", "float8"),
    ("tokens_used", "bigint"),
    ("recorded_bytes", "bigint"),
)

_STEP_COLUMNS = (
    ("execution_id", "uuid"),
    ("seq", "int"),
    ("step_key", "text"),
    ("node_id", "text"),
    ("node_type", "text"),
    ("kind", "text"),
    ("status", "text"),
    ("attempt", "int"),
    ("started_at", "timestamptz"),
    ("completed_at", "timestamptz"),
    ("port", "text"),
    ("input_data", "json"),
    ("output_data", "json"),
    ("variables", "json"),
    ("details", "json"),
    ("error", "json"),
    ("error_type", "text"),
    ("logs", "json"),
    ("wake_at", "timestamptz"),
)

_UNSTORED = {"letters_read", "claims"}
"""What a flush brings along to decide by, and no column keeps."""

Columns = tuple[tuple[str, str], ...]


FENCE = """
fence AS MATERIALIZED (
    SELECT worker_id FROM engine_workers WHERE worker_id = $1 AND state = 'alive'
       FOR KEY SHARE)
"""


@cache
def flush(*, created: bool, steps: bool, moved: bool, wake: bool, tell: bool = False) -> str:
    """The flush statement with the parts that a batch has. Its first value is the number of live
    worker rows found: 0 means that the fence held and nothing was written. With `wake` the next
    argument is a channel, on which every worker hears that there is something to claim; with
    `tell` the last two are a channel and what those who watch hear on it."""
    parts = [FENCE]
    first = 2
    if created:
        columns = _CONTEXT_COLUMNS + _PROGRESS_COLUMNS
        parts.append(f"created AS ({_insert_executions(columns, first)})")
        first += len(columns)
    if steps:
        parts.append(f"recorded AS ({_insert_steps(first)})")
        first += len(_STEP_COLUMNS)
    if moved:
        parts.append(f"moved AS ({_move_executions(first)})")
        first += 1 + len(_PROGRESS_COLUMNS)
    result = "(SELECT count(*) FROM fence)"
    if wake:
        parts.append(f"woken AS (SELECT pg_notify(${first}, 'pending') FROM fence)")
        result += ", (SELECT count(*) FROM woken)"
        first += 1
    if tell:
        parts.append(f"told AS (SELECT pg_notify(${first}, ${first + 1}) FROM fence)")
        result += ", (SELECT count(*) FROM told)"
    return f"WITH {', '.join(parts)} SELECT {result}"


def _unnest(columns: Columns, first: int) -> str:
    arrays = ", ".join(f"${first + i}::{kind}[]" for i, (_, kind) in enumerate(columns))
    names = ", ".join(name for name, _ in columns)
    return f"unnest({arrays}) AS u({names})"


def _stored_name(name: str) -> str:
    return "worker_id" if name == "held" else name


def _value(name: str) -> str:
    return "CASE WHEN u.held THEN fence.worker_id END" if name == "held" else f"u.{name}"


_PAUSE_IS_OFF = (
    "u.status = 'paused' AND (e.pause_requested_at IS NULL OR e.cancel_requested_at IS NOT NULL)"
)
"""It was resumed, or cancelled, while it was on its way to being paused."""


def _moved_value(name: str) -> str:
    """As `_value`, but one that parks with a letter unread, or while somebody wants something
    else of it, is due at once."""
    if name == "status":
        return f"CASE WHEN {_PAUSE_IS_OFF} THEN 'waiting' ELSE u.status END"
    if name != "wake_at":
        return _value(name)
    return (
        "CASE WHEN u.status = 'waiting' AND (e.letters > u.letters_read"
        " OR e.cancel_requested_at IS NOT NULL OR e.pause_requested_at IS NOT NULL)"
        f" OR {_PAUSE_IS_OFF} THEN clock_timestamp() ELSE u.wake_at END"
    )


def _insert_executions(columns: Columns, first: int) -> str:
    stored = [name for name, _ in columns if name not in _UNSTORED]
    names = ", ".join(_stored_name(name) for name in stored)
    values = ", ".join(_value(name) for name in stored)
    return (
        f"INSERT INTO workflow_executions ({names}) SELECT {values}"
        f" FROM fence, {_unnest(columns, first)} ON CONFLICT (execution_id) DO NOTHING"
    )


def _insert_steps(first: int) -> str:
    names = ", ".join(name for name, _ in _STEP_COLUMNS)
    values = ", ".join(f"u.{name}" for name, _ in _STEP_COLUMNS)
    return (
        f"INSERT INTO workflow_steps ({names}) SELECT {values}"
        f" FROM fence, {_unnest(_STEP_COLUMNS, first)} ON CONFLICT (execution_id, seq) DO NOTHING"
    )


def _move_executions(first: int) -> str:
    columns: Columns = (("execution_id", "uuid"), *_PROGRESS_COLUMNS)
    changes = ", ".join(
        f"{_stored_name(name)} = {_moved_value(name)}"
        for name, _ in _PROGRESS_COLUMNS
        if name not in _UNSTORED
    )
    recoveries = "CASE WHEN u.status IN ('waiting', 'paused') THEN 0 ELSE e.recoveries END"
    paused = f"CASE WHEN u.status = 'paused' AND NOT ({_PAUSE_IS_OFF}) THEN clock_timestamp() END"
    return (
        f"UPDATE workflow_executions e SET {changes}, recoveries = {recoveries},"
        f" paused_at = {paused}"
        f" FROM fence, {_unnest(columns, first)}"
        " WHERE e.execution_id = u.execution_id AND e.worker_id = fence.worker_id"
        " AND e.claims = u.claims"
    )


LOAD = "SELECT * FROM workflow_executions WHERE execution_id = $1"

LOAD_STEPS = (
    "SELECT * FROM workflow_steps WHERE execution_id = ANY($1::uuid[]) ORDER BY execution_id, seq"
)

STATUS = "SELECT status FROM workflow_executions WHERE execution_id = $1"

ENDED = "SELECT status, end_time FROM workflow_executions WHERE execution_id = $1"

DEFINITION = "SELECT document FROM workflow_versions WHERE workflow_id = $1 AND version = $2"

KEPT_BYTES = """
SELECT coalesce(sum(bytes), 0)::bigint FROM community_history WHERE community_id = $1
"""

PENDING = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM workflow_executions
                               WHERE status = 'pending' AND max_parallel_executions IS NULL
                                 AND ($2::bigint IS NULL OR community_id = $2) LIMIT $1) free)
     + (SELECT count(*) FROM (SELECT 1 FROM workflow_executions
                               WHERE status = 'pending' AND max_parallel_executions IS NOT NULL
                                 AND end_time IS NULL
                                 AND ($2::bigint IS NULL OR community_id = $2) LIMIT $1) limited)
"""

LOOK = """
SELECT free.waits OR limited.waits OR coalesce(due.seconds <= 0, false) AS claimable,
       limited.waits AS limited,
       EXISTS (SELECT 1 FROM engine_workers
                WHERE state = 'alive' AND worker_id <> $1) AS company,
       EXISTS (SELECT 1 FROM live_watchers
                WHERE process_id <> $2 AND until > clock_timestamp()) AS watched,
       mine.cancel, mine.pause, mine.held, mine.letters,
       due.seconds AS next_wake,
       EXISTS (SELECT 1 FROM workflow_executions
                WHERE status = 'failed' AND error_workflow_id IS NOT NULL
                  AND NOT error_answered) AS unanswered
  FROM (SELECT EXISTS (SELECT 1 FROM workflow_executions
                        WHERE status = 'pending' AND max_parallel_executions IS NULL) AS waits
       ) free,
       (SELECT EXISTS (SELECT 1 FROM workflow_executions
                        WHERE status = 'pending' AND max_parallel_executions IS NOT NULL
                          AND end_time IS NULL) AS waits) limited,
       (SELECT extract(epoch FROM min(wake_at) - clock_timestamp())::float8 AS seconds
          FROM workflow_executions WHERE status = 'waiting' AND wake_at IS NOT NULL) due,
       (SELECT count(*) AS held,
               coalesce(array_agg(execution_id) FILTER (WHERE cancel_requested_at IS NOT NULL),
                        '{}') AS cancel,
               coalesce(array_agg(execution_id) FILTER (WHERE pause_requested_at IS NOT NULL),
                        '{}') AS pause,
               coalesce(json_object_agg(execution_id, letters) FILTER (WHERE letters > 0),
                        '{}') AS letters
          FROM workflow_executions WHERE worker_id = $1) mine
"""

HELD = "SELECT execution_id, claims FROM workflow_executions WHERE worker_id = $1"

LET_GO = """
WITH freed AS (
    UPDATE workflow_executions e
       SET status = 'pending', worker_id = NULL, recorded_bytes = NULL
      FROM unnest($2::uuid[], $3::int[]) AS held(execution_id, claims)
     WHERE e.worker_id = $1 AND e.execution_id = held.execution_id AND e.claims = held.claims
    RETURNING 1
), counted AS (
    SELECT count(*) AS executions FROM freed
), told AS (
    SELECT pg_notify($4, 'pending') FROM counted WHERE executions > 0
)
SELECT executions, (SELECT count(*) FROM told) FROM counted
"""

NEWEST_SEQ = """
greatest(last_seq, (SELECT max(seq) FROM workflow_steps s WHERE s.execution_id = e.execution_id))
"""

NEXT_SEQ = f"1 + {NEWEST_SEQ}"

# Asked once, for the clock goes on between one column and the next.
END_NOW = """
(end_time, execution_time_seconds) = (
    SELECT at, extract(epoch FROM at - start_time)
      FROM (SELECT greatest(clock_timestamp(), start_time) AS at) moment)
"""

CANCEL_UNHELD = f"""
UPDATE workflow_executions e
   SET status = 'cancelled', last_seq = {NEXT_SEQ}, wake_at = NULL, paused_at = NULL,
       cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()),
       {END_NOW}
 WHERE execution_id = $1 AND worker_id IS NULL AND status IN ('pending', 'waiting', 'paused')
RETURNING end_time
"""

REQUEST_CANCEL = """
WITH asked AS (
    UPDATE workflow_executions
       SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
     WHERE execution_id = $1 AND status = 'running' RETURNING execution_id
)
SELECT pg_notify($2, 'cancel:' || execution_id) IS NOT NULL FROM asked
"""

PAUSE = """
WITH asked AS (
    UPDATE workflow_executions
       SET pause_requested_at = coalesce(pause_requested_at, clock_timestamp()),
           status = CASE WHEN worker_id IS NULL THEN 'paused' ELSE status END,
           paused_at = CASE WHEN worker_id IS NULL
                            THEN coalesce(paused_at, clock_timestamp()) END,
           wake_at = CASE WHEN worker_id IS NULL THEN NULL ELSE wake_at END
     WHERE execution_id = $1 AND end_time IS NULL
    RETURNING execution_id, status
), told AS (
    SELECT pg_notify($2, 'pause:' || execution_id) FROM asked WHERE status = 'running'
)
SELECT status, (SELECT count(*) FROM told) FROM asked
"""

# One that had started is due rather than pending: it keeps its place among the live executions of
# a workflow that has a limit.
RESUME = """
WITH asked AS (
    UPDATE workflow_executions
       SET pause_requested_at = NULL, paused_at = NULL,
           status = CASE WHEN status <> 'paused' THEN status
                         WHEN start_time IS NULL THEN 'pending' ELSE 'waiting' END,
           wake_at = CASE WHEN status <> 'paused' THEN wake_at
                          WHEN start_time IS NOT NULL THEN clock_timestamp() END,
           paused_seconds = paused_seconds
           + CASE WHEN start_time IS NULL THEN 0
                  ELSE coalesce(greatest(extract(epoch FROM clock_timestamp() - paused_at), 0), 0)
             END
     WHERE execution_id = $1 AND end_time IS NULL
       AND (status = 'paused' OR pause_requested_at IS NOT NULL)
    RETURNING execution_id, status
), told AS (
    SELECT pg_notify($2, CASE WHEN status = 'running' THEN 'resume:' || execution_id
                              ELSE 'pending' END) FROM asked
)
SELECT status, (SELECT count(*) FROM told) FROM asked
"""

POST = """
WITH woken AS (
    UPDATE workflow_executions
       SET letters = letters + 1,
           letter_bytes = letter_bytes + octet_length($5::json::text),
           wake_at = CASE WHEN status = 'waiting' THEN clock_timestamp() ELSE wake_at END
     WHERE execution_id = $1 AND end_time IS NULL
       AND $9 > (SELECT count(*) FROM workflow_letters
                  WHERE execution_id = $1 AND kind = 'signal')
       AND NOT EXISTS (SELECT 1 FROM workflow_letters WHERE execution_id = $1 AND letter_id = $2)
    RETURNING execution_id, letters
), kept AS (
    INSERT INTO workflow_letters
           (execution_id, number, letter_id, kind, name, payload, sent_by, sent_at)
    SELECT execution_id, letters, $2, $3, $4, $5::json, $6, $7 FROM woken
    RETURNING execution_id
)
SELECT pg_notify($8, 'letter:' || execution_id) IS NOT NULL FROM kept
"""

WHY_NOT_POSTED = """
SELECT CASE WHEN EXISTS (SELECT 1 FROM workflow_letters
                          WHERE execution_id = $1 AND letter_id = $2) THEN 'known'
            WHEN end_time IS NOT NULL THEN 'ended' ELSE 'full' END
  FROM workflow_executions WHERE execution_id = $1
"""

LETTERS = """
SELECT * FROM workflow_letters WHERE execution_id = ANY($1::uuid[]) ORDER BY execution_id, number
"""

LETTERS_AFTER = """
SELECT * FROM workflow_letters WHERE execution_id = $1 AND number > $2 ORDER BY number
"""

UNANSWERED = """
SELECT * FROM workflow_executions
 WHERE status = 'failed' AND error_workflow_id IS NOT NULL AND NOT error_answered
 ORDER BY end_time LIMIT $1
"""

ANSWERED = """
UPDATE workflow_executions SET error_answered = true WHERE execution_id = ANY($1::uuid[])
"""

NOTIFY = "SELECT pg_notify($1, $2)"

ENDED_AMONG = """
SELECT execution_id FROM workflow_executions
 WHERE execution_id = ANY($1::uuid[]) AND end_time IS NOT NULL
"""
