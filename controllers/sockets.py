"""WebSockets: where they are taken, from whose pages, and how fast they are read.

Its one rule: a browser sends whoever is logged in along with a page's handshake, whosever page it
is, so a handshake with an `Origin` must come from our own or from one that is allowed by name.
A client without one is no browser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

from controllers.operation import REQUEST_ID_HEADER, request_id
from controllers.responses import JSON, Failure
from services.errors import Denied

ANY_ORIGIN = "*"
BETWEEN_MESSAGES_SECONDS = 0.05
"""A client that sends faster than this is read no faster: what it has sent waits in its socket."""
_POLICY_VIOLATION = 1008
_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()


class AsgiApp(Protocol):
    """An ASGI application."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def with_websockets(app: AsgiApp, routes: Collection[str]) -> AsgiApp:
    """The same app, taking WebSockets on these paths alone, for which the framework has no answer
    of its own. Others are refused, in the envelope where the server can send one (the ASGI
    extension `websocket.http.response`), else by closing."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await app(scope, receive, send)
        elif scope["path"] in routes:
            await app(scope, _unhurried(receive), send)
        else:
            await _refuse(scope, receive, send)

    return guarded


class OriginDenied(Denied):
    """WebSockets from this Origin are not allowed (LIVE_ORIGINS)."""


def refuse_strange_pages(headers: Headers, allowed: Collection[str]) -> None:
    """Raises `OriginDenied` for the handshake of a page that is neither ours nor of an `allowed`
    origin, in lower case."""
    origin = headers.get("Origin")
    if origin is None or ANY_ORIGIN in allowed or origin.lower().rstrip("/") in allowed:
        return
    host = headers.get("Host", "").lower()
    try:
        ours = host != "" and urlsplit(origin).netloc.lower() == host
    except ValueError:  # of brackets
        ours = False
    if not ours:
        raise OriginDenied


def _unhurried(receive: Any) -> Any:
    async def slowly() -> Any:
        await asyncio.sleep(BETWEEN_MESSAGES_SECONDS)
        return await receive()

    return slowly


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    refusal = Failure(HTTPStatus.NOT_FOUND, "NOT_FOUND", "No WebSocket is taken here.")
    sent = next((value for name, value in scope["headers"] if name == _REQUEST_ID), b"")
    headers = [
        (b"content-type", JSON.encode()),
        (b"x-content-type-options", b"nosniff"),
        (_REQUEST_ID, request_id(sent.decode("latin1")).encode()),
    ]
    start = {"type": "websocket.http.response.start", "status": 404, "headers": headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": refusal.body()})
