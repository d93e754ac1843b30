"""What evaluating alerts reads and writes: `alert_samples`, and the change of an alert's state.

The one rule: an evaluation is one transaction. It locks its alert's row (`SKIP LOCKED`, so no two
processes evaluate the same one, and none waits), measures, and writes the new state, the history
and the deliveries that tell of it. One that dies before the commit has done nothing; the lock goes
with it, and whoever comes next finds the same state and comes to the same verdict. So an alert
fires once.

Theory of operation
-------------------
*Samples.* The trigger that fills the outbox also writes a row for each alert that looks at an
execution which has completed or failed. They are appended only: counts kept in one row would be
waited for by every flush of the community. A window is read by the primary key,
`(alert_id, ended_at, …)`, and is a day at most; what has left it is deleted in batches.

*Time* is the database's, unless a test gives another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from models.alerts import COLUMNS, Alert, alert_of
from models.dal import AsyncDAL, Session

DUE = f"""
SELECT {COLUMNS}, coalesce($1::timestamptz, now()) AS now FROM alerts
 WHERE enabled AND due_at <= coalesce($1, now())
 ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""

NEXT_DUE = """
SELECT extract(epoch FROM min(due_at) - coalesce($1::timestamptz, now()))::float8
  FROM alerts WHERE enabled
"""

_WINDOW = """
FROM alert_samples
 WHERE alert_id = $1 AND ended_at > greatest($2::timestamptz - make_interval(secs => $3), $4)
"""

MEASURE = f"""
SELECT count(*)::int AS executions, count(*) FILTER (WHERE failed)::int AS failures,
       max(ended_at) FILTER (WHERE NOT failed) AS last_success_at
{_WINDOW}
"""

P95 = f"SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_seconds) {_WINDOW}"

EVALUATED = """
UPDATE alerts SET value = $3, executions = $4, last_success_at = $5, evaluated_at = $2,
       due_at = $2::timestamptz + make_interval(secs => $6)
 WHERE alert_id = $1
"""

# Told are the webhooks that the alert names, and those that have subscribed to alerts and may see
# what this one is about.
CHANGED = """
WITH changed AS (
    UPDATE alerts SET state = $3, state_since = $2 WHERE alert_id = $1 RETURNING *
), noted AS (
    INSERT INTO alert_history (change_id, alert_id, event, at, metric, threshold, window_seconds,
                               value, executions)
    SELECT uuid_by_time(), alert_id, $4, $2, metric, threshold, window_seconds, value, executions
      FROM changed
), told AS (
    INSERT INTO webhook_deliveries (delivery_id, webhook_id, event, alert_id, payload)
    SELECT uuid_by_time(), w.webhook_id, 'alert.' || $4, a.alert_id, $5
      FROM changed a JOIN webhooks w ON w.community_id = a.community_id AND w.enabled
     WHERE w.webhook_id = ANY (a.notify)
        OR 'alert.' || $4 = ANY (w.events)
           AND (w.workflow_id IS NULL OR w.workflow_id = a.workflow_id)
           AND (w.sees_all OR w.seen_by = a.seen_by AND NOT a.sees_all
                OR may_view_workflow(w.seen_by, a.community_id, a.workflow_id))
    RETURNING 1
)
SELECT count(*) AS told, pg_notify('webhook_deliveries', '') FROM told
"""

POSTPONE = """
UPDATE alerts SET due_at = coalesce($2::timestamptz, now()) + make_interval(secs => $3)
 WHERE alert_id = $1
"""

TRIM = """
DELETE FROM alert_samples
 WHERE ctid = ANY (ARRAY(SELECT ctid FROM alert_samples
                          WHERE alert_id = $1
                            AND ended_at <= $2::timestamptz - make_interval(secs => $3)
                          LIMIT $4))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a window holds: executions that completed or failed, how many of them failed, the 95th
    percentile of their durations in seconds (None unless it was asked for, or there are none), and
    the last success there was."""

    executions: int
    failures: int
    p95: float | None
    last_success_at: datetime | None


class Evaluation:
    """One alert, locked, at one moment (`now`)."""

    def __init__(self, tx: Session, alert: Alert, now: datetime) -> None:
        self.alert = alert
        self.now = now
        self._tx = tx

    async def measure(self, *, with_p95: bool) -> Measured:
        """What its window holds."""
        alert = self.alert
        window = (alert.alert_id, self.now, alert.condition.window_seconds, alert.counting_since)
        row = await self._tx.fetchrow(MEASURE, *window)
        assert row is not None
        p95 = await self._tx.fetchval(P95, *window) if with_p95 else None
        last = row["last_success_at"] or alert.last_success_at
        return Measured(row["executions"], row["failures"], p95, last)

    async def record(self, measured: Measured, value: float | None, again_seconds: float) -> None:
        """Writes what was found, and when to look again."""
        await self._tx.execute(
            EVALUATED,
            self.alert.alert_id,
            self.now,
            value,
            measured.executions,
            measured.last_success_at,
            again_seconds,
        )

    async def change(self, state: str, event: str, payload: str) -> int:
        """Writes the new state, its history and its deliveries; returns how many are told."""
        return int(
            await self._tx.fetchval(CHANGED, self.alert.alert_id, self.now, state, event, payload)
        )


class AlertWatch:
    """Evaluations, one at a time."""

    def __init__(self, dal: AsyncDAL, now: Callable[[], datetime] | None = None) -> None:
        self._dal = dal
        self._now = now

    @asynccontextmanager
    async def due(self) -> AsyncIterator[Evaluation | None]:
        """An alert that is due and that nobody else evaluates, in a transaction that ends with
        the block; None if there is none."""
        async with self._dal.transaction() as tx:
            row = await tx.fetchrow(DUE, self._at())
            yield None if row is None else Evaluation(tx, alert_of(row), row["now"])

    async def next_due(self) -> float | None:
        """Seconds until an alert is due; None if there is none."""
        seconds: float | None = await self._dal.fetchval(NEXT_DUE, self._at())
        return seconds

    async def postpone(self, alert: Alert, seconds: float) -> None:
        """Lets an alert that could not be evaluated wait behind the others."""
        await self._dal.execute(POSTPONE, alert.alert_id, self._at(), seconds)

    async def trim(self, alert: Alert, now: datetime, most: int) -> int:
        """Deletes at most so many samples that have left the window; returns how many."""
        window = alert.condition.window_seconds
        return await self._dal.execute(TRIM, alert.alert_id, now, window, most)

    def _at(self) -> datetime | None:
        return None if self._now is None else self._now()
