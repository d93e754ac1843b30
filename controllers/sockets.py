"""WebSocket handshakes, before they reach the framework: only known routes, only known origins.

Its one rule: a browser sends whoever is logged in along with a page's handshake, whosever page it
is, so a handshake with an `Origin` must come from our own or from one that is allowed by name.
A client without one is no browser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Protocol
from urllib.parse import urlsplit

from engine.json_door import dumps

ANY_ORIGIN = "*"
BETWEEN_MESSAGES_SECONDS = 0.05
"""A client that sends faster than this is read no faster: what it has sent waits in its socket."""
_POLICY_VIOLATION = 1008


class AsgiApp(Protocol):
    """An ASGI application."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def with_websockets(app: AsgiApp, routes: Collection[str], origins: Collection[str]) -> AsgiApp:
    """The same app, taking WebSockets on these paths and from these origins alone. Others are
    refused, in the envelope where the server can send one (the ASGI extension
    `websocket.http.response`), else by closing."""
    allowed = {origin.lower() for origin in origins}

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await app(scope, receive, send)
        elif scope["path"] not in routes:
            await _refuse(scope, receive, send, 404, "NOT_FOUND", "No WebSocket is taken here.")
        elif not _is_allowed(scope, allowed):
            message = "WebSockets from this Origin are not allowed (LIVE_ORIGINS)."
            await _refuse(scope, receive, send, 403, "PERMISSION_DENIED", message)
        else:
            await app(scope, _unhurried(receive), send)

    return guarded


def _is_allowed(scope: Any, allowed: Collection[str]) -> bool:
    headers = {name.lower(): value.decode("latin1") for name, value in scope["headers"]}
    origin = headers.get(b"origin")
    if origin is None or ANY_ORIGIN in allowed or origin.lower().rstrip("/") in allowed:
        return True
    host: str = headers.get(b"host", "").lower()
    return host != "" and urlsplit(origin).netloc.lower() == host


def _unhurried(receive: Any) -> Any:
    async def slowly() -> Any:
        await asyncio.sleep(BETWEEN_MESSAGES_SECONDS)
        return await receive()

    return slowly


async def _refuse(
    scope: Any, receive: Any, send: Any, status: int, code: str, message: str
) -> None:
    await receive()
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    body = {"success": False, "message": message, "error_code": code, "details": {}}
    headers = [(b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": dumps(body)})
