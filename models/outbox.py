"""The outbox: deliveries are claimed from `webhook_deliveries`, and what became of a try is written
there. The trigger of migration 8 fills it.

The one rule: a try is known by its number. Claiming a delivery adds one to `claims` and leases it
by moving `due_at` on; what a try found is recorded only while its number is still the latest. So a
process that dies between sending and recording is followed by another try with the same id, and
one that wakes up late changes nothing.

Theory of operation
-------------------
*Fair between webhooks.* The claim does not take the oldest rows, of which a receiver that hangs may
have thousands. It walks from one webhook that has something waiting to the next, by the index
`(webhook_id, due_at)`, and takes of each no more than it may still have under way. The walk is
bounded and goes on next time where it ended.

*No two at once.* `FOR UPDATE SKIP LOCKED` keeps two claims apart, the lease two tries. A try ends
well within its lease, or does not begin.

*Disabling* is part of recording a failure: by `410 Gone` at once; else when a delivery has used up
its tries and nothing has succeeded since its first one, or when nothing has for a day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.dal import AsyncDAL

CHANNEL = "webhook_deliveries"
NOBODY = "00000000-0000-0000-0000-000000000000"
MOST_WALKED = 200
"""How many webhooks one claim looks at."""
FAILING_SECONDS = 86_400
"""A webhook that nothing reached for so long is disabled."""

CLAIM = """
WITH RECURSIVE waiting (webhook_id, place) AS (
    (SELECT webhook_id, 1 FROM webhook_deliveries
      WHERE status = 'pending' AND webhook_id > $2 ORDER BY webhook_id LIMIT 1)
    UNION ALL
    SELECT (SELECT d.webhook_id FROM webhook_deliveries d
             WHERE d.status = 'pending' AND d.webhook_id > waiting.webhook_id
             ORDER BY d.webhook_id LIMIT 1), place + 1
      FROM waiting WHERE webhook_id IS NOT NULL AND place < $3
), picked AS MATERIALIZED (
    SELECT due.delivery_id, due.last_attempt_at
      FROM waiting
      LEFT JOIN unnest($4::uuid[], $5::int[]) AS busy(webhook_id, tries)
             ON busy.webhook_id = waiting.webhook_id
     CROSS JOIN LATERAL (
           SELECT d.delivery_id, d.last_attempt_at FROM webhook_deliveries d
            WHERE d.status = 'pending' AND d.webhook_id = waiting.webhook_id
              AND d.due_at <= coalesce($1::timestamptz, now())
            ORDER BY d.due_at LIMIT greatest($6 - coalesce(busy.tries, 0), 0)
              FOR UPDATE SKIP LOCKED) due
     ORDER BY waiting.place LIMIT $7
), claimed AS (
    UPDATE webhook_deliveries d
       SET attempts = d.attempts + 1, claims = d.claims + 1,
           due_at = coalesce($1, now()) + make_interval(secs => $8),
           last_attempt_at = coalesce($1, now()),
           first_attempt_at = coalesce(d.first_attempt_at, $1, now())
      FROM picked WHERE d.delivery_id = picked.delivery_id
    RETURNING d.delivery_id, d.webhook_id, d.event, d.payload, d.attempts,
              d.claims, picked.last_attempt_at AS tried_at
)
SELECT claimed.*, w.url, w.enabled, w.secret,
       CASE WHEN w.old_secret_until > coalesce($1, now()) THEN w.old_secret END AS old_secret,
       walk.onward, walk.next_due
  FROM (SELECT (SELECT webhook_id FROM waiting WHERE place = $3) AS onward,
               (SELECT extract(epoch FROM min(due_at) - coalesce($1, now()))::float8
                  FROM webhook_deliveries WHERE status = 'pending') AS next_due) walk
  LEFT JOIN claimed ON true
  LEFT JOIN webhooks w ON w.webhook_id = claimed.webhook_id
 ORDER BY claimed.webhook_id
"""

DELIVERED = """
WITH settled AS (
    UPDATE webhook_deliveries
       SET status = 'delivered', due_at = NULL, settled_at = coalesce($1::timestamptz, now()),
           response_status = $4, response_body = $5, error = NULL, duration_seconds = $6
     WHERE delivery_id = $2 AND claims = $3 AND status = 'pending'
    RETURNING webhook_id
)
UPDATE webhooks w SET failing_since = NULL
  FROM settled WHERE w.webhook_id = settled.webhook_id AND w.failing_since IS NOT NULL
"""

FAILED = """
WITH tried AS (
    UPDATE webhook_deliveries
       SET status = CASE WHEN $8::float8 IS NULL THEN 'failed' ELSE 'pending' END,
           due_at = coalesce($1::timestamptz, now()) + make_interval(secs => $8),
           settled_at = CASE WHEN $8 IS NULL THEN coalesce($1, now()) END,
           response_status = $4, response_body = $5, duration_seconds = $6, error = $7
     WHERE delivery_id = $2 AND claims = $3 AND status = 'pending'
    RETURNING webhook_id, status, first_attempt_at, last_attempt_at
), judged AS (
    SELECT w.webhook_id, coalesce(w.failing_since, tried.last_attempt_at) AS since,
           CASE WHEN $9 THEN 'The receiver answered 410 Gone.'
                WHEN tried.status = 'failed'
                     AND coalesce(w.failing_since, tried.last_attempt_at)
                         <= tried.first_attempt_at
                THEN 'Every try of a delivery failed, and nothing else succeeded meanwhile.'
                WHEN w.failing_since
                     <= coalesce($1, now()) - make_interval(secs => $10)
                THEN 'Nothing was delivered for a day.' END AS reason
      FROM tried JOIN webhooks w ON w.webhook_id = tried.webhook_id
     WHERE w.enabled
)
UPDATE webhooks w
   SET failing_since = judged.since, enabled = judged.reason IS NULL,
       disabled_reason = judged.reason,
       disabled_at = CASE WHEN judged.reason IS NOT NULL THEN coalesce($1, now()) END
  FROM judged
 WHERE w.webhook_id = judged.webhook_id AND w.enabled
   AND (w.failing_since IS NULL OR judged.reason IS NOT NULL)
RETURNING w.webhook_id, w.community_id, w.disabled_reason
"""

# Nothing was sent: the try does not count.
LEFT = """
UPDATE webhook_deliveries
   SET status = 'failed', due_at = NULL, settled_at = coalesce($1::timestamptz, now()),
       attempts = attempts - 1, error = $4, last_attempt_at = $5,
       first_attempt_at = CASE WHEN attempts > 1 THEN first_attempt_at END
 WHERE delivery_id = $2 AND claims = $3 AND status = 'pending'
"""

DROP = "DELETE FROM webhook_deliveries WHERE delivery_id = $1 AND claims = $2"


@dataclass(frozen=True, slots=True)
class Room:
    """What a process may still have under way: `free` tries in all, `each` of one webhook, whose
    `busy` ones are counted. `after` is where the walk goes on."""

    free: int
    each: int
    busy: Mapping[str, int]
    after: str = NOBODY


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery to be tried. `url` is None if its webhook is gone; `secrets` sign, the newest
    first. `attempt` counts tries since it was made or replayed, `claim` since it was made."""

    delivery_id: str
    webhook_id: str
    event: str
    payload: str
    attempt: int
    claim: int
    url: str | None
    enabled: bool
    secrets: tuple[str, ...]
    tried_at: datetime | None
    """When it was tried last before this."""


@dataclass(frozen=True, slots=True)
class Harvest:
    """What a claim gave. `onward` is where the next walk begins; `next_due` are the seconds until
    something is due, None if nothing waits."""

    claimed: list[Claimed]
    onward: str
    next_due: float | None


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a try. `error` None means that it was delivered; `retry_seconds` None that it
    will not be tried again; `gone` that the receiver wants nothing more."""

    error: str | None
    response_status: int | None = None
    response_body: str | None = None
    duration_seconds: float | None = None
    retry_seconds: float | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Disabled:
    """A webhook that was disabled just now."""

    webhook_id: str
    community_id: int
    reason: str


class Outbox:
    """Claims and records. The database's clock counts unless a test gives another `now`."""

    def __init__(
        self, dal: AsyncDAL, *, lease_seconds: float, now: Callable[[], datetime] | None = None
    ) -> None:
        self._dal = dal
        self._lease_seconds = lease_seconds
        self._now = now

    async def listen(self, due: Callable[[str], None]) -> None:
        """Calls `due` when a process hints that something may be due."""
        await self._dal.listen(CHANNEL, due)

    async def claim(self, room: Room) -> Harvest:
        """Takes what is due and has room, and leases it."""
        rows = await self._dal.fetch(
            CLAIM,
            self._at(),
            room.after,
            MOST_WALKED,
            list(room.busy),
            list(room.busy.values()),
            room.each,
            room.free,
            self._lease_seconds,
        )
        claimed = [_claimed(row) for row in rows if row["delivery_id"] is not None]
        onward = rows[0]["onward"] or NOBODY
        if len(claimed) == room.free:
            onward = claimed[-1].webhook_id
        return Harvest(claimed, onward, rows[0]["next_due"])

    async def delivered(self, one: Claimed, trial: Trial) -> None:
        """Records that a try succeeded."""
        await self._dal.execute(
            DELIVERED,
            self._at(),
            one.delivery_id,
            one.claim,
            trial.response_status,
            trial.response_body,
            trial.duration_seconds,
        )

    async def failed(self, one: Claimed, trial: Trial) -> Disabled | None:
        """Records that a try failed; the webhook, if that disabled it."""
        row = await self._dal.fetchrow(
            FAILED,
            self._at(),
            one.delivery_id,
            one.claim,
            trial.response_status,
            trial.response_body,
            trial.duration_seconds,
            trial.error,
            trial.retry_seconds,
            trial.gone,
            FAILING_SECONDS,
        )
        if row is None or row["disabled_reason"] is None:
            return None
        return Disabled(row["webhook_id"], row["community_id"], row["disabled_reason"])

    async def leave(self, one: Claimed, why: str) -> None:
        """Gives a delivery up without having sent it."""
        left = (self._at(), one.delivery_id, one.claim, why, one.tried_at)
        await self._dal.execute(LEFT, *left)

    async def drop(self, one: Claimed) -> None:
        """Removes a delivery whose webhook is gone."""
        await self._dal.execute(DROP, one.delivery_id, one.claim)

    def _at(self) -> datetime | None:
        return None if self._now is None else self._now()


def _claimed(row: Any) -> Claimed:
    secrets = tuple(each for each in (row["secret"], row["old_secret"]) if each is not None)
    return Claimed(
        delivery_id=row["delivery_id"],
        webhook_id=row["webhook_id"],
        event=row["event"],
        payload=row["payload"],
        attempt=row["attempts"],
        claim=row["claims"],
        url=row["url"],
        enabled=bool(row["enabled"]),
        tried_at=row["tried_at"],
        secrets=secrets,
    )
