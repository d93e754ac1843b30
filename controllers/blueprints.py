"""The blueprints of the API: what a process serves unless it only runs executions.

Its one rule: a blueprint that is not named here is served nowhere.
"""

from __future__ import annotations

from quart import Blueprint

from controllers import (
    alert_api,
    execution_api,
    execution_control_api,
    permission_api,
    webhook_api,
    workflow_api,
    workflow_management,
)

API: tuple[Blueprint, ...] = (
    execution_api.blueprint,
    execution_control_api.blueprint,
    workflow_api.blueprint,
    permission_api.blueprint,
    workflow_management.blueprint,
    webhook_api.blueprint,
    alert_api.blueprint,
)
