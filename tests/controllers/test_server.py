"""The way out of the HTTP server, over real connections."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import pytest
from quart import Quart

from controllers import server
from controllers.server import Listener, serve
from engine.departure import Departure
from services.clock import SystemClock
from tests.waiting import PATIENCE_SECONDS, until

HOST = "127.0.0.1"
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PARTS = (b"a", b"data: \r\n\r\n", b"x" * 70_000, b"0\r\n\r\n")
"""What a stream tells; some of it looks like the frame that it is sent in."""
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def served(
    departure: Departure, *, delay_seconds: float = 0, shared: bool = False
) -> AsyncIterator[tuple[int, Listener]]:
    """A served app; leaves when the block ends, if it has not left before."""
    app = Quart(__name__)

    @app.get("/")
    async def root() -> str:
        return "served"

    @app.get("/parts")
    async def parts() -> tuple[AsyncIterator[bytes], dict[str, str]]:
        async def told() -> AsyncIterator[bytes]:
            for part in PARTS:
                yield part

        return told(), {"Content-Type": "text/event-stream"}

    listener = Listener.own(HOST, 0)
    listener.shared = shared
    serving = asyncio.create_task(serve(app, listener, departure, delay_seconds=delay_seconds))
    try:
        yield int(listener.getsockname()[1]), listener
    finally:
        departure.hurry()
        await serving


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def turns(count: int) -> None:
    """Lets the loop go round: whoever wants to close a connection has done it then."""
    for _ in range(count):
        await asyncio.sleep(0)


async def ask(connection: Connection) -> bytes:
    reader, writer = connection
    writer.write(REQUEST)
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await reader.readline()


@pytest.fixture
def departure() -> Departure:
    return Departure(SystemClock(), 20.0)


async def test_g12_a_request_on_an_idle_connection_is_served_on_the_way_out(
    departure: Departure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_LINGER_SECONDS", PATIENCE_SECONDS)
    async with served(departure, shared=True) as (port, listener), connected(port) as connection:
        assert b"200" in await ask(connection)
        await connection[0].readuntil(b"served")
        departure.begin()
        await until(lambda: listener.stopped)  # from now on only what is open is served
        await turns(50)
        assert b"200" in await ask(connection)


async def test_g12_a_connection_that_was_just_accepted_is_served_on_the_way_out(
    departure: Departure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_LINGER_SECONDS", PATIENCE_SECONDS)
    async with served(departure, shared=True) as (port, listener), connected(port) as connection:
        await until(lambda: listener.open_connections() == 1)
        departure.begin()
        await until(lambda: listener.stopped)
        await turns(50)
        assert b"200" in await ask(connection)


async def test_g12_a_shared_socket_is_left_to_the_others(departure: Departure) -> None:
    async with served(departure, shared=True) as (port, listener), connected(port) as connection:
        assert b"200" in await ask(connection)
        sibling = socket.socket(fileno=os.dup(listener.fileno()))
        sibling.settimeout(PATIENCE_SECONDS)
        departure.begin()
        await until(lambda: listener.stopped)
        client = socket.create_connection((HOST, port), timeout=PATIENCE_SECONDS)
        accepted, _ = await asyncio.to_thread(sibling.accept)
        assert accepted.getpeername() == client.getsockname()
        for one in (client, accepted, sibling):
            one.close()


async def test_g12_a_port_of_its_own_refuses_when_nobody_serves_it(departure: Departure) -> None:
    async with served(departure) as (port, listener), connected(port) as connection:
        assert b"200" in await ask(connection)
        departure.begin()
        await until(lambda: listener.stopped)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)


async def test_g12_a_port_of_its_own_is_served_for_the_delay(departure: Departure) -> None:
    async with served(departure, delay_seconds=20) as (port, listener):
        async with connected(port) as connection:
            assert b"200" in await ask(connection)
        await until(lambda: listener.open_connections() == 0)
        departure.begin()
        await turns(50)  # nothing is open, yet it does not leave
        async with connected(port) as connection:
            assert b"200" in await ask(connection)


@pytest.mark.parametrize("listening", [True, False])
def test_a_descriptor_is_inherited_only_if_it_listens(listening: bool) -> None:
    made = socket.socket()
    made.bind((HOST, 0))
    if listening:
        made.listen()
        Listener.inherited(made.detach()).close()
        return
    with pytest.raises(ValueError, match="not a listening stream socket"):
        Listener.inherited(made.detach())


def test_a_descriptor_that_is_no_socket_is_refused() -> None:
    with tempfile.TemporaryFile() as file, pytest.raises(ValueError, match="is not a socket"):
        Listener.inherited(os.dup(file.fileno()))


async def raw(port: int, sent: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to what was sent, up to the end of the connection."""
    async with connected(port) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(PATIENCE_SECONDS):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP_VERSION_NOT_SUPPORTED"),
        (b"nonsense\r\n\r\n", 400, "BAD_REQUEST"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "BAD_REQUEST"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
            "BAD_REQUEST",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000,
            431,
            "REQUEST_HEADER_FIELDS_TOO_LARGE",
        ),
    ],
)
async def test_what_is_no_request_is_answered_in_the_envelope_and_the_connection_closed(
    departure: Departure, sent: bytes, status: int, code: str
) -> None:
    async with served(departure) as (port, _):
        head, body = await raw(port, sent)
    assert head.startswith(b"HTTP/1.1 %d" % status)
    assert b"\r\nserver:" not in head.lower()
    answer = json.loads(body)
    assert answer.keys() == {"success", "message", "error_code", "details"}
    assert answer["error_code"] == code


async def test_an_upgrade_to_cleartext_http2_is_ignored(departure: Departure) -> None:
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    async with served(departure) as (port, _):
        head, body = await raw(port, upgrade)
    assert head.startswith(b"HTTP/1.1 200")
    assert body == b"served"


async def test_parts_of_a_stream_are_framed_and_the_connection_goes_on(
    departure: Departure,
) -> None:
    async with served(departure) as (port, _), connected(port) as (reader, writer):
        for _ in range(2):
            client = h11.Connection(h11.CLIENT)
            request = h11.Request(method="GET", target="/parts", headers=[("host", "x")])
            writer.write(client.send(request) + client.send(h11.EndOfMessage()))
            told = b""
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (event := client.next_event()) is not h11.PAUSED:
                    if event is h11.NEED_DATA:
                        client.receive_data(await reader.read(65_536))
                    elif isinstance(event, h11.Data):
                        told += event.data
                    elif isinstance(event, h11.EndOfMessage):
                        break
            assert told == b"".join(PARTS)


async def test_parts_of_a_stream_are_not_framed_for_who_does_not_know_frames(
    departure: Departure,
) -> None:
    async with served(departure) as (port, _), connected(port) as (reader, writer):
        writer.write(b"GET /parts HTTP/1.0\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await reader.read(-1)
    headers, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in headers.lower()
    assert body == b"".join(PARTS)


async def test_connections_beyond_the_most_are_closed_at_once_and_the_others_served(
    departure: Departure, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(departure) as (port, listener):
        listener.most = 2
        async with connected(port) as first, connected(port) as second:
            assert (await ask(second)).startswith(b"HTTP/1.1 200")
            for _ in range(3):
                assert await raw(port, b"") == (b"", b"")
            assert (await ask(first)).startswith(b"HTTP/1.1 200")
            last = REQUEST.replace(b"Host: x", b"Host: x\r\nConnection: close")
            second[1].write(last)
            await second[0].read()
            assert (await raw(port, last))[1] == b"served"
    assert [record.getMessage() for record in caplog.records] == [
        "2 connections are open; more are refused"
    ]


def test_a_process_takes_all_the_descriptors_it_may_have() -> None:
    script = (
        "import resource; from controllers.server import room_for_connections;"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard)); room_for_connections();"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
