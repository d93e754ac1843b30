"""The smallest world a node can run in: something to see, and a recorder for the outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from engine.context import Json, JsonObject
from engine.expressions import Budget, MapEnv
from engine.nodes import REGISTRY
from engine.nodes.base import EffectIO, Finding, Result
from engine.ports import HttpResponse

EXECUTION = {
    "id": "e1",
    "entity_id": 9,
    "user_id": 456,
    "session_id": "s1",
    "platform": "twitch",
    "started_at": "2025-12-09T12:00:00Z",
}


@dataclass
class Recorder:
    """An HTTP client and a transport that answer as told and remember what they were given."""

    answer: Any = field(default_factory=lambda: HttpResponse(200, {}, {"ok": True}))
    calls: list[tuple[str, JsonObject]] = field(default_factory=list)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | list[str]] | None,
        body: Json,
        timeout_seconds: float,
    ) -> HttpResponse:
        sent = {"headers": dict(headers), "params": params, "body": body}
        self.calls.append((f"{method} {url}", sent | {"timeout_seconds": timeout_seconds}))
        answer: HttpResponse = self.answer
        return answer

    async def execute_module(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        return self._transport("execute_module", request, idempotency_key)

    async def send_message(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        return self._transport("send_message", request, idempotency_key)

    async def browser_source(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        return self._transport("browser_source", request, idempotency_key)

    def _transport(self, name: str, request: JsonObject, key: str) -> Json:
        self.calls.append((name, request | {"key": key}))
        return self.answer


def normalised(node_type: str, config: JsonObject) -> JsonObject:
    """What the reader makes of a configuration: normalised, aliases folded, choices renamed."""
    spec = REGISTRY[node_type]
    folded: JsonObject = {}
    for key, value in spec.normalise(dict(config)).items():
        found = spec.field_named(key)
        if found is None:
            folded[key] = value
            continue
        renamed = dict(found.choice_aliases)
        folded[found.name] = renamed.get(value, value) if isinstance(value, str) else value
    return folded


def world(**names: Json) -> MapEnv:
    """What a node sees: the names given, beside the reserved ones."""
    trigger = {"payload": {"text": "hi"}, "metadata": {}}
    return MapEnv({"input": "in", "execution": EXECUTION, "trigger": trigger, **names})


@pytest.fixture
def see() -> Callable[..., MapEnv]:
    return world


@pytest.fixture
def read() -> Callable[[str, JsonObject], JsonObject]:
    return normalised


@pytest.fixture
def run() -> Callable[..., Result]:
    """Compiles a node and runs it once, seeing the names given."""

    def run_node(node_type: str, config: JsonObject, **names: Json) -> Result:
        handler = REGISTRY[node_type].compile(normalised(node_type, config))
        result: Result = handler.run(world(**names), Budget())
        return result

    return run_node


@pytest.fixture
def render() -> Callable[..., JsonObject]:
    def render_node(node_type: str, config: JsonObject, **names: Json) -> JsonObject:
        handler = REGISTRY[node_type].compile(normalised(node_type, config))
        rendered: JsonObject = handler.render(world(**names), Budget())
        return rendered

    return render_node


@pytest.fixture
def check() -> Callable[[str, JsonObject], list[Finding]]:
    def check_node(node_type: str, config: JsonObject) -> list[Finding]:
        return list(REGISTRY[node_type].check(normalised(node_type, config)))

    return check_node


@pytest.fixture
def ports() -> Callable[[str, JsonObject], tuple[str, ...]]:
    return lambda node_type, config: REGISTRY[node_type].ports(normalised(node_type, config))


@pytest.fixture
def outside() -> Recorder:
    return Recorder()


@pytest.fixture
def io(outside: Recorder) -> EffectIO:
    return EffectIO(outside, outside, "e1:node", EXECUTION, timeout_seconds=30)
