"""The tables `alerts` and `alert_history`, as their owners see them.

Its one rule: what an alert looks at begins anew when that changes. Its samples are counted from
`counting_since` on, so those gathered for something else never mix with the new.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.dal import AsyncDAL
from models.query import select
from models.turns import take_turn
from models.webhooks import Scope, newest_first, scoped
from models.workflows import After

COLUMNS = (
    "alert_id, community_id, workflow_id, metric, threshold, window_seconds, min_count, notify, "
    "created_by, seen_by, sees_all, enabled, state, state_since, value, executions, evaluated_at, "
    "counting_since, last_success_at, created_at, updated_at"
)

HISTORY_COLUMNS = (
    "change_id, alert_id, event, at, metric, threshold, window_seconds, value, executions"
)

INSERT = f"""
INSERT INTO alerts (alert_id, community_id, workflow_id, metric, threshold, window_seconds,
                    min_count, notify, created_by, seen_by, sees_all)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10
 WHERE $11 > (SELECT count(*) FROM alerts WHERE community_id = $2)
RETURNING {COLUMNS}
"""

GET = f"SELECT {COLUMNS} FROM alerts WHERE alert_id = $1"

# Changing what it looks at, or switching it off, ends a firing silently: what fired is gone.
_ANEW = """(NOT enabled OR NOT $10 OR metric <> $3 OR workflow_id IS DISTINCT FROM $2
        OR seen_by <> $8 OR sees_all <> $9)"""

UPDATE = f"""
UPDATE alerts
   SET workflow_id = $2, metric = $3, threshold = $4, window_seconds = $5, min_count = $6,
       notify = $7, seen_by = $8, sees_all = $9, enabled = $10, due_at = now(), updated_at = now(),
       counting_since = CASE WHEN {_ANEW} THEN now() ELSE counting_since END,
       last_success_at = CASE WHEN NOT {_ANEW} THEN last_success_at END,
       state_since = CASE WHEN state = 'firing' AND {_ANEW} THEN now() ELSE state_since END,
       state = CASE WHEN {_ANEW} THEN 'ok' ELSE state END,
       value = CASE WHEN NOT {_ANEW} THEN value END,
       executions = CASE WHEN NOT {_ANEW} THEN executions END
 WHERE alert_id = $1
RETURNING {COLUMNS}
"""

# Its samples and its history are cleared away by retention.
DELETE = "DELETE FROM alerts WHERE alert_id = $1"


@dataclass(frozen=True, slots=True)
class Condition:
    """When an alert fires: `metric` reaches `threshold`, of at least `min_count` executions in
    the last `window_seconds`."""

    metric: str
    threshold: float
    window_seconds: int
    min_count: int


@dataclass(frozen=True, slots=True)
class NewAlert:
    """What an alert is made of, or changed to."""

    workflow_id: str | None
    condition: Condition
    notify: tuple[str, ...]
    seen_by: int
    sees_all: bool


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert and how it stands; see `Webhook` for whose it is. `value` and `executions` are what
    was found when it was last evaluated."""

    alert_id: str
    community_id: int
    workflow_id: str | None
    condition: Condition
    notify: tuple[str, ...]
    created_by: int
    seen_by: int
    sees_all: bool
    enabled: bool
    state: str
    state_since: datetime
    value: float | None
    executions: int | None
    evaluated_at: datetime | None
    counting_since: datetime
    last_success_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """Once that an alert fired or recovered, and by what."""

    change_id: str
    alert_id: str
    event: str
    at: datetime
    metric: str
    threshold: float
    window_seconds: int
    value: float | None
    executions: int


class Alerts:
    """Reads and writes of alerts, and reads of their history."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def insert(
        self, alert_id: str, community_id: int, new: NewAlert, most: int
    ) -> Alert | None:
        """Stores a new alert; None if its community has `most` already."""
        asked = new.condition
        async with self._dal.transaction() as tx:
            await take_turn(tx, "alerts", community_id)
            row = await tx.fetchrow(
                INSERT,
                alert_id,
                community_id,
                new.workflow_id,
                asked.metric,
                asked.threshold,
                asked.window_seconds,
                asked.min_count,
                list(new.notify),
                new.seen_by,
                new.sees_all,
                most,
            )
        return None if row is None else alert_of(row)

    async def get(self, alert_id: str) -> Alert | None:
        """One alert."""
        row = await self._dal.fetchrow(GET, alert_id)
        return None if row is None else alert_of(row)

    async def update(self, alert_id: str, new: NewAlert, *, enabled: bool) -> Alert | None:
        """Changes an alert; None if it is gone."""
        asked = new.condition
        row = await self._dal.fetchrow(
            UPDATE,
            alert_id,
            new.workflow_id,
            asked.metric,
            asked.threshold,
            asked.window_seconds,
            asked.min_count,
            list(new.notify),
            new.seen_by,
            new.sees_all,
            enabled,
        )
        return None if row is None else alert_of(row)

    async def delete(self, alert_id: str) -> bool:
        """Removes an alert; False if there was none."""
        return await self._dal.execute(DELETE, alert_id) == 1

    async def page(self, scope: Scope, limit: int, after: After | None) -> list[Alert]:
        """A page of alerts, newest first."""
        table = self._dal.db.alerts
        query = select(
            self._dal.db,
            newest_first(table, table.alert_id, scoped(table, table.alert_id, scope), after),
            *[table[name] for name in COLUMNS.split(", ")],
            orderby=[~table.created_at, table.alert_id],
            limitby=(0, limit),
        )
        return [alert_of(row) for row in await self._dal.fetch(query)]

    async def history(self, alert_id: str, limit: int, after: After | None) -> list[Change]:
        """A page of an alert's changes, newest first."""
        table = self._dal.db.alert_history
        where = table.alert_id == alert_id
        if after is not None:
            same = (table.at == after.created_at) & (table.change_id > after.row_id)
            where &= (table.at < after.created_at) | same
        query = select(
            self._dal.db,
            where,
            *[table[name] for name in HISTORY_COLUMNS.split(", ")],
            orderby=[~table.at, table.change_id],
            limitby=(0, limit),
        )
        return [Change(**dict(row)) for row in await self._dal.fetch(query)]


def alert_of(row: Any) -> Alert:
    """The alert that a row of `COLUMNS` is."""
    values = {name: row[name] for name in COLUMNS.split(", ")}
    condition = Condition(
        values.pop("metric"),
        values.pop("threshold"),
        values.pop("window_seconds"),
        values.pop("min_count"),
    )
    return Alert(**{**values, "notify": tuple(values["notify"])}, condition=condition)
