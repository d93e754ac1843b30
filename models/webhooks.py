"""The table `webhooks`, and the deliveries as their owners see them.

Its one rule: a secret goes in and is not read here; only the outbox reads it, to sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.dal import AsyncDAL
from models.query import select
from models.turns import take_turn
from models.workflows import After

COLUMNS = (
    "webhook_id, community_id, workflow_id, url, events, old_secret_until, created_by, seen_by, "
    "sees_all, enabled, disabled_reason, disabled_at, failing_since, created_at, updated_at"
)

DELIVERY_COLUMNS = (
    "delivery_id, webhook_id, event, execution_id, alert_id, payload, status, attempts, "
    "created_at, due_at, first_attempt_at, last_attempt_at, settled_at, response_status, "
    "response_body, error, duration_seconds"
)

INSERT = f"""
INSERT INTO webhooks (webhook_id, community_id, workflow_id, url, events, secret, created_by,
                      seen_by, sees_all)
SELECT $1, $2, $3, $4, $5, $6, $7, $7, $8
 WHERE $9 > (SELECT count(*) FROM webhooks WHERE community_id = $2)
RETURNING {COLUMNS}
"""

GET = f"SELECT {COLUMNS} FROM webhooks WHERE webhook_id = $1"

AMONG = f"SELECT {COLUMNS} FROM webhooks WHERE webhook_id = ANY ($1::uuid[])"

UPDATE = f"""
UPDATE webhooks
   SET url = $2, events = $3, workflow_id = $4, seen_by = $5, sees_all = $6, enabled = $7,
       disabled_reason = CASE WHEN NOT $7 THEN coalesce(disabled_reason, $8) END,
       disabled_at = CASE WHEN NOT $7 THEN coalesce(disabled_at, now()) END,
       failing_since = CASE WHEN enabled THEN failing_since END,
       updated_at = now()
 WHERE webhook_id = $1
RETURNING {COLUMNS}
"""

ROTATE = f"""
UPDATE webhooks
   SET secret = $2, old_secret = CASE WHEN $3::int > 0 THEN secret END,
       old_secret_until = CASE WHEN $3 > 0 THEN now() + make_interval(secs => $3) END,
       updated_at = now()
 WHERE webhook_id = $1
RETURNING {COLUMNS}
"""

# What it has been sent is out of reach from now on, and is cleared away with what is old.
DELETE = "DELETE FROM webhooks WHERE webhook_id = $1"

GET_DELIVERY = f"SELECT {DELIVERY_COLUMNS} FROM webhook_deliveries WHERE delivery_id = $1"

REPLAY = f"""
WITH again AS (
    UPDATE webhook_deliveries
       SET status = 'pending', attempts = 0, due_at = now(), settled_at = NULL,
           first_attempt_at = NULL
     WHERE delivery_id = $1 AND status <> 'pending'
    RETURNING {DELIVERY_COLUMNS}
), told AS (
    SELECT pg_notify('webhook_deliveries', '') FROM again
)
SELECT again.*, (SELECT count(*) FROM told) AS told FROM again
"""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook without its secrets. `seen_by` is through whose eyes it looks, `sees_all` if it is
    told of everything; `workflow_id` None stands for the whole community."""

    webhook_id: str
    community_id: int
    workflow_id: str | None
    url: str
    events: tuple[str, ...]
    old_secret_until: datetime | None
    created_by: int
    seen_by: int
    sees_all: bool
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """What a webhook is made of, or changed to."""

    url: str
    events: tuple[str, ...]
    workflow_id: str | None
    seen_by: int
    sees_all: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery and what became of it; `due_at` is the next try, None once it is settled."""

    delivery_id: str
    webhook_id: str
    event: str
    execution_id: str | None
    alert_id: str | None
    payload: str
    status: str
    attempts: int
    created_at: datetime
    due_at: datetime | None
    first_attempt_at: datetime | None
    last_attempt_at: datetime | None
    settled_at: datetime | None
    response_status: int | None
    response_body: str | None
    error: str | None
    duration_seconds: float | None


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows of a list: of one community and workflow, or of one user, or all."""

    community_id: int | None = None
    workflow_id: str | None = None
    seen_by: int | None = None


class Webhooks:
    """Reads and writes of webhooks, and reads of their deliveries."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def insert(
        self, webhook_id: str, community_id: int, new: NewWebhook, secret: str, most: int
    ) -> Webhook | None:
        """Stores a new webhook; None if its community has `most` already."""
        async with self._dal.transaction() as tx:
            # Whoever ends an execution looks at every webhook of its community, so there is a
            # limit, which those who make one count by one at a time.
            await take_turn(tx, "webhooks", community_id)
            row = await tx.fetchrow(
                INSERT,
                webhook_id,
                community_id,
                new.workflow_id,
                new.url,
                list(new.events),
                secret,
                new.seen_by,
                new.sees_all,
                most,
            )
        return None if row is None else _webhook(row)

    async def get(self, webhook_id: str) -> Webhook | None:
        """One webhook."""
        row = await self._dal.fetchrow(GET, webhook_id)
        return None if row is None else _webhook(row)

    async def among(self, webhook_ids: list[str]) -> list[Webhook]:
        """Those of these that there are."""
        return [_webhook(row) for row in await self._dal.fetch(AMONG, webhook_ids)]

    async def update(
        self, webhook_id: str, new: NewWebhook, *, enabled: bool, why_not: str
    ) -> Webhook | None:
        """Changes a webhook; None if it is gone. `why_not` is the reason if this disables it."""
        row = await self._dal.fetchrow(
            UPDATE,
            webhook_id,
            new.url,
            list(new.events),
            new.workflow_id,
            new.seen_by,
            new.sees_all,
            enabled,
            why_not,
        )
        return None if row is None else _webhook(row)

    async def rotate(self, webhook_id: str, secret: str, overlap_seconds: int) -> Webhook | None:
        """Gives it a new secret; the old one also signs for so long. None if it is gone."""
        row = await self._dal.fetchrow(ROTATE, webhook_id, secret, overlap_seconds)
        return None if row is None else _webhook(row)

    async def delete(self, webhook_id: str) -> bool:
        """Removes a webhook; False if there was none."""
        return await self._dal.execute(DELETE, webhook_id) == 1

    async def page(self, scope: Scope, limit: int, after: After | None) -> list[Webhook]:
        """A page of webhooks, newest first."""
        table = self._dal.db.webhooks
        query = select(
            self._dal.db,
            newest_first(table, table.webhook_id, scoped(table, table.webhook_id, scope), after),
            *[table[name] for name in COLUMNS.split(", ")],
            orderby=[~table.created_at, table.webhook_id],
            limitby=(0, limit),
        )
        return [_webhook(row) for row in await self._dal.fetch(query)]

    async def delivery(self, delivery_id: str) -> Delivery | None:
        """One delivery."""
        row = await self._dal.fetchrow(GET_DELIVERY, delivery_id)
        return None if row is None else Delivery(**dict(row))

    async def deliveries(
        self, webhook_id: str, status: str | None, limit: int, after: After | None
    ) -> list[Delivery]:
        """A page of a webhook's deliveries, newest first."""
        table = self._dal.db.webhook_deliveries
        where = table.webhook_id == webhook_id
        if status is not None:
            where &= table.status == status
        query = select(
            self._dal.db,
            newest_first(table, table.delivery_id, where, after),
            *[table[name] for name in DELIVERY_COLUMNS.split(", ")],
            orderby=[~table.created_at, table.delivery_id],
            limitby=(0, limit),
        )
        return [Delivery(**dict(row)) for row in await self._dal.fetch(query)]

    async def replay(self, delivery_id: str) -> Delivery | None:
        """Lets a settled delivery be tried anew, from the first try; None if it is not settled."""
        row = await self._dal.fetchrow(REPLAY, delivery_id)
        if row is None:
            return None
        return Delivery(**{name: row[name] for name in DELIVERY_COLUMNS.split(", ")})


def scoped(table: Any, key: Any, scope: Scope) -> Any:
    """The pyDAL condition of a scope on a table with its columns."""
    where = key != None  # noqa: E711 - pyDAL's IS NOT NULL
    if scope.community_id is not None:
        where = table.community_id == scope.community_id
    if scope.workflow_id is not None:
        where &= table.workflow_id == scope.workflow_id
    if scope.seen_by is not None:
        where &= table.seen_by == scope.seen_by
    return where


def newest_first(table: Any, key: Any, where: Any, after: After | None) -> Any:
    """`where`, and behind `after` in the order of `created_at` downwards, then of the key."""
    if after is None:
        return where
    same = (table.created_at == after.created_at) & (key > after.row_id)
    return where & ((table.created_at < after.created_at) | same)


def _webhook(row: Any) -> Webhook:
    values = dict(row)
    return Webhook(**{**values, "events": tuple(values["events"])})
