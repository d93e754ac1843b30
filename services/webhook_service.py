"""Webhooks out: made, changed, looked at, and their deliveries replayed.

Its one rule: a secret is returned by the call that made it, and by no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from models.webhooks import Delivery, NewWebhook, Scope, Webhook, Webhooks
from models.workflows import After
from services.caller import Caller
from services.cursors import Cursors, Page, bound
from services.egress import Egress
from services.errors import (
    DeliveryPending,
    DeliveryUnknown,
    NotValid,
    Problem,
    TooManyWebhooks,
    WebhookDisabled,
    WebhookUnknown,
)
from services.subscription_rights import SubscriptionRights
from services.webhook_secrets import new_secret, secret_problem

EVENTS = (
    "execution.completed",
    "execution.failed",
    "execution.cancelled",
    "alert.fired",
    "alert.recovered",
)
MOST_PER_COMMUNITY = 100
LONGEST_URL = 2_048

__all__ = ["EVENTS", "Delivery", "Scope", "Webhook", "WebhookService", "Wish"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller wants a webhook to be."""

    url: str
    events: tuple[str, ...]
    workflow_id: str | None


class WebhookService:
    """The use cases of webhooks. `now` tells whether an old secret still signs."""

    def __init__(
        self,
        webhooks: Webhooks,
        rights: SubscriptionRights,
        egress: Egress,
        cursors: Cursors,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._webhooks = webhooks
        self._rights = rights
        self._egress = egress
        self._cursors = cursors
        self._now = now
        self._new_id = new_id

    async def create(
        self, caller: Caller, community_id: int, wish: Wish, secret: str | None
    ) -> tuple[Webhook, str]:
        """A new webhook and its secret. Raises `NotValid`, `TooManyWebhooks`, and what
        `authorise_saving` raises."""
        _refuse([*self._problems(wish), *_secret_problems(secret)])
        await self._rights.authorise_saving(caller, community_id, wish.workflow_id)
        secret = secret or new_secret()
        made = await self._webhooks.insert(
            self._new_id(), community_id, _new(caller, wish), secret, MOST_PER_COMMUNITY
        )
        if made is None:
            raise TooManyWebhooks
        return made, secret

    async def get(self, caller: Caller, webhook_id: str | None) -> Webhook:
        """One webhook. Raises `WebhookUnknown`, `Denied`."""
        found = None if webhook_id is None else await self._webhooks.get(webhook_id)
        return await self._rights.authorise_managing(caller, found, WebhookUnknown)

    async def update(self, caller: Caller, found: Webhook, wish: Wish, *, enabled: bool) -> Webhook:
        """Changes a webhook that `get` gave; from now on it looks through the caller's eyes.
        Raises as `create`."""
        _refuse(self._problems(wish))
        await self._rights.authorise_saving(caller, found.community_id, wish.workflow_id)
        changed = await self._webhooks.update(
            found.webhook_id,
            _new(caller, wish),
            enabled=enabled,
            why_not=f"User {caller.user_id} disabled it.",
        )
        if changed is None:
            raise WebhookUnknown
        return changed

    async def rotate(
        self, caller: Caller, webhook_id: str | None, secret: str | None, overlap_seconds: int
    ) -> tuple[Webhook, str]:
        """The webhook and its new secret; both sign for `overlap_seconds`. One that was old
        already signs no more."""
        _refuse(_secret_problems(secret))
        found = await self.get(caller, webhook_id)
        await self._rights.authorise_saving(caller, found.community_id, found.workflow_id)
        secret = secret or new_secret()
        changed = await self._webhooks.rotate(found.webhook_id, secret, overlap_seconds)
        if changed is None:
            raise WebhookUnknown
        return changed, secret

    async def delete(self, caller: Caller, webhook_id: str | None) -> Webhook:
        """Removes a webhook; nothing more is sent, what was sent is out of reach."""
        found = await self.get(caller, webhook_id)
        await self._webhooks.delete(found.webhook_id)
        return found

    async def page(
        self,
        caller: Caller,
        community_id: int | None,
        workflow_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> Page[Webhook]:
        """A page of the webhooks that are the caller's to manage: of a community (the
        credential's own, if it is bound to one), else those the caller saved last; an admin's
        are all. Raises `InvalidCursor`."""
        scope = await self._rights.scope(caller, community_id, workflow_id)

        async def read(most: int, after: After | None) -> list[Webhook]:
            return [] if scope is None else await self._webhooks.page(scope, most, after)

        page = await self._cursors.newest_first(
            bound("webhooks", caller, community_id, workflow_id),
            limit,
            cursor,
            read,
            lambda row: After(row.created_at, row.webhook_id),
        )
        return await self._rights.manageable(caller, page)

    async def deliveries(
        self,
        caller: Caller,
        webhook_id: str | None,
        status: str | None,
        limit: int,
        cursor: str | None,
    ) -> Page[Delivery]:
        """A page of a webhook's deliveries, newest first. Raises as `get`, and `InvalidCursor`."""
        found = await self.get(caller, webhook_id)
        return await self._cursors.newest_first(
            bound("deliveries", caller, found.webhook_id, status),
            limit,
            cursor,
            partial(self._webhooks.deliveries, found.webhook_id, status),
            lambda row: After(row.created_at, row.delivery_id),
        )

    async def replay(
        self, caller: Caller, delivery_id: str | None, webhook_id: str | None = None
    ) -> Delivery:
        """Has a settled delivery tried anew, with the same id. Raises `DeliveryUnknown`,
        `DeliveryPending`, `WebhookDisabled`, `Denied`."""
        if delivery_id is None:
            raise DeliveryUnknown
        found = await self._webhooks.delivery(delivery_id)
        # Asked for in any case, as `authorise_managing` does: an unknown id takes no less time.
        sent_by = await self._webhooks.get(delivery_id if found is None else found.webhook_id)
        if found is None or webhook_id not in (None, found.webhook_id):
            sent_by = None
        webhook = await self._rights.authorise_managing(caller, sent_by, DeliveryUnknown)
        if not webhook.enabled:
            raise WebhookDisabled
        again = await self._webhooks.replay(delivery_id)
        if again is None:
            raise DeliveryPending
        return again

    def overlap_until(self, webhook: Webhook) -> datetime | None:
        """Until when the old secret also signs; None if only one does."""
        until = webhook.old_secret_until
        return until if until is not None and until > self._now() else None

    def _problems(self, wish: Wish) -> list[Problem]:
        problems: list[Problem] = []
        wrong = url_problem(wish.url, self._egress)
        if wrong is not None:
            problems.append(Problem(path="/url", message=wrong))
        for place, event in enumerate(wish.events):
            if event not in EVENTS:
                message = f"unknown event {event[:64]!r}; known: {', '.join(EVENTS)}"
                problems.append(Problem(path=f"/events/{place}", message=message))
        return problems


def url_problem(url: str, egress: Egress) -> str | None:
    """Why nothing can be sent there; None if it may be tried."""
    if len(url) > LONGEST_URL:
        return f"must have at most {LONGEST_URL} characters"
    if not url.isprintable() or " " in url:
        return "must not contain spaces or control characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is malformed"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "must be an address such as https://example.org/hook"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user or a password"
    if parts.fragment:
        return "must not have a fragment, which is never sent"
    return _egress_problem(parts, egress)


def _egress_problem(parts: SplitResult, egress: Egress) -> str | None:
    """What can be said before anything is looked up; every connect is judged again."""
    host = parts.hostname or ""
    if egress.names_denied(host) or (
        _is_address(host) and not egress.admits(host, trusted=egress.names_allowed(host))
    ):
        return f"the service may not connect to {host[:255]!r}: use a public address"
    return None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _new(caller: Caller, wish: Wish) -> NewWebhook:
    events = tuple(event for event in EVENTS if event in wish.events)
    return NewWebhook(wish.url, events, wish.workflow_id, caller.user_id, caller.is_admin)


def _secret_problems(secret: str | None) -> list[Problem]:
    wrong = None if secret is None else secret_problem(secret)
    return [] if wrong is None else [Problem(path="/secret", message=wrong)]


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise NotValid(problems)
