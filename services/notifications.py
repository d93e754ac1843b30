"""Webhooks out and alerts, put together: the use cases, and the loops that send and evaluate.

Its one rule: what has a life of its own lives it inside `notifications`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from models.alert_watch import AlertWatch
from models.alerts import Alerts
from models.dal import AsyncDAL
from models.outbox import Outbox
from models.webhooks import Webhooks
from services.aaa_log import AaaLog
from services.alert_evaluator import AlertEvaluator
from services.alert_service import AlertService
from services.cursors import Cursors
from services.egress import Egress
from services.http_client import AiohttpClient
from services.notifier import Notifier, Pace
from services.permission_service import PermissionService
from services.subscription_rights import SubscriptionRights
from services.webhook_service import WebhookService


@dataclass(frozen=True, slots=True)
class World:
    """What is outside: the clock, fresh ids, chance, and where one may connect to."""

    now: Callable[[], datetime]
    new_id: Callable[[], str]
    chance: Callable[[], float]
    egress: Egress


@dataclass(frozen=True, slots=True)
class Notifications:
    """The use cases."""

    webhooks: WebhookService
    alerts: AlertService


@asynccontextmanager
async def notifications(
    dal: AsyncDAL,
    lines: AaaLog,
    permissions: PermissionService,
    cursors: Cursors,
    world: World,
    pace: Pace | None,
) -> AsyncIterator[Notifications]:
    """The use cases and, if this process has a `pace` to send at, the notifier and the evaluator.
    The notifier has an HTTP client of its own: receivers must not use up the connections of HTTP
    nodes, nor these theirs."""
    rights = SubscriptionRights(permissions)
    hooks = Webhooks(dal)
    webhooks = WebhookService(
        hooks, rights, world.egress, cursors, now=world.now, new_id=world.new_id
    )
    alerts = AlertService(Alerts(dal), hooks, rights, cursors, new_id=world.new_id)
    async with AsyncExitStack() as stack:
        if pace is not None:
            http = await stack.enter_async_context(AiohttpClient(world.egress))
            outbox = Outbox(dal, lease_seconds=pace.lease_seconds)
            notifier = Notifier(lines, outbox, http, now=world.now, chance=world.chance, pace=pace)
            notifier.start()
            stack.push_async_callback(notifier.stop)
            evaluator = AlertEvaluator(lines, AlertWatch(dal))
            evaluator.start()
            stack.push_async_callback(evaluator.stop)
        yield Notifications(webhooks, alerts)
