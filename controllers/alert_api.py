"""Blueprint `alert_api`: alerts and their history.

Its one rule: a handler reads the request, asks one service and answers, without the envelope.
"""

from __future__ import annotations

from quart import Blueprint, Response

from controllers.alert_schemas import (
    AlertAnswer,
    AlertBody,
    AlertChanges,
    AlertDeleted,
    AlertPage,
    ConditionBody,
    HistoryPage,
    HistoryQuery,
)
from controllers.auth import auth_required, current_caller
from controllers.endpoint import async_endpoint
from controllers.operation import note
from controllers.requests import id_of, read_body, read_query
from controllers.responses import onward, plain
from controllers.state import state
from controllers.webhook_schemas import SubscriptionsQuery
from engine.context import JsonObject
from services.alert_service import Alert, AlertWish, Change, Condition, least_count
from services.errors import NotValid, Problem

PREFIX = "/api/v1/workflow-management/alerts"

blueprint = Blueprint("alert_api", __name__, url_prefix=PREFIX)


@blueprint.post("")
@async_endpoint("create_alert", body=AlertBody, answers={201: AlertAnswer}, errors=(404, 409))
@auth_required("workflows:write")
async def create_alert() -> Response:
    """Makes an alert. It counts what ends from now on."""
    body = await read_body(AlertBody)
    note(community_id=body.community_id)
    wish = AlertWish(
        None if body.workflow_id is None else body.workflow_id.lower(),
        _condition(body.condition),
        tuple(each.lower() for each in body.notify),
    )
    made = await state().alerts.create(current_caller(), body.community_id, wish)
    _note(made)
    return plain(_alert(made), status=201, headers={"Location": f"{PREFIX}/{made.alert_id}"})


@blueprint.get("")
@async_endpoint("list_alerts", query=SubscriptionsQuery, answers={200: AlertPage})
@auth_required("executions:read")
async def list_alerts() -> Response:
    """Lists the alerts that are yours to manage, newest first; a page may hold fewer than
    `limit` although there are more."""
    query = read_query(SubscriptionsQuery)
    note(community_id=query.community_id)
    page = await state().alerts.page(
        current_caller(), query.community_id, query.workflow_id, query.limit, query.cursor
    )
    return plain({"alerts": [_alert(row) for row in page.rows], **onward(page.cursor)})


@blueprint.get("/<alert_id>")
@async_endpoint("get_alert", answers={200: AlertAnswer}, errors=(404,))
@auth_required("executions:read")
async def get_alert(alert_id: str) -> Response:
    """Shows an alert and how it stands."""
    found = await state().alerts.get(current_caller(), id_of(alert_id))
    _note(found)
    return plain(_alert(found))


@blueprint.put("/<alert_id>")
@async_endpoint("update_alert", body=AlertChanges, answers={200: AlertAnswer}, errors=(404,))
@auth_required("workflows:write")
async def update_alert(alert_id: str) -> Response:
    """Changes an alert: the fields sent replace its own, the others stay. From now on it counts
    what you may see."""
    changes = await read_body(AlertChanges)
    found = await state().alerts.get(current_caller(), id_of(alert_id))
    _note(found)
    if changes.community_id not in (None, found.community_id):
        message = f"must be the alert's, {found.community_id}; make a new one for another"
        raise NotValid([Problem(path="/community_id", message=message)])
    workflow_id, condition, notify = found.workflow_id, found.condition, found.notify
    if "workflow_id" in changes.model_fields_set:
        workflow_id = None if changes.workflow_id is None else changes.workflow_id.lower()
    if changes.condition is not None:
        condition = _condition(changes.condition)
    if changes.notify is not None:
        notify = tuple(each.lower() for each in changes.notify)
    enabled = found.enabled if changes.enabled is None else changes.enabled
    wish = AlertWish(workflow_id, condition, notify)
    changed = await state().alerts.update(current_caller(), found, wish, enabled=enabled)
    return plain(_alert(changed))


@blueprint.delete("/<alert_id>")
@async_endpoint("delete_alert", answers={200: AlertDeleted}, errors=(404,))
@auth_required("workflows:write")
async def delete_alert(alert_id: str) -> Response:
    """Removes an alert and its history from sight."""
    found = await state().alerts.delete(current_caller(), id_of(alert_id))
    _note(found)
    return plain({"alert_id": found.alert_id, "deleted": True})


@blueprint.get("/<alert_id>/history")
@async_endpoint("list_alert_history", query=HistoryQuery, answers={200: HistoryPage}, errors=(404,))
@auth_required("executions:read")
async def list_alert_history(alert_id: str) -> Response:
    """Lists the times an alert fired and recovered, newest first."""
    query = read_query(HistoryQuery)
    page = await state().alerts.history(
        current_caller(), id_of(alert_id), query.limit, query.cursor
    )
    return plain({"history": [_change(row) for row in page.rows], **onward(page.cursor)})


def _condition(body: ConditionBody) -> Condition:
    least = least_count(body.metric) if body.min_count is None else body.min_count
    return Condition(body.metric, body.threshold, body.window_seconds, least)


def _note(alert: Alert) -> None:
    note(community_id=alert.community_id, workflow_id=alert.workflow_id, alert_id=alert.alert_id)


def _alert(row: Alert) -> JsonObject:
    return {
        "id": row.alert_id,
        "alert_id": row.alert_id,
        "community_id": row.community_id,
        "workflow_id": row.workflow_id,
        "condition": {
            "metric": row.condition.metric,
            "threshold": row.condition.threshold,
            "window_seconds": row.condition.window_seconds,
            "min_count": row.condition.min_count,
        },
        "notify": row.notify,
        "enabled": row.enabled,
        "state": row.state,
        "state_since": row.state_since,
        "value": row.value,
        "executions": row.executions,
        "evaluated_at": row.evaluated_at,
        "created_by": row.created_by,
        "saved_by": row.seen_by,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _change(row: Change) -> JsonObject:
    return {
        "id": row.change_id,
        "alert_id": row.alert_id,
        "event": row.event,
        "at": row.at,
        "metric": row.metric,
        "threshold": row.threshold,
        "window_seconds": row.window_seconds,
        "value": row.value,
        "executions": row.executions,
    }
