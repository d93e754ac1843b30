"""Every blueprint there is, by whom it is for.

Its one rule: what is not listed here is not served.
"""

from __future__ import annotations

from quart import Quart

from controllers import (
    alert_api,
    api_key_api,
    audit_api,
    execution_api,
    execution_control_api,
    live_api,
    live_socket,
    member_api,
    metrics_api,
    operations,
    permission_api,
    scrape_api,
    secret_api,
    webhook_api,
    workflow_api,
    workflow_management,
)
from controllers.openapi import add_openapi
from controllers.scrape_api import add_http_meter
from controllers.sockets import with_websockets
from controllers.step_keys import StepKeyConverter

_FOR_OPERATORS = (operations.blueprint, scrape_api.blueprint)
"""Served by every process."""

_FOR_CALLERS = (
    execution_api.blueprint,
    execution_control_api.blueprint,
    workflow_api.blueprint,
    permission_api.blueprint,
    member_api.blueprint,
    secret_api.blueprint,
    audit_api.blueprint,
    api_key_api.blueprint,
    live_api.blueprint,
    live_socket.blueprint,
    workflow_management.blueprint,
    metrics_api.blueprint,
    webhook_api.blueprint,
    alert_api.blueprint,
)
"""Served by processes that have the API."""


def add_routes(app: Quart, version: str, *, for_callers: bool) -> None:
    """Serves what is for operators, and if that is wanted what is for callers, with its
    documentation; every answer is counted."""
    add_http_meter(app)
    app.url_map.converters["step"] = StepKeyConverter
    if for_callers:
        add_openapi(app, version)
    for blueprint in (*_FOR_OPERATORS, *(_FOR_CALLERS if for_callers else ())):
        app.register_blueprint(blueprint)
    sockets = {rule.rule for rule in app.url_map.iter_rules() if rule.websocket}
    guarded = with_websockets(app.asgi_app, sockets)
    app.asgi_app = guarded  # type: ignore[method-assign]  # Quart's way
