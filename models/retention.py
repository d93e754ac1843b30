"""Dropping history: ended executions, expired idempotency keys, workers that are long gone.

The one rule: every statement is short, and none waits for a lock. What it may touch is counted
(executions, steps, keys), what somebody else has locked is left for the next time
(`SKIP LOCKED`), so that neither a flush nor another process that drops is ever in its way, nor it
in theirs.

Theory of operation
-------------------
*Finding what has ended.* There is no index on `end_time`, for every execution that ends would pay
for it. Instead each workflow's executions are walked from the oldest by `(workflow_id, created)`,
up to those young enough to be kept: none ends before it was created. What the walk meets is either
dropped, and never met again, or lives longer than the history of its workflow is kept, which few
do; a place in the walk (`Place`) makes that one round meets each of them once.

*Gone at once.* An execution's row is deleted and its id noted in `dropped_executions` by one
statement; from then on nobody finds it. Its steps and letters, of which there may be many, follow
in batches. They wait a little first (`settle_seconds`): who has just read the row still finds all
of its steps, so a retry never begins from half a journal.

*What is spared.* An execution that has not ended, however old. A failure whose error workflow was
not started yet. An execution whose parent has not ended, or is such a failure: the parent has had
its letter, but whoever looks at the parent still follows it to its children. All three conditions,
once they let an execution go, never take it back, so they need no lock on anything but its row.

*What is counted stays counted.* The roll-ups of metrics outlive the executions that they count. How
far executions have been dropped is noted with them, so that nobody counts anew what is gone.
Roll-ups that are old are gathered into days, and dropped when they are very old.

*Days* are 24 hours each, whatever the session's time zone says of its daylight saving.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from models import rollup_upkeep_sql, turns
from models.dal import AsyncDAL, bounded, cut
from models.failures import unavailable

LOCK = f"SELECT pg_try_advisory_lock({turns.JOBS}, {turns.RETENTION})"

# A workflow that was deleted by hand still has executions: so the ids are those that executions
# have, found by skipping along the index from one to the next.
POLICIES = """
WITH RECURSIVE known (workflow_id, place) AS (
    (SELECT workflow_id, 1 FROM workflow_executions
      WHERE workflow_id > $1 ORDER BY workflow_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.workflow_id FROM workflow_executions e
             WHERE e.workflow_id > known.workflow_id ORDER BY e.workflow_id LIMIT 1), place + 1
      FROM known WHERE workflow_id IS NOT NULL AND place < $2
), kept AS (
    SELECT known.workflow_id, coalesce((v.document ->> 'retention_days')::int, $3) AS days
      FROM known
      LEFT JOIN workflows w ON w.workflow_id = known.workflow_id
      LEFT JOIN workflow_versions v
             ON v.workflow_id = w.workflow_id AND v.version = w.published_version
     WHERE known.workflow_id IS NOT NULL
)
SELECT workflow_id, days,
       EXISTS (SELECT 1 FROM workflow_executions e
                WHERE e.workflow_id = kept.workflow_id
                  AND e.created < now() - kept.days * interval '24 hours') AS old
  FROM kept ORDER BY workflow_id
"""

DROP = """
WITH walked AS MATERIALIZED (
    SELECT created, execution_id FROM workflow_executions
     WHERE workflow_id = $1 AND created < now() - $2::int * interval '24 hours'
       AND (created, execution_id) > ($3, $4)
     ORDER BY created, execution_id LIMIT $5
), picked AS (
    SELECT e.execution_id FROM workflow_executions e
     WHERE e.execution_id = ANY (ARRAY(SELECT execution_id FROM walked))
       AND e.end_time < now() - $2::int * interval '24 hours'
       AND NOT (e.status = 'failed' AND e.error_workflow_id IS NOT NULL AND NOT e.error_answered)
       AND NOT EXISTS (
           SELECT 1 FROM workflow_executions p
            WHERE p.execution_id = e.parent_execution_id
              AND (p.end_time IS NULL
                   OR p.status = 'failed' AND p.error_workflow_id IS NOT NULL
                      AND NOT p.error_answered))
       FOR UPDATE OF e SKIP LOCKED
), gone AS (
    DELETE FROM workflow_executions e USING picked
     WHERE e.execution_id = picked.execution_id RETURNING e.execution_id, e.end_time
), noted AS (
    INSERT INTO dropped_executions (execution_id) SELECT execution_id FROM gone
), bounded AS (
    INSERT INTO rollup_horizons AS known (workflow_id, dropped_until)
    SELECT $1, max(end_time) FROM gone HAVING count(*) > 0
    ON CONFLICT (workflow_id) DO UPDATE
       SET dropped_until = greatest(known.dropped_until, excluded.dropped_until)
)
SELECT created, execution_id, (SELECT count(*) FROM walked) AS walked,
       (SELECT count(*) FROM gone) AS dropped
  FROM walked ORDER BY created DESC, execution_id DESC LIMIT 1
"""

# An id leaves the list with the last batch of what hangs on it: fewer rows found than were asked
# for means that there are no more. Found, not deleted: a statement that began while another one was
# clearing the same ids still sees rows that are gone by the time it has their lock.
CLEAR = """
WITH doomed AS MATERIALIZED (
    SELECT ctid AS row, execution_id FROM dropped_executions
     WHERE dropped_at <= now() - make_interval(secs => $1)
     ORDER BY dropped_at, execution_id LIMIT $2 FOR UPDATE SKIP LOCKED
), found AS MATERIALIZED (
    SELECT ARRAY(SELECT s.ctid FROM workflow_steps s
                  WHERE s.execution_id = ANY (ARRAY(SELECT execution_id FROM doomed))
                  LIMIT $3) AS steps,
           ARRAY(SELECT l.ctid FROM workflow_letters l
                  WHERE l.execution_id = ANY (ARRAY(SELECT execution_id FROM doomed))
                  LIMIT $3) AS letters,
           ARRAY(SELECT v.ctid FROM workflow_events v
                  WHERE v.execution_id = ANY (ARRAY(SELECT execution_id FROM doomed))
                  LIMIT $3) AS events
), steps AS (
    DELETE FROM workflow_steps WHERE ctid = ANY ((SELECT steps FROM found)::tid[]) RETURNING 1
), letters AS (
    DELETE FROM workflow_letters WHERE ctid = ANY ((SELECT letters FROM found)::tid[]) RETURNING 1
), events AS (
    DELETE FROM workflow_events WHERE ctid = ANY ((SELECT events FROM found)::tid[])
), done AS (
    DELETE FROM dropped_executions
     WHERE ctid = ANY (ARRAY(SELECT row FROM doomed))
       AND (SELECT greatest(cardinality(steps), cardinality(letters), cardinality(events)) < $3
              FROM found)
)
SELECT (SELECT count(*) FROM steps) AS steps, (SELECT count(*) FROM letters) AS letters,
       greatest(cardinality(steps), cardinality(letters), cardinality(events)) = $3
       OR (SELECT count(*) FROM doomed) = $2 AS more
  FROM found
"""

EXPIRED_KEYS = """
DELETE FROM idempotency_keys
 WHERE ctid = ANY (ARRAY(SELECT ctid FROM idempotency_keys
                          WHERE created_at < now() - interval '24 hours'
                          ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED))
"""

# Without its row a worker that comes back is as fenced as with a dead one: it finds none alive.
DEAD_WORKERS = """
DELETE FROM engine_workers
 WHERE worker_id = ANY (ARRAY(
     SELECT worker_id FROM engine_workers w
      WHERE state = 'dead' AND greatest(heartbeat_at, lease_until) < now() - interval '24 hours'
        AND NOT EXISTS (SELECT 1 FROM workflow_executions e WHERE e.worker_id = w.worker_id)
      LIMIT $1 FOR UPDATE SKIP LOCKED))
"""

OLD_DELIVERIES = """
DELETE FROM webhook_deliveries
 WHERE ctid = ANY (ARRAY(SELECT ctid FROM webhook_deliveries
                          WHERE settled_at < now() - $2::int * interval '24 hours'
                          ORDER BY settled_at LIMIT $1 FOR UPDATE SKIP LOCKED))
"""

OLD_CHANGES = """
DELETE FROM alert_history
 WHERE ctid = ANY (ARRAY(SELECT ctid FROM alert_history
                          WHERE at < now() - $2::int * interval '24 hours'
                          ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED))
"""

# Samples of alerts that are gone, and those of the disabled, which nobody trims: longer than any
# window is more than enough. Alerts are found by skipping from one to the next.
OLD_SAMPLES = """
WITH RECURSIVE known (alert_id) AS (
    (SELECT alert_id FROM alert_samples ORDER BY alert_id LIMIT 1)
    UNION ALL
    SELECT (SELECT s.alert_id FROM alert_samples s
             WHERE s.alert_id > known.alert_id ORDER BY s.alert_id LIMIT 1)
      FROM known WHERE alert_id IS NOT NULL
), doomed AS (
    SELECT s.ctid AS row FROM known
      LEFT JOIN alerts a ON a.alert_id = known.alert_id
     CROSS JOIN LATERAL (
           SELECT ctid FROM alert_samples s
            WHERE s.alert_id = known.alert_id
              AND s.ended_at < CASE WHEN a.alert_id IS NULL THEN 'infinity'
                                    ELSE now() - interval '25 hours' END
            LIMIT $1) s
     WHERE known.alert_id IS NOT NULL LIMIT $1
)
DELETE FROM alert_samples WHERE ctid = ANY (ARRAY(SELECT row FROM doomed))
"""

_ROLLUPS_AT_ONCE = 5_000
_BEFORE_ALL = "00000000-0000-0000-0000-000000000000"
_WORKFLOWS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Batch:
    """The most that one statement touches. `executions` are walked or cleared, `rows` deleted of
    each table that hangs on them. A step may hold a megabyte, so a thousand are many."""

    executions: int = 100
    rows: int = 1_000


@dataclass(frozen=True, slots=True)
class Policy:
    """How long the executions of a workflow are kept after their end."""

    workflow_id: str
    days: int


@dataclass(frozen=True, slots=True)
class Place:
    """How far the walk through a workflow's executions has come: the last one met."""

    created: datetime = datetime(1, 1, 1, tzinfo=UTC)
    execution_id: str = _BEFORE_ALL


@dataclass(frozen=True, slots=True)
class Walked:
    """What one batch of the walk did. `onward` is None at the end of the walk."""

    dropped: int
    onward: Place | None


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was cleared away of dropped executions; `more` if there is more of it by now."""

    steps: int
    letters: int
    more: bool


class History:
    """What retention deletes, a batch at a time."""

    def __init__(self, dal: AsyncDAL, batch: Batch | None = None, timeout: float = 10.0) -> None:
        self._dal = dal
        self._batch = batch or Batch()
        self._timeout = timeout

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[bool]:
        """Whether this process is the one that drops, for as long as the block runs. The lock is
        that of a connection of its own: it goes with its process, and takes none of the pool's.
        Should it break, another process may begin as well; `SKIP LOCKED`, and turns where rows are
        gathered, make that harmless."""
        connection = await self._dal.connect()
        try:
            yield await self._first(connection)
        finally:
            try:
                await connection.close(timeout=self._timeout)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                cut(connection)  # it was broken already, and with it the lock

    async def _first(self, connection: asyncpg.Connection) -> bool:
        try:
            return bool(await bounded(connection, connection.fetchval(LOCK), self._timeout))
        except Exception as error:
            failure = unavailable(error)
            if failure is not None:
                raise failure from error
            raise

    async def policies(self, default_days: int | None) -> AsyncGenerator[Policy, None]:
        """The workflows that have executions old enough to be looked at; the retention of a
        workflow's published version goes before `default_days`, None keeps them for ever."""
        after = _BEFORE_ALL
        while True:
            rows = await self._dal.fetch(POLICIES, after, _WORKFLOWS_AT_ONCE, default_days)
            for row in rows:
                if row["old"]:
                    yield Policy(row["workflow_id"], row["days"])
            if len(rows) < _WORKFLOWS_AT_ONCE:
                return
            after = rows[-1]["workflow_id"]

    async def drop(self, policy: Policy, place: Place) -> Walked:
        """Walks one batch on from `place` and drops what may go of it."""
        most = self._batch.executions
        row = await self._dal.fetchrow(
            DROP, policy.workflow_id, policy.days, place.created, place.execution_id, most
        )
        if row is None:
            return Walked(0, None)
        onward = Place(row["created"], row["execution_id"]) if row["walked"] == most else None
        return Walked(row["dropped"], onward)

    async def clear(self, settle_seconds: float) -> Cleared:
        """Clears away one batch of what hung on executions dropped `settle_seconds` ago."""
        row = await self._dal.fetchrow(
            CLEAR, settle_seconds, self._batch.executions, self._batch.rows
        )
        assert row is not None
        return Cleared(row["steps"], row["letters"], row["more"])

    async def drop_expired_keys(self) -> int:
        """Drops one batch of idempotency keys that have expired; returns how many."""
        return await self._dal.execute(EXPIRED_KEYS, self._batch.rows)

    async def drop_dead_workers(self) -> int:
        """Drops one batch of workers dead for a day that hold nothing; returns how many."""
        return await self._dal.execute(DEAD_WORKERS, self._batch.rows)

    async def drop_old_deliveries(self, days: int) -> int:
        """Drops one batch of deliveries of webhooks settled so long ago; returns how many."""
        return await self._dal.execute(OLD_DELIVERIES, self._batch.rows, days)

    async def drop_old_changes(self, days: int) -> int:
        """Drops one batch of what alerts did so long ago; returns how many."""
        return await self._dal.execute(OLD_CHANGES, self._batch.rows, days)

    async def drop_old_samples(self) -> int:
        """Drops one batch of samples that no alert looks at any more; returns how many."""
        return await self._dal.execute(OLD_SAMPLES, self._batch.rows)

    async def compact_rollups(self) -> int:
        """Gathers one batch of roll-ups of hours that are over; returns how many rows went."""
        return sum(
            [await self._dal.fetchval(each, _ROLLUPS_AT_ONCE) for each in rollup_upkeep_sql.COMPACT]
        )

    async def drop_old_rollups(self) -> int:
        """Drops one batch of roll-ups that are too old; returns how many."""
        return int(await self._dal.fetchval(rollup_upkeep_sql.DROP_OLD, _ROLLUPS_AT_ONCE))
