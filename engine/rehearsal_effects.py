"""What an effect would send: the node's own code writes the request, and nothing carries it.

Its one rule: a request is stopped at the very door through which a real run sends it (the
`Transport` and the `HttpClient`), so a dry run cannot show anything else than what would leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from engine.context import Json, JsonObject
from engine.effects import DEFAULT_TIMEOUT_SECONDS
from engine.nodes.base import EffectIO
from engine.scopes import Step


class _Sealed(Exception):
    """A request has come to the door."""

    def __init__(self, request: JsonObject) -> None:
        super().__init__()
        self.request = request


class _Door:
    """The `Transport` and the `HttpClient` of a world without an outside."""

    async def execute_module(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> NoReturn:
        raise _Sealed(request)

    async def send_message(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> NoReturn:
        raise _Sealed(request)

    async def browser_source(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> NoReturn:
        raise _Sealed(request)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | list[str]] | None,
        body: Json,
        timeout_seconds: float,
    ) -> NoReturn:
        raise _Sealed(
            {
                "method": method,
                "url": url,
                "headers": dict(headers),
                "params": dict(params or {}),
                "body": body,
                "timeout_seconds": timeout_seconds,
            }
        )


def seconds_allowed(step: Step) -> float | None:
    """How long an attempt of this step may take; None for as long as it likes."""
    if step.node.family == "effect":
        return step.node.timeout_seconds or DEFAULT_TIMEOUT_SECONDS
    return step.node.timeout_seconds


def idempotency_key(execution: JsonObject, step: Step) -> str:
    """The key that an effect is sent with, the same on every attempt."""
    return f"{execution['id']}:{step.key}"


async def would_send(step: Step, given: JsonObject, execution: JsonObject) -> JsonObject:
    """The request that the effect would send: for a webhook what the HTTP client is given, for
    the other actions the body that is posted to the router. Raises `StepFailure` if the node
    refuses to send it."""
    door = _Door()
    io = EffectIO(
        transport=door,
        http=door,
        idempotency_key=idempotency_key(execution, step),
        execution=execution,
        timeout_seconds=seconds_allowed(step) or DEFAULT_TIMEOUT_SECONDS,
    )
    try:
        await step.node.handler.perform(given, io)
    except _Sealed as sealed:
        return sealed.request
    return given
