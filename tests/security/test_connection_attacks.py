"""Attacks on the connection itself, over real sockets: smuggling, slowness, bombs, floods.

What is no request at all, cleartext HTTP/2 and too many connections are in
`tests/controllers/test_server.py`; origins of WebSockets and streams of revoked keys in
`tests/controllers/test_live_streams.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import struct
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from quart import Quart

from composition import Running
from config import Config
from controllers import server
from tests.controllers.conftest import Api
from tests.live_world import Served, served
from tests.waiting import PATIENCE_SECONDS

HEAD = b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\n"
STATUS = re.compile(rb"HTTP/1\.1 \d{3}")
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
TEXT, PING, CLOSE = 1, 9, 8
COMPRESSED = 0x40
TOO_BIG = 1009


@pytest.fixture
async def world(service: Running, database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    config = Config(database_url=database_url, data_dir=tmp_path, shutdown_grace_seconds=1)
    async with served(service, config) as world:
        yield world


@asynccontextmanager
async def connected(
    world: Served,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    at = urlsplit(world.url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()  # closing would wait until everything is sent


async def exchanged(world: Served, sent: bytes) -> bytes:
    """All that comes back until the server ends the connection."""
    async with connected(world) as (reader, writer), asyncio.timeout(PATIENCE_SECONDS):
        writer.write(sent)
        return await reader.read()


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        b"Content-Length: +0\r\n\r\n",
        b"Content-Length: 0x0\r\n\r\n",
        b"Content-Length: -1\r\n\r\n",
        b"Host: y\r\n\r\n",
        b"X: a\r\n\x00: b\r\n\r\n",
    ],
)
async def test_no_request_is_smuggled_behind_one_whose_length_is_in_doubt(
    world: Served, framing: bytes
) -> None:
    answer = await exchanged(world, HEAD + framing + SMUGGLED)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
    assert len(STATUS.findall(answer)) == 1, "the connection was closed behind the refusal"


async def test_http_1_0_does_not_come_in_chunks(world: Served) -> None:
    head = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0")
    answer = await exchanged(
        world, head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED
    )
    assert answer.startswith(b"HTTP/1.1 400")
    assert len(STATUS.findall(answer)) == 1


async def test_a_head_that_never_ends_is_not_waited_for(
    service: Running, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server._ServerConfig, "keep_alive_timeout", 0.3)
    config = Config(database_url=database_url, data_dir=tmp_path, shutdown_grace_seconds=1)
    async with served(service, config) as world, connected(world) as (reader, writer):
        async with asyncio.timeout(PATIENCE_SECONDS):
            writer.write(HEAD)
            trickle = asyncio.create_task(_trickle(writer, b"X: y\r\n"))
            assert await reader.read() == b""
        trickle.cancel()


async def test_a_body_that_never_ends_is_not_waited_for(
    service: Running, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: Api
) -> None:
    monkeypatch.setattr(Quart, "default_config", {**Quart.default_config, "BODY_TIMEOUT": 0.3})
    config = Config(database_url=database_url, data_dir=tmp_path, shutdown_grace_seconds=1)
    head = b"POST /api/v1/workflows HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\n" % api.key.encode()
    head += b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    async with served(service, config) as world, connected(world) as (reader, writer):
        async with asyncio.timeout(PATIENCE_SECONDS):
            writer.write(head)
            trickle = asyncio.create_task(_trickle(writer, b" "))
            answer = await reader.readuntil(b"\r\n\r\n")
        trickle.cancel()
    assert answer.startswith(b"HTTP/1.1 408")


async def _trickle(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Sends a little now and then, so that the connection is never silent."""
    while not writer.is_closing():
        writer.write(piece)
        await asyncio.sleep(0.05)


# WebSockets


async def handshake(
    world: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *headers: str
) -> str:
    """Opens a WebSocket; the head of the answer."""
    lines = [
        f"GET {urlsplit(world.socket).path} HTTP/1.1",
        f"Host: {urlsplit(world.url).netloc}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {b64encode(os.urandom(16)).decode()}",
        *headers,
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        return (await reader.readuntil(b"\r\n\r\n")).decode().lower()


def frame(opcode: int, payload: bytes, bits: int = 0) -> bytes:
    """A frame of a client, which masks (here with zeros, which change nothing)."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        length = bytes([0x80 | 127]) + struct.pack("!Q", size)
    return bytes([0x80 | bits | opcode]) + length + bytes(4) + payload


async def close_code(reader: asyncio.StreamReader) -> int | None:
    """The code with which the server closes; None if it just hangs up."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                first, length = await reader.readexactly(2)
                size = length & 0x7F
                if size == 126:
                    (size,) = struct.unpack("!H", await reader.readexactly(2))
                payload = await reader.readexactly(size)
            except asyncio.IncompleteReadError:
                return None
            if first & 0x0F == CLOSE:
                return int(struct.unpack("!H", payload[:2])[0])


async def test_a_compressed_bomb_has_no_way_in_because_compression_is_not_spoken(
    world: Served, api: Api
) -> None:
    bomb = zlib.compressobj(wbits=-15)
    packed = bomb.compress(bytes(10_000_000)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    assert len(packed) < 16_384
    offered = ("Sec-WebSocket-Extensions: permessage-deflate", f"X-API-Key: {api.key}")
    async with connected(world) as (reader, writer):
        head = await handshake(world, reader, writer, *offered)
        assert head.startswith("http/1.1 101")
        assert "sec-websocket-extensions" not in head
        writer.write(frame(TEXT, packed[:-4], COMPRESSED))
        assert await close_code(reader) != 1000


async def test_a_message_that_is_too_long_ends_the_connection(world: Served, api: Api) -> None:
    async with connected(world) as (reader, writer):
        await handshake(world, reader, writer, f"X-API-Key: {api.key}")
        writer.write(frame(TEXT, b" " * (server.LONGEST_MESSAGE + 1)))
        assert await close_code(reader) == TOO_BIG


async def test_a_flood_of_pings_leaves_others_served(
    world: Served, api: Api, service: Running
) -> None:
    async with connected(world) as (reader, writer), aiohttp.ClientSession() as http:
        await handshake(world, reader, writer, f"X-API-Key: {api.key}")
        flood = asyncio.create_task(_flood(writer))
        for _ in range(20):
            async with asyncio.timeout(PATIENCE_SECONDS), http.get(f"{world.url}/health") as answer:
                assert answer.status == 200
        flood.cancel()


async def _flood(writer: asyncio.StreamWriter) -> None:
    """Pings as fast as they are taken, whose answers nobody reads."""
    while True:
        writer.write(frame(PING, b"x" * 125) * 100)
        await writer.drain()


async def test_a_message_that_is_no_json_is_answered_and_does_no_harm(
    world: Served, api: Api
) -> None:
    headers = {"X-API-Key": api.key}
    wrong = ("{", "[" * 5_000, '{"a":1,"a":2}', '{"subscribe": {"__proto__": 1}}', "1")
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.ws_connect(world.socket) as socket,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        for said in wrong:
            await socket.send_str(said)
            told = json.loads((await socket.receive()).data)
            assert told["type"] == "error"
            assert told["error_code"] in ("INVALID_JSON", "VALIDATION_ERROR")
        await socket.send_str('{"subscribe": {}}')
        assert json.loads((await socket.receive()).data)["type"] == "subscribed"
