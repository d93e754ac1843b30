"""WebSocket handshakes are refused before they reach the framework: no route takes one.

Without this a handshake on any path runs into handlers that were made for requests.
"""

from __future__ import annotations

from typing import Any, Protocol

from engine.json_door import dumps

_REFUSAL = dumps(
    {
        "success": False,
        "message": "No route takes a WebSocket.",
        "error_code": "NOT_FOUND",
        "details": {},
    }
)
_POLICY_VIOLATION = 1008


class AsgiApp(Protocol):
    """An ASGI application."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def without_websockets(app: AsgiApp) -> AsgiApp:
    """The same app, refusing every WebSocket: with a 404 in the envelope where the server can
    send one (the ASGI extension `websocket.http.response`), else by closing."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await app(scope, receive, send)
            return
        await receive()
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        headers = [(b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff")]
        await send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": _REFUSAL})

    return guarded
