"""A body that is too large is read off before the connection is closed, within bounds: most clients
read an answer when they have sent everything, and not before. Over real sockets."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from composition import Running
from config import Config
from controllers import http1
from tests.controllers.conftest import Api
from tests.live_world import Served, served
from tests.waiting import PATIENCE_SECONDS

MB = 1024 * 1024
PATH = "/api/v1/workflows/validate"


@pytest.fixture
async def world(service: Running, database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    config = Config(database_url=database_url, data_dir=tmp_path, shutdown_grace_seconds=1)
    async with served(service, config) as world:
        yield world


def post(url: str, key: str, body: bytes | list[bytes]) -> tuple[int, str | None, bytes]:
    """Sends all of the body, of a list by chunks, and then reads the answer."""
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, PATIENCE_SECONDS)
    try:
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        connection.request("POST", PATH, iter(body) if isinstance(body, list) else body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Connection"], answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("size", [3 * MB, 10 * MB, 40 * MB])
async def test_a_client_that_sends_everything_first_reads_that_it_was_too_much(
    size: int, world: Served, api: Api
) -> None:
    status, connection, body = await asyncio.to_thread(post, world.url, api.key, b" " * size)
    assert (status, connection) == (413, "close")
    assert b"PAYLOAD_TOO_LARGE" in body


async def test_a_body_in_chunks_is_read_off_as_well(world: Served, api: Api) -> None:
    chunks = [b" " * MB] * 10
    assert (await asyncio.to_thread(post, world.url, api.key, chunks))[0] == 413


async def test_what_is_read_off_is_bounded(
    world: Served, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "READ_OFF_BYTES", MB)
    monkeypatch.setattr(http1, "READ_OFF_SECONDS", PATIENCE_SECONDS)
    with pytest.raises(ConnectionError):
        await asyncio.to_thread(post, world.url, api.key, b" " * 64 * MB)


async def test_a_client_that_does_not_send_the_rest_is_not_waited_for(
    world: Served, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "READ_OFF_SECONDS", 0.05)
    at = urlsplit(world.url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nX-API-Key: {api.key}\r\nContent-Length: 9999999\r\n"
    writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413")
