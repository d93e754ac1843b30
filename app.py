"""The app and its process: `create_app(config)` gives the ASGI app, `python -m app` serves it.

Its one rule: what is served is put together elsewhere (`composition.py`); here it gets its routes,
its commands and its port, and is told to stop.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from functools import partial

from quart import Quart

from composition import Running, open_operating, running
from config import Config, ConfigError
from controllers.blueprints import add_routes
from controllers.commands import add_commands
from controllers.gate import add_gate, limited_request
from controllers.leaving import leave, when_told_to_stop
from controllers.server import LastResort, Listener, listen, serve
from controllers.state import EXTENSION
from engine.errors import StoreUnavailable
from models.migrate import DatabaseRefused, migrate
from models.opening import database_url
from services import collector
from services.bootstrap import KEY_FILE
from services.welcome import welcome


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
    add_gate(app, config.live_origins)
    add_routes(app, config.module_version, for_callers=config.serves_api)
    _add_commands(app, config)

    if service is not None:
        app.extensions[EXTENSION] = service.state
        return app

    @app.while_serving
    async def lifespan() -> AsyncGenerator[None, None]:
        async with running(config) as own:
            app.extensions[EXTENSION] = own.state
            collector.settle()
            yield

    return app


def _add_commands(app: Quart, config: Config) -> None:
    async def run_migrations() -> list[str]:
        async with database_url(config.database_url, config.data_dir) as dsn:
            return await migrate(dsn)

    add_commands(app.cli, partial(open_operating, config), run_migrations)


def main() -> int:
    """Serves the app by hypercorn until SIGINT or SIGTERM; returns the exit status."""
    try:
        config = Config.from_env()
        listener = _listen(config)
    except ConfigError as error:
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
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
    try:
        return listen(config.host, config.port, config.listen_fd, most=config.max_connections)
    except ValueError as error:
        raise ConfigError(f"LISTEN_FDS names no socket to listen on: {error}") from error


async def _serve(config: Config, listener: Listener) -> None:
    """Serves until it is told to stop. What breaks on the way out does not matter any more: it is
    logged, and the next start finds everything in the database."""
    if starting := asyncio.current_task():
        when_told_to_stop(starting.cancel)
    left: Running | None = None
    try:
        async with running(config) as service:
            grace = config.shutdown_grace_seconds
            last_resort = LastResort(partial(service.lines.error, "stop", reason="it hangs"))
            when_told_to_stop(partial(leave, service.engine, service.lines, grace, last_resort))
            if config.embedded and config.serves_api:
                key_file = config.data_dir / KEY_FILE
                made = (service.examples, service.first_key)
                told = welcome(config.host, config.port, key_file, *made)
                as_json = config.log_format == "json"  # of which each line is an object
                print(told, file=sys.stderr if as_json else sys.stdout, flush=True)
            service.lines.system(
                "serve",
                role=config.role,
                host=config.host,
                port=config.port,
                shared=listener.shared,
            )
            app = create_app(config, service=service)
            collector.settle()
            delay = config.shutdown_delay_seconds
            await serve(app, listener, service.engine.departure, delay_seconds=delay)
            left = service
    except Exception as error:
        if left is None:
            raise
        left.lines.error("stop", reason=str(error), error_type=type(error).__name__)


if __name__ == "__main__":
    sys.exit(main())
