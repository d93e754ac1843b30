"""The composition root: it puts the services together out of a configuration.

Its one rule: everything that lives as long as the service is opened in `running` and closed there,
in the opposite order.
"""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TextIO

from config import Config
from controllers.address import Addresses
from controllers.auth import Authenticator
from controllers.operation import judged
from controllers.state import AppState
from engine.context import Limits
from engine.engine import WorkflowEngine
from engine.environment import Impure
from engine.ports import Directory
from engine.settings import EngineSettings
from models.api_keys import ApiKeys
from models.audit import AuditLog
from models.backlog import Backlogs
from models.dal import AsyncDAL
from models.execution_pages import ExecutionPages
from models.executions import Executions
from models.grants import Grants
from models.idempotency import IdempotencyKeys
from models.live import LiveTable
from models.live_feed import LiveFeed
from models.members import Members
from models.metered_store import Meter, MeteredExecutionStore
from models.migrate import rights_told
from models.opening import Watch, opened
from models.permissions import Permissions
from models.quotas import Quota
from models.rollups import Rollups
from models.secrets import Secrets
from models.steps import Steps
from models.workflows import Workflows
from services.aaa_log import AaaLog, LogFormat, route_library_logs
from services.api_keys import ApiKeyService
from services.attempts import FailedAttempts
from services.audit import AuditTrail
from services.audit_reader import AuditReader
from services.batch_service import BatchService
from services.bootstrap import Example, furnish
from services.clock import SystemClock, new_id
from services.cursors import Cursors
from services.directory import WorkflowDirectory
from services.egress import Egress
from services.execution_control import ExecutionControl
from services.execution_details import ExecutionDetails
from services.execution_lists import ExecutionLists
from services.execution_service import ExecutionService
from services.grants import GrantService
from services.health import HealthService
from services.http_client import AiohttpClient, HttpLimits
from services.key_admin import KeyAdmin
from services.live_updates import LiveLimits, LiveUpdates
from services.members import MemberService
from services.metrics import MetricsService
from services.notifications import Notifications, World, notifications
from services.notifier import Pace
from services.once import Once
from services.operating import Operating, operating
from services.permission_service import PermissionService
from services.rate_limits import RateLimits
from services.revival import revived
from services.secret_client import VaultClient
from services.secret_keeping import SecretKeeping, keep_secrets
from services.shared_counts import SharedCounts, open_counts
from services.telemetry import Telemetry, start_telemetry
from services.tokens import TokenPolicy, verifier
from services.transports import open_transport
from services.upkeep import upkeep
from services.workflow_service import WorkflowService

_ENGINE_SETTINGS = [each.name for each in fields(EngineSettings) if hasattr(Config, each.name)]
EXAMPLES = Path(__file__).resolve().parent / "examples"


@dataclass(frozen=True, slots=True)
class Running:
    """A running service. `first_key` and `examples` are those of an embedded database."""

    state: AppState
    lines: AaaLog
    engine: WorkflowEngine
    first_key: str | None = None
    examples: list[Example] = field(default_factory=list)


@asynccontextmanager
async def running(config: Config, stream: TextIO | None = None) -> AsyncIterator[Running]:
    """The whole service, from the database up; on leaving, everything that was accepted is
    handed over or finished before the database is closed. `stream` takes the log and what the
    console transport prints (stdout).

    Raises `DatabaseRefused`, `StoreUnavailable`, `RuntimeError`, `OSError`.
    """
    stream = stream or sys.stdout
    form: LogFormat = "json" if config.log_format == "json" else "text"
    lines = AaaLog(stream, level=config.log_level, format=form, module=config.module_name)
    async with AsyncExitStack() as stack:
        stack.callback(route_library_logs(lines))
        try:
            dal = await stack.enter_async_context(database(config, partial(revived, lines)))
            cursors = _cursors(config, dal)
            kept = _kept(config, dal, cursors)
            ground = _Ground(config, lines, stream, dal, stack, cursors, kept)
            service = await _compose(ground)
        except Exception as error:
            lines.error("start", reason=str(error), error_type=type(error).__name__)
            raise
        lines.system("start", module_version=config.module_version, embedded=config.embedded)
        yield service
    lines.system("stop")


def database(config: Config, watch: Watch | None = None) -> AbstractAsyncContextManager[AsyncDAL]:
    """The configured database, migrated and open."""
    return opened(config.database_url, config.data_dir, watch, **config.pool)


@dataclass(frozen=True, slots=True)
class _Ground:
    """What everything stands on; `stack` takes what must be closed."""

    config: Config
    lines: AaaLog
    stream: TextIO
    dal: AsyncDAL
    stack: AsyncExitStack
    cursors: Cursors
    kept: SecretKeeping
    clock: SystemClock = field(default_factory=SystemClock)


async def _compose(on: _Ground) -> Running:
    """Puts the services together and starts what has a life of its own."""
    config, lines, dal, clock, cursors = on.config, on.lines, on.dal, on.clock, on.cursors
    audit = await _upkeep(on)
    telemetry = _telemetry(on)
    definitions, vault = Workflows(dal, Quota(*config.community_quota)), on.kept.vault
    permissions = PermissionService(Permissions(dal), definitions, judged=judged)
    feed = LiveFeed(dal, new_id())
    engine = await _engine(on, feed, WorkflowDirectory(permissions, definitions), telemetry)
    workflows = WorkflowService(definitions, permissions, cursors, engine.limits, new_id=new_id)
    once = Once(IdempotencyKeys(dal), Executions(dal))
    executions = ExecutionService(
        engine, once, permissions, workflows, vault, clock.now, new_id, traces=telemetry.traces
    )
    keys = ApiKeyService(ApiKeys(dal), now=clock.now, new_id=new_id)
    told = await _notifications(on, permissions)
    await keys.start()
    counts = await on.stack.enter_async_context(open_counts(config.redis_url, lines))
    health = HealthService(dal, engine, name=config.module_name, version=config.module_version)
    state = AppState(
        addresses=Addresses(config.trusted_proxies),
        authenticator=await _authenticator(on, keys, counts),
        key_admin=KeyAdmin(keys, cursors),
        rates=RateLimits(config.rate_limits, counts),
        workflows=workflows,
        executions=executions,
        lists=ExecutionLists(ExecutionPages(dal), permissions, cursors),
        details=ExecutionDetails(engine, Steps(dal), permissions, cursors),
        batches=BatchService(engine, executions, once, permissions, new_id=new_id),
        control=ExecutionControl(engine, once, permissions, new_id=new_id),
        webhooks=told.webhooks,
        alerts=told.alerts,
        metrics=MetricsService(Rollups(dal), permissions, now=clock.now),
        grants=GrantService(Grants(dal), permissions, new_id=new_id),
        members=MemberService(Members(dal), permissions, cursors),
        secrets=on.kept.service,
        live=_live(on, feed, engine, permissions),
        health=health,
        audit=audit,
        audit_reader=AuditReader(AuditLog(dal), cursors),
        scrape=telemetry.scrape(engine, Backlogs(dal), config.metrics_process),
        metrics_token=config.metrics_token,
    )
    if not config.embedded:
        return Running(state, lines, engine)
    given = await furnish(dal, keys, workflows, config.data_dir, EXAMPLES)
    return Running(state, lines, engine, *given)


async def _notifications(on: _Ground, permissions: PermissionService) -> Notifications:
    config = on.config
    world = World(on.clock.now, new_id, random.random, _egress(config))
    pace = Pace(timeout_seconds=config.webhook_timeout_seconds) if config.runs_executions else None
    return await on.stack.enter_async_context(
        notifications(on.dal, on.lines, permissions, on.cursors, world, pace)
    )


def _live(
    on: _Ground, feed: LiveFeed, engine: WorkflowEngine, permissions: PermissionService
) -> LiveUpdates:
    table, limits = LiveTable(on.dal, feed.process_id), LiveLimits(**on.config.live_limits)
    live = LiveUpdates(
        table, feed, engine.graphs, permissions, engine.departure, on.clock, on.lines, limits
    )
    on.stack.push_async_callback(live.stop)
    return live


async def _upkeep(on: _Ground) -> AuditTrail:
    days, webhook_days = on.config.retention_days, on.config.webhook_retention_days
    return await on.stack.enter_async_context(
        upkeep(on.dal, on.lines, on.clock.now, days=days, webhook_days=webhook_days)
    )


def _telemetry(on: _Ground) -> Telemetry:
    name, version = on.config.module_name, on.config.module_version
    exporter = on.config.otel_traces_exporter
    telemetry = start_telemetry(exporter, name=name, version=version, stream=on.stream)
    on.stack.push_async_callback(telemetry.close)
    return telemetry


async def _engine(
    on: _Ground, feed: LiveFeed, directory: Directory, meter: Meter
) -> WorkflowEngine:
    config, clock, enter = on.config, on.clock, on.stack.enter_async_context
    limits = HttpLimits(max_response_bytes=config.max_output_bytes)
    http = await enter(AiohttpClient(_egress(config), limits=limits))
    router = None if config.transport == "console" else config.router_url
    key, as_json = config.router_service_key, config.log_format == "json"
    transport = await enter(open_transport(router, key, on.stream, new_id, as_json=as_json))
    engine = WorkflowEngine(
        store=MeteredExecutionStore(on.dal, meter, config.database_command_timeout_seconds, feed),
        transport=transport,
        http=http,
        directory=directory,
        clock=clock,
        impure=Impure(now=clock.now, random=random.random, uuid=new_id),
        log=on.lines,
        limits=Limits(**{each.name: getattr(config, each.name) for each in fields(Limits)}),
        settings=EngineSettings(
            name=f"{socket.gethostname()}:{config.port}",
            runs=config.runs_executions,
            **{each: getattr(config, each) for each in _ENGINE_SETTINGS},
        ),
        carrying=partial(VaultClient, http, on.kept.vault),
    )
    await engine.start()
    on.stack.push_async_callback(engine.shutdown)
    return engine


async def _authenticator(
    on: _Ground, keys: ApiKeyService, counts: SharedCounts | None
) -> Authenticator:
    config = on.config
    policy = TokenPolicy(config.jwt_leeway_seconds, config.jwt_issuer, config.jwt_audience)
    tokens = await on.stack.enter_async_context(
        verifier(policy, config.secret_key, config.jwks_url, on.lines)
    )
    attempts = FailedAttempts(config.auth_failures_per_minute or None, counts)
    return Authenticator(keys, tokens, attempts)


def _cursors(config: Config, dal: AsyncDAL) -> Cursors:
    return Cursors(Secrets(dal), config.secret_key)


def _kept(config: Config, dal: AsyncDAL, cursors: Cursors) -> SecretKeeping:
    home = config.data_dir if config.embedded else None
    return keep_secrets(dal, config.secrets_key, home, cursors)


def _egress(config: Config) -> Egress:
    return Egress(config.egress_allow, config.egress_deny)


@asynccontextmanager
async def open_operating(config: Config) -> AsyncIterator[Operating]:
    """What the command line works with, on the configured database. Raises `DatabaseRefused`, also
    for what its role may not do there."""
    with rights_told():
        async with database(config) as dal:
            cursors = _cursors(config, dal)
            kept = _kept(config, dal, cursors)
            yield operating(dal, cursors, kept, SystemClock().now, new_id)
