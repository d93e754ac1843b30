"""What can be set from outside, read once from the environment and `.env`.

Nothing else reads the environment: a value is read here, checked here, and handed down as an
argument. All wrong values are reported at once, each with what would be right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypedDict

from click import ClickException
from dotenv.parser import parse_stream

from config_lists import destinations, networks, origins, secret_keys
from config_reader import Reader
from config_urls import database_url, key_set_url, redis_url, service_url

KIB, MIB = 1024, 1024 * 1024
LONGEST_RETENTION_DAYS = 36_500
LOOPBACK = ("127.0.0.0/8", "::1/128")
ROLES = ("all", "api", "worker")

_LISTEN_FDS, _LISTEN_PID = "LISTEN_FDS", "LISTEN_PID"
_FIRST_FD = 3
"""Where systemd's protocol (sd_listen_fds(3)) puts the first inherited socket."""


class Pool(TypedDict):
    """How many connections to the database there are, and the seconds one statement may take."""

    min_size: int
    max_size: int
    command_timeout: float


class ConfigError(ClickException):
    """The configuration is wrong; the message has a line for every wrong value. Command lines, also
    those of servers that call `create_app`, show it without a traceback."""

    exit_code = 2

    def format_message(self) -> str:
        """What they show."""
        return f"The configuration is wrong:\n{self.message}"


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one process. `.env.example` says what each value means."""

    host: str = "127.0.0.1"
    port: int = 8070
    role: str = "all"
    listen_fd: int | None = None
    """A listening socket that was inherited; not a variable of ours, but systemd's protocol."""
    data_dir: Path = Path(".data")
    database_url: str | None = field(default=None, repr=False)
    database_pool_min: int = 2
    database_pool_max: int = 20
    database_command_timeout_seconds: float = 10.0
    secret_key: str | None = field(default=None, repr=False)
    secrets_key: tuple[bytes, ...] = field(default=(), repr=False)
    jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_leeway_seconds: int = 5
    trusted_proxies: tuple[str, ...] = ()
    auth_failures_per_minute: int = 100
    redis_url: str | None = field(default=None, repr=False)
    rate_limit: str = "on"
    rate_limit_per_key: int = 300_000
    rate_limit_per_user: int = 300_000
    rate_limit_per_community: int = 300_000
    transport: str = "console"
    router_url: str | None = None
    router_service_key: str | None = field(default=None, repr=False)
    egress_allow: tuple[str, ...] = LOOPBACK
    egress_deny: tuple[str, ...] = ()
    log_level: str = "INFO"
    log_format: str = "text"
    metrics_token: str | None = field(default=None, repr=False)
    metrics_process: str | None = None
    otel_traces_exporter: str = "none"
    workflow_timeout_seconds: int = 300
    max_loop_iterations: int = 100
    max_total_operations: int = 1000
    max_loop_depth: int = 10
    max_parallel_nodes: int = 10
    max_subworkflow_depth: int = 10
    max_workflow_nodes: int = 500
    max_workflow_expressions: int = 5000
    max_output_bytes: int = MIB
    max_execution_bytes: int = 64 * MIB
    max_concurrent_executions: int = 200
    max_pending_executions: int = 10_000
    max_concurrent_per_community: int | None = None
    max_pending_per_community: int | None = None
    max_workflows_per_community: int | None = None
    max_definition_bytes_per_community: int | None = None
    max_history_bytes_per_community: int | None = None
    max_body_bytes: int = MIB
    max_batch_body_bytes: int = 32 * MIB
    max_connections: int = 5_000
    max_live_streams: int = 5_000
    max_live_streams_per_user: int = 2_000
    live_buffer_events: int = 1_000
    live_origins: tuple[str, ...] = ()
    shutdown_grace_seconds: float = 20.0
    shutdown_delay_seconds: float = 0.0
    lease_seconds: float = 10.0
    retention_days: int | None = None
    webhook_timeout_seconds: float = 10.0
    webhook_retention_days: int = 30
    module_name: str = "workflow_core_module"
    module_version: str = "0.1.0"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Reads the process's environment over `.env`, or the mapping given instead of both.

        A variable that is empty counts as unset. Raises `ConfigError`.
        """
        read = Reader(os.environ, _file()) if environ is None else Reader(environ)
        found = {**_service(read), **_callers(read), **_engine(read)}
        config = cls(**found)  # type: ignore[arg-type]  # by name
        if config.transport == "router" and config.router_url is None:
            read.problems.append("WADDLEBOT_TRANSPORT=router needs ROUTER_URL, which is not set")
        if config.database_pool_min > config.database_pool_max:
            read.problems.append(
                f"DATABASE_POOL_MIN={config.database_pool_min} must not be more than "
                f"DATABASE_POOL_MAX={config.database_pool_max}"
            )
        if config.shutdown_delay_seconds > config.shutdown_grace_seconds:
            read.problems.append(
                f"SHUTDOWN_DELAY_SECONDS={config.shutdown_delay_seconds:g} must not be more than "
                f"SHUTDOWN_GRACE_SECONDS={config.shutdown_grace_seconds:g}, of which it is a part"
            )
        if read.problems:
            raise ConfigError("\n".join(read.problems))
        return config

    @property
    def embedded(self) -> bool:
        """Whether the database is the embedded one: a development machine, not production."""
        return self.database_url is None

    @property
    def pool(self) -> Pool:
        """The limits of the connections to the database, by the names that `opened` has."""
        return {
            "min_size": self.database_pool_min,
            "max_size": self.database_pool_max,
            "command_timeout": self.database_command_timeout_seconds,
        }

    @property
    def live_limits(self) -> dict[str, int]:
        """The limits of live streams, by the names that `LiveLimits` has for them."""
        return {
            "streams": self.max_live_streams,
            "streams_per_user": self.max_live_streams_per_user,
            "buffer_events": self.live_buffer_events,
        }

    @property
    def rate_limits(self) -> tuple[int | None, int | None, int | None]:
        """Requests a minute: of a key, a user, a community; None where nothing is limited."""
        if self.rate_limit == "off":
            return None, None, None
        return self.rate_limit_per_key, self.rate_limit_per_user, self.rate_limit_per_community

    @property
    def community_quota(self) -> tuple[int | None, int | None]:
        """How many workflows a community may have, and how many bytes of definitions."""
        return self.max_workflows_per_community, self.max_definition_bytes_per_community

    @property
    def serves_api(self) -> bool:
        """Whether callers come here, or only whoever looks after the process."""
        return self.role != "worker"

    @property
    def runs_executions(self) -> bool:
        """Whether executions run here, or are only accepted."""
        return self.role != "api"


def _file() -> dict[str, str]:
    """What `.env` says, if there is one. Raises `ConfigError` for a line that says nothing: it may
    have been meant to name the database."""
    try:
        with Path(".env").open(encoding="utf-8-sig") as stream:
            lines = list(parse_stream(stream))
    except (FileNotFoundError, IsADirectoryError):  # the latter: a virtual environment's
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f".env cannot be read: {error}") from error
    unread = [line.original.line for line in lines if line.error]
    if unread:
        where = "\n".join(f".env, line {number}: it must be NAME=value" for number in unread)
        raise ConfigError(f"{where}, and a quote that is opened must be closed")
    return {line.key: line.value for line in lines if line.key and line.value is not None}


def _service(read: Reader) -> dict[str, object]:
    database = read.value("DATABASE_URL", None, database_url, "DATABASE_URI", hidden=True)
    router_url = read.value("ROUTER_URL", None, service_url)
    transport = "router" if router_url else "console"
    nowhere: tuple[str, ...] = ()
    allow = nowhere if database else LOOPBACK
    return {
        "host": read.value("HOST", "127.0.0.1", str),
        "port": read.integer("PORT", 8070, 1, 65_535, "MODULE_PORT"),
        "role": read.choice("ROLE", "all", ROLES),
        "listen_fd": _listen_fd(read),
        "data_dir": read.value("DATA_DIR", Path(".data"), Path),
        "database_url": database,
        "database_pool_min": read.integer("DATABASE_POOL_MIN", 2, 0, 1000),
        "database_pool_max": read.integer("DATABASE_POOL_MAX", 20, 2, 1000),
        "database_command_timeout_seconds": read.seconds(
            "DATABASE_COMMAND_TIMEOUT_SECONDS", 10.0, 0.1, 3600
        ),
        "transport": read.choice("WADDLEBOT_TRANSPORT", transport, ("console", "router")),
        "router_url": router_url,
        "router_service_key": read.value("ROUTER_SERVICE_KEY", None, str),
        "egress_allow": read.value("EGRESS_ALLOW", allow, destinations),
        "egress_deny": read.value("EGRESS_DENY", nowhere, destinations),
        "log_level": read.choice(
            "LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"), fold=str.upper
        ),
        "log_format": read.choice("LOG_FORMAT", "text", ("text", "json")),
        "metrics_token": read.value("METRICS_TOKEN", None, str),
        "otel_traces_exporter": read.choice(
            "OTEL_TRACES_EXPORTER", "none", ("none", "otlp", "console")
        ),
        "metrics_process": read.value("METRICS_PROCESS", None, _process_label),
        "max_body_bytes": read.integer("MAX_BODY_BYTES", MIB, KIB, 1024 * MIB),
        "max_connections": read.integer("MAX_CONNECTIONS", 5_000, 1, 1_000_000),
        "max_batch_body_bytes": read.integer("MAX_BATCH_BODY_BYTES", 32 * MIB, KIB, 1024 * MIB),
        "max_live_streams": read.integer("MAX_LIVE_STREAMS", 5_000, 0, 1_000_000),
        "max_live_streams_per_user": read.integer("MAX_LIVE_STREAMS_PER_USER", 2_000, 0, 1_000_000),
        "live_buffer_events": read.integer("LIVE_BUFFER_EVENTS", 1_000, 1, 1_000_000),
        "live_origins": read.value("LIVE_ORIGINS", nowhere, origins),
        "module_name": read.value("MODULE_NAME", "workflow_core_module", _word),
        "module_version": read.value("MODULE_VERSION", "0.1.0", _word),
    }


def _callers(read: Reader) -> dict[str, object]:
    nowhere: tuple[str, ...] = ()
    nokeys: tuple[bytes, ...] = ()
    return {
        "secret_key": read.secret("SECRET_KEY"),
        "secrets_key": read.value("SECRETS_KEY", nokeys, secret_keys, hidden=True),
        "jwks_url": read.value("JWKS_URL", None, key_set_url),
        "jwt_issuer": read.value("JWT_ISSUER", None, str),
        "jwt_audience": read.value("JWT_AUDIENCE", None, str),
        "jwt_leeway_seconds": read.integer("JWT_LEEWAY_SECONDS", 5, 0, 300),
        "trusted_proxies": read.value("TRUSTED_PROXIES", nowhere, networks),
        "auth_failures_per_minute": read.integer("AUTH_FAILURES_PER_MINUTE", 100, 0, 1_000_000),
        "redis_url": read.value("REDIS_URL", None, redis_url, hidden=True),
        "rate_limit": read.choice("RATE_LIMIT", "on", ("on", "off")),
        "rate_limit_per_key": read.integer("RATE_LIMIT_PER_KEY", 300_000, 1, 1_000_000_000),
        "rate_limit_per_user": read.integer("RATE_LIMIT_PER_USER", 300_000, 1, 1_000_000_000),
        "rate_limit_per_community": read.integer(
            "RATE_LIMIT_PER_COMMUNITY", 300_000, 1, 1_000_000_000
        ),
    }


def _engine(read: Reader) -> dict[str, object]:
    return {
        "workflow_timeout_seconds": read.integer("WORKFLOW_TIMEOUT_SECONDS", 300, 1, 31_536_000),
        "max_loop_iterations": read.integer("MAX_LOOP_ITERATIONS", 100, 1, 1_000_000),
        "max_total_operations": read.integer("MAX_TOTAL_OPERATIONS", 1000, 1, 10_000_000),
        "max_loop_depth": read.integer("MAX_LOOP_DEPTH", 10, 1, 100),
        "max_parallel_nodes": read.integer("MAX_PARALLEL_NODES", 10, 1, 1000),
        "max_subworkflow_depth": read.integer("MAX_SUBWORKFLOW_DEPTH", 10, 0, 100),
        "max_workflow_nodes": read.integer("MAX_WORKFLOW_NODES", 500, 1, 100_000),
        "max_workflow_expressions": read.integer("MAX_WORKFLOW_EXPRESSIONS", 5000, 1, 1_000_000),
        "max_execution_bytes": read.integer("MAX_EXECUTION_BYTES", 64 * MIB, MIB, 1024 * MIB),
        "max_output_bytes": read.integer("MAX_OUTPUT_BYTES", MIB, KIB, 256 * MIB),
        "max_concurrent_executions": read.integer(
            "MAX_CONCURRENT_EXECUTIONS", 200, 1, 1_000_000, "MAX_CONCURRENT_WORKFLOWS"
        ),
        "max_pending_executions": read.integer("MAX_PENDING_EXECUTIONS", 10_000, 1, 100_000_000),
        "max_concurrent_per_community": read.value(
            "MAX_CONCURRENT_PER_COMMUNITY", None, _at_least_one
        ),
        "max_pending_per_community": read.value("MAX_PENDING_PER_COMMUNITY", None, _at_least_one),
        "max_workflows_per_community": read.value(
            "MAX_WORKFLOWS_PER_COMMUNITY", None, _at_least_one
        ),
        "max_definition_bytes_per_community": read.value(
            "MAX_DEFINITION_BYTES_PER_COMMUNITY", None, _bytes
        ),
        "max_history_bytes_per_community": read.value(
            "MAX_HISTORY_BYTES_PER_COMMUNITY", None, _bytes
        ),
        "shutdown_grace_seconds": read.seconds("SHUTDOWN_GRACE_SECONDS", 20.0, 0, 3600),
        "shutdown_delay_seconds": read.seconds("SHUTDOWN_DELAY_SECONDS", 0.0, 0, 3600),
        "lease_seconds": read.seconds("LEASE_SECONDS", 10.0, 1, 3600),
        "retention_days": read.value("RETENTION_DAYS", None, _days),
        "webhook_timeout_seconds": read.seconds("WEBHOOK_TIMEOUT_SECONDS", 10.0, 0.1, 60),
        "webhook_retention_days": read.integer(
            "WEBHOOK_RETENTION_DAYS", 30, 1, LONGEST_RETENTION_DAYS
        ),
    }


def _listen_fd(read: Reader) -> int | None:
    """The inherited socket, by systemd's protocol: variables that are meant for another process,
    because they name it or name none, are no concern of this one."""
    pid = read.value(_LISTEN_PID, None, _process_id)
    if pid != os.getpid():
        return None
    return read.value(_LISTEN_FDS, None, _one_socket)


def _process_id(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise ValueError("the number of the process that LISTEN_FDS is meant for")
    return int(text)


def _one_socket(text: str) -> int:
    if text != "1":
        raise ValueError("1: this service listens on one socket")
    return _FIRST_FD


def _at_least_one(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise ValueError("a whole number from 1 to 999999999, such as 50")
    return int(text)


def _bytes(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) < KIB:
        raise ValueError(f"a whole number of bytes from {KIB} on, such as {100 * MIB}")
    return int(text)


def _days(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= LONGEST_RETENTION_DAYS:
        raise ValueError(f"a whole number of days from 1 to {LONGEST_RETENTION_DAYS}, such as 90")
    return int(text)


def _word(text: str) -> str:
    if not re.fullmatch(r"[\w.+-]+", text):
        raise ValueError("letters, digits and . _ + - only")
    return text


def _process_label(text: str) -> str:
    return str(os.getpid()) if text == "pid" else _word(text)
