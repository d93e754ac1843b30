"""Webhooks in the tables at once, and what stands there of their deliveries."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from models.dal import AsyncDAL
from models.webhooks import NewWebhook, Webhook, Webhooks
from services.clock import new_id
from tests.waiting import until

SECRET = "whsec_" + "c2VjcmV0" * 6
ENDS = ("execution.completed", "execution.failed", "execution.cancelled")


class SetClock:
    """A clock that a test sets. It begins a little ahead of the database's."""

    def __init__(self, now: datetime) -> None:
        self.moment = now

    @classmethod
    async def ahead_of(cls, dal: AsyncDAL) -> SetClock:
        return cls(await dal.fetchval("SELECT now() + interval '2 seconds'"))

    def __call__(self) -> datetime:
        return self.moment

    def pass_by(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


async def a_webhook(
    dal: AsyncDAL,
    url: str = "https://example.org/hook",
    *,
    community_id: int = 1,
    workflow_id: str | None = None,
    events: tuple[str, ...] = ENDS,
    seen_by: int = 2,
    sees_all: bool = False,
    secret: str = SECRET,
) -> Webhook:
    new = NewWebhook(url, events, workflow_id, seen_by, sees_all)
    made = await Webhooks(dal).insert(new_id(), community_id, new, secret, 1000)
    assert made is not None
    return made


async def deliveries(dal: AsyncDAL, webhook: Webhook | None = None) -> list[Any]:
    """All of them, or one webhook's, oldest first."""
    return await dal.fetch(
        "SELECT * FROM webhook_deliveries WHERE $1::uuid IS NULL OR webhook_id = $1"
        " ORDER BY created_at, delivery_id",
        None if webhook is None else webhook.webhook_id,
    )


async def statuses(dal: AsyncDAL, webhook: Webhook | None = None) -> list[str]:
    return [row["status"] for row in await deliveries(dal, webhook)]


async def are(dal: AsyncDAL, status: str, webhook: Webhook | None = None) -> None:
    """Returns once all of them have this status."""

    async def all_are() -> bool:
        return set(await statuses(dal, webhook)) == {status}

    await until(all_are)


async def tried(dal: AsyncDAL, webhook: Webhook, times: int, lease_seconds: float = 21) -> Any:
    """The webhook's only delivery, once so many tries of it were recorded."""

    async def recorded() -> bool:
        [row] = await deliveries(dal, webhook)
        return row["attempts"] == times and not _under_way(row, lease_seconds)

    await until(recorded)
    [row] = await deliveries(dal, webhook)
    return row


def _under_way(row: Any, lease_seconds: float) -> bool:
    """Whether a try is: it is due again when the lease ends. Or none was made yet."""
    if row["status"] != "pending":
        return False
    last = row["last_attempt_at"]
    return last is None or row["due_at"] - last == timedelta(seconds=lease_seconds)
