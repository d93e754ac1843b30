"""What happens around every request: its id, its credential, its line in the log.

Its one rule: default deny. Before any handler of a route that is not named in `PUBLIC` there must
be a caller; what a route forgot to ask for is asked for here.
"""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from quart import (
    Quart,
    Request,
    Response,
    current_app,
    has_request_context,
    request,
    websocket,
)
from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotFound, RequestHeaderFieldsTooLarge, RequestURITooLarge

from controllers.auth import PUBLIC, SOCKET_ATTRIBUTE
from controllers.endpoint import ACTION_ATTRIBUTE
from controllers.errors import answer_to
from controllers.operation import REQUEST_ID_HEADER, Operation, begin, event_of, operation
from controllers.requests import pointer
from controllers.sockets import refuse_strange_pages
from controllers.state import state
from services.errors import NotValid, Problem, RateLimited, TooManyAttempts

MOST_HEADERS = 100
LONGEST_TARGET = 8_192
"""Bytes of a request's path and query. The server itself ends a connection that sends more than
16 KiB of head."""

BATCH_SUFFIX = "/execute/batch"
SWITCHED = 101
"""The status of a WebSocket that was not refused."""


SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""On every answer that does not say otherwise itself: nothing here is to be framed, run or kept."""


def limited_request(batch_bytes: int) -> type[Request]:
    """A request class whose batches may have `batch_bytes`, and all else `MAX_CONTENT_LENGTH`.
    A body that is longer is refused while it arrives."""

    class LimitedRequest(Request):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            path: str = args[2]
            if path.removesuffix("/").endswith(BATCH_SUFFIX):  # `/x/` is `/x`
                kwargs["max_content_length"] = batch_bytes
            super().__init__(*args, **kwargs)

    return LimitedRequest


def add_gate(app: Quart, origins: Collection[str]) -> None:
    """Puts the gate around every route of the app. Pages of these `origins` may open WebSockets."""
    allowed = {origin.lower() for origin in origins}

    async def refuse_strangers() -> None:
        refuse_strange_pages(websocket.headers, allowed)

    app.before_request(_begin)
    app.before_request(_authenticate)
    app.before_request(_refuse_nul)
    app.after_request(_finish)
    app.before_websocket(_begin)
    app.before_websocket(_authenticate_socket)
    app.before_websocket(refuse_strangers)
    app.after_websocket(_finish_socket)  # type: ignore[type-var]  # Quart says less than it takes
    app.register_error_handler(Exception, _answer)


async def _begin() -> None:
    begin().address = state().addresses.current()
    scope = (request if has_request_context() else websocket).scope
    if sum(1 for _ in scope["headers"]) > MOST_HEADERS:
        raise RequestHeaderFieldsTooLarge(f"A request may have {MOST_HEADERS} headers.")
    path = scope.get("raw_path") or scope["path"].encode()  # ASGI lets servers leave it out
    if len(path) + len(scope["query_string"]) > LONGEST_TARGET:
        raise RequestURITooLarge(f"Path and query may have {LONGEST_TARGET} bytes.")


async def _authenticate() -> None:
    rule = request.url_rule
    if rule is None or rule.rule in PUBLIC:
        return  # unknown routes and methods have nothing to protect; they answer 404 and 405
    await _admit(request.headers)


async def _refuse_nul() -> None:
    """U+0000 is in nothing that PostgreSQL holds, nor can it be asked for it: a path with it leads
    nowhere, and no parameter takes it. (In bodies the JSON door refuses it.)"""
    if request.url_rule is None:
        return
    if "\x00" in request.path:
        raise NotFound
    if problems := [
        Problem(path=pointer((name,)), message="must not contain U+0000")
        for name, values in request.args.lists()
        if any("\x00" in value for value in values)
    ]:
        raise NotValid(problems)


async def _admit(headers: Headers) -> None:
    """Lets in whom the headers prove, if they may ask once more."""
    current = operation()
    try:
        current.caller = await state().authenticator.caller(headers, current.address)
    except TooManyAttempts as refused:
        current.standing = refused.standing
        raise
    current.standing = await state().rates.take(current.caller)
    if current.standing is not None and current.standing.retry_after is not None:
        raise RateLimited(current.standing.retry_after)


async def _authenticate_socket() -> None:
    """A credential in the handshake must be a good one; without any the handler asks for it,
    which only one made for that does."""
    headers = websocket.headers
    rule = websocket.url_rule
    view = None if rule is None else current_app.view_functions[rule.endpoint]
    if view is None:
        return  # there is no such route
    asks = hasattr(view, SOCKET_ATTRIBUTE)
    if not asks or "X-API-Key" in headers or "Authorization" in headers:
        await _admit(headers)


async def _finish_socket(response: Response | None) -> Response | None:
    """The line of a WebSocket, once it has ended or was refused."""
    current, rule = operation(), websocket.url_rule
    if rule is not None:
        view = current_app.view_functions[rule.endpoint]
        action = getattr(view, SOCKET_ATTRIBUTE, rule.endpoint)
        status = SWITCHED if response is None else response.status_code
        state().audit.record(event_of(current, action, status), current.cause)
    if response is not None:
        response.headers[REQUEST_ID_HEADER] = current.request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
    return response


async def _answer(error: Exception) -> Response:
    return answer_to(error)


async def _finish(response: Response) -> Response:
    current = operation()
    response.headers[REQUEST_ID_HEADER] = current.request_id
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if current.standing is not None:
        response.headers["RateLimit-Limit"] = str(current.standing.limit)
        response.headers["RateLimit-Remaining"] = str(current.standing.remaining)
        response.headers["RateLimit-Reset"] = str(current.standing.reset)
    # Nobody reads the rest of a body that is too large, so nothing can follow it.
    unread = response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    if (state().health.draining or unread) and request.http_version.startswith("1"):
        response.headers["Connection"] = "close"  # there is no such header in HTTP/2
    rule = request.url_rule
    asks = request.method == "OPTIONS"
    if asks and current.failure is None:
        response.headers.pop("Content-Type", None)  # there is nothing in it
    if rule is not None and (not (asks or rule.rule in PUBLIC) or _worth_a_line(current)):
        view = current_app.view_functions[rule.endpoint]
        action = "options" if asks else getattr(view, ACTION_ATTRIBUTE, rule.endpoint)
        state().audit.record(event_of(current, action, response.status_code), current.cause)
    return response


def _worth_a_line(current: Operation) -> bool:
    """Whether what does nothing, or needs no caller, is recorded all the same: it was denied, or
    it failed."""
    return current.cause is not None or (current.failure is not None and current.failure.denied)
