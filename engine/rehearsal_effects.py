"""What an effect would send: the node's own code writes the request, and nothing carries it.

Its one rule: a request is stopped at the very door through which a real run sends it (the
`Transport` and the `HttpClient`), so a dry run cannot show anything else than what would leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from engine.context import Json, JsonObject
from engine.effects import effect_io
from engine.scopes import Step


class _Sealed(Exception):
    """A request has come to the door."""

    def __init__(self, request: JsonObject) -> None:
        super().__init__()
        self.request = request


class _Door:
    """The `Transport` and the `HttpClient` of a world without an outside. No secret is known
    here: a request that carries some shows their names."""

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


async def would_send(step: Step, given: JsonObject, execution: JsonObject) -> JsonObject:
    """The request that the effect would send: for a webhook what the HTTP client is given, for
    the other actions the body that is posted to the router. Raises `StepFailure` if the node
    refuses to send it."""
    door = _Door()
    io = effect_io(step, execution, door, door, carrying=lambda _: door)
    try:
        await step.node.handler.perform(given, io)
    except _Sealed as sealed:
        return sealed.request
    return given
