"""What the handlers work with: the services, as the composition root has put them together.

Its one rule: this is the only place that looks into `current_app`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from quart import current_app

from controllers.address import Addresses
from controllers.auth import Authenticator
from services.alert_service import AlertService
from services.audit import AuditTrail
from services.audit_reader import AuditReader
from services.batch_service import BatchService
from services.community_secrets import SecretService
from services.execution_control import ExecutionControl
from services.execution_details import ExecutionDetails
from services.execution_lists import ExecutionLists
from services.execution_service import ExecutionService
from services.grants import GrantService
from services.health import HealthService
from services.key_admin import KeyAdmin
from services.live_updates import LiveUpdates
from services.members import MemberService
from services.metrics import MetricsService
from services.rate_limits import RateLimits
from services.scrape import Scrape
from services.webhook_service import WebhookService
from services.workflow_service import WorkflowService

EXTENSION = "workflow_core"


@dataclass(frozen=True, slots=True)
class AppState:
    """Everything a request may need."""

    addresses: Addresses
    authenticator: Authenticator
    key_admin: KeyAdmin
    rates: RateLimits
    workflows: WorkflowService
    executions: ExecutionService
    lists: ExecutionLists
    details: ExecutionDetails
    batches: BatchService
    control: ExecutionControl
    webhooks: WebhookService
    alerts: AlertService
    metrics: MetricsService
    grants: GrantService
    members: MemberService
    secrets: SecretService
    live: LiveUpdates
    health: HealthService
    audit: AuditTrail
    audit_reader: AuditReader
    scrape: Scrape
    metrics_token: str | None = field(repr=False)


def state() -> AppState:
    """The state of the app that serves the current request."""
    current: AppState = current_app.extensions[EXTENSION]
    return current
