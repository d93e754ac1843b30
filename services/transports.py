"""How messages, module calls and overlays leave: to WaddleBot's router, or to the console.

The rule both keep: they answer what the other side said. The router's JSON is returned as it is,
unless it says that it is no success, and the console says that it only printed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TextIO

from engine.context import Json, JsonObject
from engine.errors import StepFailure
from engine.json_door import dumps
from engine.nodes.webhook import RETRYABLE, is_uncertain, retry_after
from engine.ports import HttpClient, HttpResponse, Transport
from services.http_client import AiohttpClient

_SHOWN_CHARACTERS = 200


@asynccontextmanager
async def open_transport(
    router_url: str | None,
    service_key: str | None,
    stream: TextIO,
    new_id: Callable[[], str],
    *,
    as_json: bool,
) -> AsyncIterator[Transport]:
    """The transport to the router at this URL; without one, to the console that `stream` is."""
    if router_url is None:
        yield ConsoleTransport(stream, new_id, as_json=as_json)
        return
    # The operator has named the router, so it needs no guard against what authors might reach.
    async with AiohttpClient(None) as http:
        yield RouterTransport(http, router_url, service_key)


class RouterTransport:
    """Posts to the router. `http` needs no egress guard: the operator has named the router.
    Without a service key none is sent."""

    def __init__(self, http: HttpClient, router_url: str, service_key: str | None) -> None:
        self._http = http
        self._base = router_url.rstrip("/")
        self._credentials = {"X-Service-Key": service_key} if service_key else {}

    async def execute_module(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        """The module's answer as the router gives it. Raises `StepFailure`."""
        return await self._post("execute-module", request, idempotency_key, timeout_seconds)

    async def send_message(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        """`{"message_id": …}`, null if the router gave none. Raises `StepFailure`."""
        answer = await self._post("send-message", request, idempotency_key, timeout_seconds)
        if isinstance(answer, dict) and "message_id" not in answer:
            answer = answer.get("data")
        return {"message_id": answer.get("message_id") if isinstance(answer, dict) else None}

    async def browser_source(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        """The router's answer as it is. Raises `StepFailure`."""
        return await self._post("browser-source", request, idempotency_key, timeout_seconds)

    async def _post(
        self, operation: str, request: JsonObject, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        response = await self._http.request(
            "POST",
            f"{self._base}/api/v1/{operation}",
            headers={**self._credentials, "Idempotency-Key": idempotency_key},
            params=None,
            body=request,
            timeout_seconds=timeout_seconds,
        )
        if not 200 <= response.status <= 299:
            raise _refused(operation, response)
        if response.cut:
            message = f"the router's answer to {operation} is larger than MAX_OUTPUT_BYTES"
            raise StepFailure("RESPONSE_TOO_LARGE", message)
        if isinstance(response.body, str):
            if response.body.strip():
                raise StepFailure("BAD_RESPONSE", f"the router answered {operation} without JSON")
            return None
        if isinstance(response.body, dict) and response.body.get("success") is False:
            raise _denied(operation, response)
        return response.body


def _denied(operation: str, response: HttpResponse) -> StepFailure:
    """The failure for an answer whose status is a success, and which says that it is none."""
    said = _complaint(response.body)
    message = f"the router answered {operation} with success: false" + (said and f": {said}")
    return StepFailure("ROUTER_REFUSED", message, details={"status": response.status})


def _refused(operation: str, response: HttpResponse) -> StepFailure:
    """The failure for a status that is no success. A redirect counts as a refusal: following
    it would send the service key somewhere else."""
    said = _complaint(response.body)
    message = f"the router answered {operation} with {response.status}" + (said and f": {said}")
    retryable = response.status in RETRYABLE or response.status >= 500
    return StepFailure(
        "ROUTER_UNAVAILABLE" if retryable else "ROUTER_REFUSED",
        message,
        retryable=retryable,
        retry_after=retry_after(response.headers) if retryable else None,
        uncertain=is_uncertain(response.status),
        details={"status": response.status},
    )


def _complaint(body: Json) -> str:
    """What an error body says in words, shortened."""
    said = body
    if isinstance(body, dict):
        said = next((body[key] for key in ("message", "error", "detail") if body.get(key)), "")
    return said[:_SHOWN_CHARACTERS] if isinstance(said, str) else ""


class ConsoleTransport:
    """Prints what would be sent, one line each, as Django's console e-mail backend does.

    `new_id` makes message ids. Nothing is remembered, so nothing is deduplicated: a repeated
    step prints again, with the same idempotency key. With `as_json` a line is an object, as those
    of the log are that it stands among.
    """

    def __init__(self, stream: TextIO, new_id: Callable[[], str], *, as_json: bool = False) -> None:
        self._stream = stream
        self._new_id = new_id
        self._as_json = as_json

    async def execute_module(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        """Says which call was printed: no module has run, so there is no other answer."""
        name, action = request.get("module_name"), request.get("action")
        shown = dumps(request.get("input")).decode()
        self._print(f"module {name} {action or '-'} {shown}", idempotency_key)
        return {
            "printed": True,
            "module_name": name,
            "action": action,
            "input": request.get("input"),
        }

    async def send_message(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        """`{"message_id": …}` with an id of our own."""
        message_id = self._new_id()
        self._print(f"chat to {_addressee(request)}: {request.get('message')}", idempotency_key)
        return {"message_id": message_id}

    async def browser_source(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        """Says what was printed: nothing is shown on any overlay."""
        action, kind = request.get("action"), request.get("source_type")
        shown = dumps(request.get("content")).decode()
        self._print(f"overlay {action} {kind} {shown}", idempotency_key)
        return {"printed": True, "source_type": kind, "action": action}

    def _print(self, text: str, idempotency_key: str) -> None:
        """One line, whatever the text holds: what is not printable is escaped. Raises
        `StepFailure` if the stream is gone."""
        try:
            self._stream.write(f"{self._line(text, idempotency_key)}\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            raise StepFailure("CONSOLE_CLOSED", "the console cannot be written to") from error

    def _line(self, text: str, idempotency_key: str) -> str:
        if self._as_json:
            return json.dumps({"console": text, "idempotency_key": idempotency_key})
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        return f"» {line}  ({idempotency_key})"


def _addressee(request: JsonObject) -> str:
    """Where a message goes, in words."""
    platform = request.get("platform") or "any platform"
    match request.get("destination"):
        case "specified_channel":
            return f"channel {request.get('channel_id')} on {platform}"
        case "user_pm":
            return f"user {request.get('target_user_id')} on {platform}"
        case _:
            return f"the current channel on {platform}"
