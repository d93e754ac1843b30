"""Asks what a row of the matrix asks, in any of the three ways there are, and tells what came."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from quart.testing import WebsocketResponseError

from tests.controllers.conftest import Api
from tests.security.callers import World
from tests.security.matrix import BODIES, QUERIES, Row

CHANGING = {"x-request-id", "date", "content-length"}
"""Headers that differ from one answer to the next. The length does only if the body does."""
PATIENCE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Got:
    """An answer. The status of a WebSocket is that of what it was told after the handshake."""

    status: int
    code: str | None
    text: str
    headers: tuple[tuple[str, str], ...] = ()


async def ask(api: Api, row: Row, world: World) -> Got:
    """Asks as the caller of this world."""
    if row.way == "socket":
        return await _by_socket(api, row, world)
    path = "/api/v1" + world.filled(row.path)
    if row.name in QUERIES:
        path += "?" + world.filled(QUERIES[row.name])
    if row.way == "streams":
        return await _by_stream(api, path, world)
    body = world.body(BODIES.get(row.name))
    options = {} if body is None else {"json": body}
    response = await api.client.open(path, method=row.method, headers=world.headers, **options)
    return _got(response.status_code, await response.get_data(as_text=True), response.headers)


async def _by_stream(api: Api, path: str, world: World) -> Got:
    """The beginning of a stream is all that is waited for."""
    async with api.client.request(path, method="GET", headers=world.headers) as connection:
        await connection.send_complete()
        async with asyncio.timeout(PATIENCE_SECONDS):
            text = (await connection.receive()).decode()
        status, headers = connection.status_code, connection.headers
        assert status is not None
        await connection.disconnect()
    return _got(status, text, headers)


async def _by_socket(api: Api, row: Row, world: World) -> Got:
    message = json.dumps({"subscribe": world.body(BODIES[row.name])})
    try:
        async with api.client.websocket(f"/api/v1{row.path}", headers=world.headers) as socket:
            await socket.send(message)
            async with asyncio.timeout(PATIENCE_SECONDS):
                said: Any = json.loads(await socket.receive())
    except WebsocketResponseError as refused:
        response = refused.response
        return _got(response.status_code, await response.get_data(as_text=True), response.headers)
    if said["type"] == "subscribed":
        return Got(101, None, "")
    status = {"PERMISSION_DENIED": 403, "UNAUTHORIZED": 401}.get(said["error_code"], 404)
    return Got(status, said["error_code"], json.dumps(said))


def _got(status: int, text: str, headers: Any) -> Got:
    code = json.loads(text).get("error_code") if status >= 400 else None
    kept = ((name.lower(), value) for name, value in headers.items())
    return Got(status, code, text, tuple(sorted(pair for pair in kept if pair[0] not in CHANGING)))
