"""Blueprint `webhook_api`: webhooks out, their secrets and their deliveries.

Its one rule: a handler reads the request, asks one service and answers, without the envelope.
"""

from __future__ import annotations

import orjson
from quart import Blueprint, Response

from controllers.auth import auth_required, current_caller
from controllers.described import Description
from controllers.endpoint import async_endpoint
from controllers.operation import note
from controllers.requests import id_of, read_body, read_optional, read_query
from controllers.responses import onward, plain
from controllers.state import state
from controllers.webhook_schemas import (
    DeliveriesQuery,
    DeliveryAnswer,
    DeliveryPage,
    RotateBody,
    SubscriptionsQuery,
    WebhookAnswer,
    WebhookBody,
    WebhookChanges,
    WebhookDeleted,
    WebhookPage,
    WebhookWithSecret,
)
from engine.context import JsonObject
from services.errors import NotValid, Problem
from services.webhook_service import Delivery, Webhook, Wish

PREFIX = "/api/v1/workflow-management"

blueprint = Blueprint("webhook_api", __name__, url_prefix=PREFIX)


@blueprint.post("/webhooks")
@async_endpoint(
    "create_webhook", body=WebhookBody, answers={201: WebhookWithSecret}, errors=(404, 409)
)
@auth_required("workflows:write")
async def create_webhook() -> Response:
    """Makes a webhook. Its secret is in this answer and in no other."""
    body = await read_body(WebhookBody)
    note(community_id=body.community_id)
    workflow_id = None if body.workflow_id is None else body.workflow_id.lower()
    wish = Wish(body.url, tuple(body.events), workflow_id)
    made, secret = await state().webhooks.create(
        current_caller(), body.community_id, wish, body.secret
    )
    _note(made)
    location = f"{PREFIX}/webhooks/{made.webhook_id}"
    shown = {**_webhook(made), "secret": secret}
    return plain(shown, status=201, headers={"Location": location})


@blueprint.get("/webhooks")
@async_endpoint("list_webhooks", query=SubscriptionsQuery, answers={200: WebhookPage})
@auth_required("executions:read")
async def list_webhooks() -> Response:
    """Lists the webhooks that are yours to manage, newest first; a page may hold fewer than
    `limit` although there are more."""
    query = read_query(SubscriptionsQuery)
    note(community_id=query.community_id)
    page = await state().webhooks.page(
        current_caller(), query.community_id, query.workflow_id, query.limit, query.cursor
    )
    return plain({"webhooks": [_webhook(row) for row in page.rows], **onward(page.cursor)})


@blueprint.get("/webhooks/<webhook_id>")
@async_endpoint("get_webhook", answers={200: WebhookAnswer}, errors=(404,))
@auth_required("executions:read")
async def get_webhook(webhook_id: str) -> Response:
    """Shows a webhook, without its secret."""
    found = await state().webhooks.get(current_caller(), id_of(webhook_id))
    _note(found)
    return plain(_webhook(found))


@blueprint.put("/webhooks/<webhook_id>")
@async_endpoint("update_webhook", body=WebhookChanges, answers={200: WebhookAnswer}, errors=(404,))
@auth_required("workflows:write")
async def update_webhook(webhook_id: str) -> Response:
    """Changes a webhook: the fields sent replace its own, the others stay. `enabled: true` lets
    one that was disabled go on. From now on it is told of what you may see."""
    changes = await read_body(WebhookChanges)
    found = await state().webhooks.get(current_caller(), id_of(webhook_id))
    _note(found)
    if changes.community_id not in (None, found.community_id):
        message = f"must be the webhook's, {found.community_id}; make a new one for another"
        raise NotValid([Problem(path="/community_id", message=message)])
    workflow_id = found.workflow_id
    if "workflow_id" in changes.model_fields_set:
        workflow_id = None if changes.workflow_id is None else changes.workflow_id.lower()
    wish = Wish(changes.url or found.url, tuple(changes.events or found.events), workflow_id)
    enabled = found.enabled if changes.enabled is None else changes.enabled
    changed = await state().webhooks.update(current_caller(), found, wish, enabled=enabled)
    return plain(_webhook(changed))


@blueprint.delete("/webhooks/<webhook_id>")
@async_endpoint("delete_webhook", answers={200: WebhookDeleted}, errors=(404,))
@auth_required("workflows:write")
async def delete_webhook(webhook_id: str) -> Response:
    """Removes a webhook and, with it, its deliveries from sight; nothing more is sent."""
    found = await state().webhooks.delete(current_caller(), id_of(webhook_id))
    _note(found)
    return plain({"webhook_id": found.webhook_id, "deleted": True})


@blueprint.post("/webhooks/<webhook_id>/rotate-secret")
@async_endpoint(
    "rotate_webhook_secret",
    body=RotateBody,
    answers={200: WebhookWithSecret},
    errors=(404,),
    says=Description(body_optional=True),
)
@auth_required("workflows:write")
async def rotate_webhook_secret(webhook_id: str) -> Response:
    """Gives a webhook a new secret, which is in this answer and in no other; for
    `overlap_seconds` the old one signs as well."""
    body = await read_optional(RotateBody)
    changed, secret = await state().webhooks.rotate(
        current_caller(), id_of(webhook_id), body.secret, body.overlap_seconds
    )
    _note(changed)
    return plain({**_webhook(changed), "secret": secret})


@blueprint.get("/webhooks/<webhook_id>/deliveries")
@async_endpoint(
    "list_webhook_deliveries",
    query=DeliveriesQuery,
    answers={200: DeliveryPage},
    errors=(404,),
)
@auth_required("executions:read")
async def list_webhook_deliveries(webhook_id: str) -> Response:
    """Lists what a webhook was sent, or will be, newest first."""
    query = read_query(DeliveriesQuery)
    page = await state().webhooks.deliveries(
        current_caller(), id_of(webhook_id), query.status, query.limit, query.cursor
    )
    return plain({"deliveries": [_delivery(row) for row in page.rows], **onward(page.cursor)})


@blueprint.post("/webhooks/<webhook_id>/deliveries/<delivery_id>/replay")
@async_endpoint("replay_webhook_delivery", answers={202: DeliveryAnswer}, errors=(404, 409))
@auth_required("workflows:write")
async def replay_webhook_delivery(webhook_id: str, delivery_id: str) -> Response:
    """Has a delivery that was settled tried anew, with the same `webhook-id`."""
    again = await state().webhooks.replay(
        current_caller(), id_of(delivery_id), id_of(webhook_id) or ""
    )
    return plain(_delivery(again), status=202)


@blueprint.post("/deliveries/<delivery_id>/replay")
@async_endpoint("replay_delivery", answers={202: DeliveryAnswer}, errors=(404, 409))
@auth_required("workflows:write")
async def replay_delivery(delivery_id: str) -> Response:
    """The same, by the delivery's id alone."""
    again = await state().webhooks.replay(current_caller(), id_of(delivery_id))
    return plain(_delivery(again), status=202)


def _note(webhook: Webhook) -> None:
    note(
        community_id=webhook.community_id,
        workflow_id=webhook.workflow_id,
        webhook_id=webhook.webhook_id,
    )


def _webhook(row: Webhook) -> JsonObject:
    return {
        "id": row.webhook_id,
        "webhook_id": row.webhook_id,
        "url": row.url,
        "events": row.events,
        "workflow_id": row.workflow_id,
        "community_id": row.community_id,
        "enabled": row.enabled,
        "disabled_reason": row.disabled_reason,
        "disabled_at": row.disabled_at,
        "failing_since": row.failing_since,
        "old_secret_until": state().webhooks.overlap_until(row),
        "created_by": row.created_by,
        "saved_by": row.seen_by,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _delivery(row: Delivery) -> JsonObject:
    return {
        "id": row.delivery_id,
        "delivery_id": row.delivery_id,
        "webhook_id": row.webhook_id,
        "event": row.event,
        "execution_id": row.execution_id,
        "alert_id": row.alert_id,
        "status": row.status,
        "attempts": row.attempts,
        "created_at": row.created_at,
        "next_attempt_at": row.due_at,
        "first_attempt_at": row.first_attempt_at,
        "last_attempt_at": row.last_attempt_at,
        "settled_at": row.settled_at,
        "response_status": row.response_status,
        "response_body": row.response_body,
        "error": row.error,
        "duration_seconds": row.duration_seconds,
        "payload": orjson.loads(row.payload),
    }
