"""The smallest world an engine can run in: a memory store, virtual time, a recording outside."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from engine.context import ExecutionContext, JsonObject, Limits
from engine.engine import WorkflowEngine
from engine.environment import Impure
from engine.errors import StepFailure
from engine.graph import choose_trigger
from engine.memory_store import MemoryStore
from engine.ports import Callee, HttpResponse
from engine.settings import EngineSettings
from engine.validation import validate
from tests.virtual_time import VirtualClock

WORKFLOW_ID = "0190a000-0000-7000-8000-000000000001"


def document(nodes: Mapping[str, JsonObject], *edges: str, **fields: Any) -> JsonObject:
    """A workflow document. An edge is `"a -> b"`, `"a.port -> b"`, or with a condition
    `"a -> b if expression"`. A trigger `start` is added when there is none."""
    all_nodes: dict[str, JsonObject] = dict(nodes)
    if not any(n["node_type"].startswith("trigger_") for n in all_nodes.values()):
        all_nodes = {"start": {"node_type": "trigger_command", "command": "!go"}, **all_nodes}
    return {
        "name": "a workflow",
        "community_id": 1,
        "nodes": all_nodes,
        "connections": [_connection(edge) for edge in edges],
        **fields,
    }


def _connection(edge: str) -> JsonObject:
    path, _, conditional = edge.partition(" if ")
    source, _, target = path.partition(" -> ")
    node, _, port = source.partition(".")
    connection: JsonObject = {"from_node_id": node.strip(), "to_node_id": target.strip()}
    if port:
        connection["from_port_name"] = port
    if conditional:
        connection["conditional"] = conditional
    return connection


def canonical(raw: JsonObject, limits: Limits | None = None) -> JsonObject:
    """The canonical document; fails the test if the raw one is not valid."""
    report = validate(raw, limits or Limits())
    assert report.is_valid, report.as_json()["errors"]
    assert report.document is not None
    return report.document


class Outside:
    """Every effect that arrives, in order; `answers` maps a message or URL to what happens."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, JsonObject]] = []
        self.keys: list[str] = []
        self.answers: dict[str, Callable[[], Awaitable[Any]]] = {}
        self.running = 0
        self.most_running = 0

    def messages(self) -> list[str]:
        """The chat messages that were sent."""
        return [request["message"] for kind, request in self.arrived if kind == "message"]

    async def _arrive(self, kind: str, name: str, request: JsonObject, key: str) -> Any:
        self.arrived.append((kind, request))
        self.keys.append(key)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            answer = self.answers.get(name)
            return None if answer is None else await answer()
        finally:
            self.running -= 1

    async def execute_module(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Any:
        name = request["module_name"]
        answer = await self._arrive("module", name, request, idempotency_key)
        return {"ok": True} if answer is None else answer

    async def send_message(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Any:
        await self._arrive("message", request["message"], request, idempotency_key)
        return {"message_id": f"m{len(self.arrived)}"}

    async def browser_source(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Any:
        await self._arrive("overlay", str(request["content"]), request, idempotency_key)
        return {"shown": True}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | list[str]] | None,
        body: Any,
        timeout_seconds: float,
    ) -> HttpResponse:
        key = headers.get("Idempotency-Key", "")
        answer = await self._arrive("http", url, {"method": method, "url": url, "body": body}, key)
        return answer if answer is not None else HttpResponse(200, {}, {"ok": True})


def after(seconds: float, answer: Any = None) -> Callable[[], Awaitable[Any]]:
    """An answer that takes its time."""

    async def answered() -> Any:
        await asyncio.sleep(seconds)
        return answer

    return answered


def failing(times: int, answer: Any = None, **failure: Any) -> Callable[[], Awaitable[Any]]:
    """An answer that fails `times` times, then succeeds."""
    calls = itertools.count(1)

    async def answered() -> Any:
        if next(calls) <= times:
            raise StepFailure(**{"error_type": "DOWN", "message": "It is down.", **failure})
        return answer

    return answered


class Gate:
    """An answer that is given once somebody opens it."""

    def __init__(self) -> None:
        self._open = asyncio.Event()

    async def wait_for_it(self) -> Any:
        await self._open.wait()

    def open(self) -> None:
        self._open.set()


class Log:
    """What the engine said about itself."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, JsonObject]] = []

    def system(self, action: str, result: str, **fields: Any) -> None:
        self.lines.append((action, result, fields))

    def error(self, action: str, result: str, **fields: Any) -> None:
        self.lines.append((action, result, fields))

    def trouble(self, action: str, **fields: Any) -> None:
        self.lines.append((action, "FAILURE", fields))

    def over(self, action: str) -> None:
        return None


class World:
    """One store, one outside, any number of engines. Use within a virtual-time loop."""

    def __init__(
        self, limits: Limits | None = None, outside: Outside | None = None, **settings: Any
    ) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.outside = outside or Outside()
        self.limits = limits or Limits()
        self.settings = EngineSettings(**settings)
        self.log = Log()
        self.live: dict[str, int] = {}
        self.gate = Gate()
        self._ids = itertools.count(1)
        self._versions = itertools.count(1)
        self.engine = self.another_engine()

    def another_engine(self) -> WorkflowEngine:
        """Another process on the same store."""
        return WorkflowEngine(
            self.store,
            self.outside,
            self.outside,
            self,
            self.clock,
            Impure(self.clock.now, lambda: 0.5, self.new_id),
            self.log,
            self.limits,
            self.settings,
        )

    async def turn(self) -> None:
        """Lets everything that can happen now happen, and a hundredth of a second pass."""
        await asyncio.sleep(0.01)

    async def pause(self) -> None:
        """Lets the next thing happen, and no time pass."""
        await asyncio.sleep(0)

    def new_id(self) -> str:
        """A new UUID, the same in every run."""
        return f"0190b000-0000-7000-8000-{next(self._ids):012d}"

    def publish(self, raw: JsonObject, workflow_id: str = WORKFLOW_ID) -> int:
        """Stores a version of the workflow, which is live from now on. Returns its number."""
        version = next(self._versions)
        self.store.definitions[workflow_id, version] = canonical(raw, self.limits)
        self.live[workflow_id] = version
        return version

    async def callee(self, workflow_id: str, caller: ExecutionContext) -> Callee:
        """The engine's directory: every published workflow may be started."""
        version = self.live.get(workflow_id)
        if version is None:
            raise StepFailure("SUBWORKFLOW_NOT_FOUND", f"There is no workflow {workflow_id}.")
        return Callee(workflow_id, version)

    async def context(self, raw: JsonObject, **fields: Any) -> ExecutionContext:
        """What an execution of this document is born with."""
        version = self.publish(raw)
        graph = await self.engine.graphs.get(WORKFLOW_ID, version)
        metadata = fields.get("metadata") or {}
        source = metadata.get("trigger_source", "api")
        stored = self.store.definitions[WORKFLOW_ID, version]
        values: dict[str, Any] = {
            "execution_id": self.new_id(),
            "workflow_id": WORKFLOW_ID,
            "workflow_name": stored["name"],
            "workflow_version": version,
            "community_id": 1,
            "entity_id": 7,
            "user_id": 456,
            "trigger_node_id": choose_trigger(graph, fields.get("trigger_node_id"), source),
            "trigger_source": source,
            "created_at": self.clock.now(),
            "max_execution_seconds": stored.get("max_execution_time_seconds", 300),
            "max_parallel_executions": stored.get("max_parallel_executions"),
            "error_workflow_id": stored.get("error_workflow_id"),
            **fields,
        }
        return ExecutionContext(**values)

    async def run(self, raw: JsonObject, **fields: Any) -> JsonObject:
        """Starts the engine if need be, runs the document to its end, and returns its state."""
        if not self.engine.ready:
            await self.engine.start()
        context = await self.context(raw, **fields)
        await self.engine.execute_workflow(context)
        assert await self.engine.wait(context.execution_id, 40 * 86_400)
        state = await self.engine.get_execution_status(context.execution_id)
        assert state is not None
        return state
