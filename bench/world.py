"""An engine on a real PostgreSQL in a temporary directory, and the workflows to measure it."""

from __future__ import annotations

import os
import platform
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uuid_utils

from engine.context import ExecutionContext, JsonObject, Limits
from engine.engine import WorkflowEngine
from engine.environment import Impure
from engine.settings import EngineSettings
from engine.validation import validate
from models.dal import AsyncDAL
from models.embedded import start_embedded
from models.execution_store import PostgresExecutionStore
from models.migrate import migrate
from services.clock import SystemClock

LIMITS = Limits(max_parallel_nodes=100, max_workflow_nodes=2_500, max_total_operations=5_000)
PAYLOAD = {"user": "ada_lovelace", "text": "x" * 130, "tier": "gold", "count": 12, "vip": True}
"""About 200 bytes of JSON, in and out of every step."""


class Quiet:
    """The outside world that answers at once, and a log that nobody reads."""

    async def execute_module(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> JsonObject:
        return PAYLOAD

    async def send_message(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> JsonObject:
        return PAYLOAD

    async def browser_source(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> JsonObject:
        return PAYLOAD

    async def request(self, *_: object, **__: object) -> None:
        raise AssertionError("no workload makes HTTP requests")

    def system(self, action: str, result: str, **fields: object) -> None:
        return None

    def error(self, action: str, result: str, **fields: object) -> None:
        raise AssertionError(f"{action}: {fields}")

    def trouble(self, action: str, **fields: object) -> None:
        raise AssertionError(f"{action}: {fields}")

    def over(self, action: str) -> None:
        return None


@dataclass(slots=True)
class World:
    """A running engine and its database."""

    dal: AsyncDAL
    dsn: str
    engine: WorkflowEngine
    clock: SystemClock
    versions: int = 0

    async def publish(self, document: JsonObject) -> ExecutionContext:
        """Stores a workflow and its version; returns a context to copy for its executions."""
        report = validate(document, LIMITS)
        assert report.document is not None, report.as_json()
        workflow_id = str(uuid_utils.uuid7())
        await self.dal.execute(
            "INSERT INTO workflows (workflow_id, community_id, name, status, document, created_by,"
            " published_version, published_at) VALUES ($1, 1, $2, 'active', $3, 1, 1, now())",
            workflow_id,
            document["name"],
            report.document,
        )
        await self.dal.execute(
            "INSERT INTO workflow_versions (workflow_id, version, document, published_by)"
            " VALUES ($1, 1, $2, 1)",
            workflow_id,
            report.document,
        )
        await self.engine.graphs.get(workflow_id, 1)
        return self.template(workflow_id, str(document["name"]))

    def template(self, workflow_id: str, name: str = "a workflow") -> ExecutionContext:
        """A context to copy for executions of the only version of a workflow."""
        return ExecutionContext(
            execution_id="",
            workflow_id=workflow_id,
            workflow_name=name,
            workflow_version=1,
            community_id=1,
            user_id=1,
            trigger_node_id="start",
            created_at=self.clock.now(),
            max_execution_seconds=300,
            variables=PAYLOAD,
        )


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """A fresh database and an engine on it; both are gone afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        server = start_embedded(Path(directory))
        try:
            await migrate(server.dsn)
            async with AsyncDAL(server.dsn) as dal, engine_on(dal) as (engine, clock):
                yield World(dal, server.dsn, engine, clock)
        finally:
            server.stop()


async def machine(world: World) -> str:
    """What is measured on, in a line."""
    version = await world.dal.fetchval("SHOW server_version")
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, PostgreSQL {version}"


@asynccontextmanager
async def engine_on(
    dal: AsyncDAL, store: PostgresExecutionStore | None = None, outside: Quiet | None = None
) -> AsyncIterator[tuple[WorkflowEngine, SystemClock]]:
    """An engine that runs on a database that is there: on a store and with an outside world of
    its own, unless they are given."""
    clock = SystemClock()
    quiet = outside or Quiet()
    engine = WorkflowEngine(
        store or PostgresExecutionStore(dal),
        quiet,
        quiet,  # type: ignore[arg-type]  # it answers nothing, and need not
        quiet,  # type: ignore[arg-type]  # nor does it know a workflow to start
        clock,
        Impure(clock.now, random.random, lambda: str(uuid_utils.uuid7())),
        quiet,
        LIMITS,
        EngineSettings(max_concurrent_executions=2_000),
    )
    await engine.start()
    try:
        yield engine, clock
    finally:
        await engine.shutdown()


def chain(length: int, node_type: str) -> JsonObject:
    """A trigger and `length` nodes in a row, each with `PAYLOAD` in and out."""
    nodes: JsonObject = {"start": {"node_type": "trigger_command", "config": {"command": "!go"}}}
    connections = []
    before = "start"
    for number in range(length):
        name = f"step{number}"
        nodes[name] = {"node_type": node_type, "config": _config(node_type)}
        connections.append({"from_node_id": before, "to_node_id": name})
        before = name
    return {
        "name": f"{length} x {node_type}",
        "community_id": 1,
        "nodes": nodes,
        "connections": connections,
    }


def fan(width: int, node_type: str) -> JsonObject:
    """A trigger, `width` nodes side by side, each with `PAYLOAD` in and out, and a merge."""
    nodes: JsonObject = {
        "start": {"node_type": "trigger_command", "config": {"command": "!go"}},
        "fan": {"node_type": "flow_parallel", "config": {}},
        "merge": {"node_type": "flow_merge", "config": {}},
    }
    connections = [{"from_node_id": "start", "to_node_id": "fan"}]
    for number in range(width):
        name = f"step{number}"
        nodes[name] = {"node_type": node_type, "config": _config(node_type)}
        connections.append({"from_node_id": "fan", "to_node_id": name})
        connections.append({"from_node_id": name, "to_node_id": "merge"})
    return {
        "name": f"{width} x {node_type}, side by side",
        "community_id": 1,
        "nodes": nodes,
        "connections": connections,
    }


def _config(node_type: str) -> JsonObject:
    if node_type == "action_module":
        return {"module_name": "echo", "action": "echo", "input": {"text": "{{ text }}"}}
    return {"variables": {name: f"{{{{ {name} }}}}" for name in PAYLOAD}}
