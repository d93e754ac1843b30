"""Alerts: made, changed, looked at.

Its one rule: what an alert may notify is the caller's own. A webhook of somebody else, of another
community or of nobody is refused in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from models.alerts import Alert, Alerts, Change, Condition, NewAlert
from models.webhooks import Webhooks
from models.workflows import After
from services.alert_condition import METRICS, least_count, problems_of
from services.caller import Caller
from services.cursors import Cursors, Page, bound
from services.errors import AlertUnknown, NotValid, Problem, TooManyAlerts
from services.subscription_rights import SubscriptionRights

MOST_PER_COMMUNITY = 50

__all__ = ["METRICS", "Alert", "AlertService", "AlertWish", "Change", "Condition", "least_count"]


@dataclass(frozen=True, slots=True)
class AlertWish:
    """What a caller wants an alert to be."""

    workflow_id: str | None
    condition: Condition
    notify: tuple[str, ...]


class AlertService:
    """The use cases of alerts."""

    def __init__(
        self,
        alerts: Alerts,
        webhooks: Webhooks,
        rights: SubscriptionRights,
        cursors: Cursors,
        *,
        new_id: Callable[[], str],
    ) -> None:
        self._alerts = alerts
        self._webhooks = webhooks
        self._rights = rights
        self._cursors = cursors
        self._new_id = new_id

    async def create(self, caller: Caller, community_id: int, wish: AlertWish) -> Alert:
        """A new alert. Raises `NotValid`, `TooManyAlerts`, and what `authorise_saving` raises."""
        await self._check(caller, community_id, wish, wish.notify)
        made = await self._alerts.insert(
            self._new_id(), community_id, _new(caller, wish), MOST_PER_COMMUNITY
        )
        if made is None:
            raise TooManyAlerts
        return made

    async def get(self, caller: Caller, alert_id: str | None) -> Alert:
        """One alert. Raises `AlertUnknown`, `Denied`."""
        found = None if alert_id is None else await self._alerts.get(alert_id)
        return await self._rights.authorise_managing(caller, found, AlertUnknown)

    async def update(
        self, caller: Caller, found: Alert, wish: AlertWish, *, enabled: bool
    ) -> Alert:
        """Changes an alert that `get` gave; from now on it looks through the caller's eyes. A
        webhook that it notified before may be gone, or another's, and stays. Raises as `create`."""
        added = () if wish.notify == found.notify else wish.notify
        await self._check(caller, found.community_id, wish, added)
        changed = await self._alerts.update(found.alert_id, _new(caller, wish), enabled=enabled)
        if changed is None:
            raise AlertUnknown
        return changed

    async def delete(self, caller: Caller, alert_id: str | None) -> Alert:
        """Removes an alert; one that fires does not recover any more."""
        found = await self.get(caller, alert_id)
        await self._alerts.delete(found.alert_id)
        return found

    async def page(
        self,
        caller: Caller,
        community_id: int | None,
        workflow_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> Page[Alert]:
        """A page of the alerts that are the caller's to manage; see `WebhookService.page`."""
        scope = await self._rights.scope(caller, community_id, workflow_id)

        async def read(most: int, after: After | None) -> list[Alert]:
            return [] if scope is None else await self._alerts.page(scope, most, after)

        page = await self._cursors.newest_first(
            bound("alerts", caller, community_id, workflow_id),
            limit,
            cursor,
            read,
            lambda row: After(row.created_at, row.alert_id),
        )
        return await self._rights.manageable(caller, page)

    async def history(
        self, caller: Caller, alert_id: str | None, limit: int, cursor: str | None
    ) -> Page[Change]:
        """A page of the times an alert fired and recovered, newest first. Raises as `get`, and
        `InvalidCursor`."""
        found = await self.get(caller, alert_id)
        return await self._cursors.newest_first(
            bound("alert history", caller, found.alert_id),
            limit,
            cursor,
            partial(self._alerts.history, found.alert_id),
            lambda row: After(row.at, row.change_id),
        )

    async def _check(
        self, caller: Caller, community_id: int, wish: AlertWish, notify: Sequence[str]
    ) -> None:
        problems = problems_of(wish.condition)
        if problems:
            raise NotValid(problems)
        await self._rights.authorise_saving(caller, community_id, wish.workflow_id)
        known = {one.webhook_id: one for one in await self._webhooks.among(list(notify))}
        for place, webhook_id in enumerate(notify):
            one = known.get(webhook_id)
            if (
                one is None
                or one.community_id != community_id
                or not await self._rights.may_manage(caller, one)
            ):
                message = "is no webhook of this community that is yours to manage"
                problems.append(Problem(path=f"/notify/{place}", message=message))
        if problems:
            raise NotValid(problems)


def _new(caller: Caller, wish: AlertWish) -> NewAlert:
    notify = tuple(dict.fromkeys(wish.notify))
    return NewAlert(wish.workflow_id, wish.condition, notify, caller.user_id, caller.is_admin)
