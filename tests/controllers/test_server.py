"""The way out of the HTTP server, over real connections."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from quart import Quart

from controllers.server import Listener, serve
from engine.departure import Departure
from services.clock import SystemClock

HOST = "127.0.0.1"
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
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


async def until(reached: Callable[[], bool]) -> None:
    """Returns once it is so; the loop goes round meanwhile."""
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110  # what is looked at tells nobody
            await asyncio.sleep(0)


async def turns(count: int) -> None:
    """Lets the loop go round: whoever wants to close a connection has done it then."""
    for _ in range(count):
        await asyncio.sleep(0)


async def ask(connection: Connection) -> bytes:
    reader, writer = connection
    writer.write(REQUEST)
    async with asyncio.timeout(10):
        return await reader.readline()


@pytest.fixture
def departure() -> Departure:
    return Departure(SystemClock(), 20.0)


async def test_g12_a_request_on_an_idle_connection_is_served_on_the_way_out(
    departure: Departure,
) -> None:
    async with served(departure, shared=True) as (port, listener), connected(port) as connection:
        assert b"200" in await ask(connection)
        await connection[0].readuntil(b"served")
        departure.begin()
        await until(lambda: listener.stopped)  # from now on only what is open is served
        await turns(50)
        assert b"200" in await ask(connection)


async def test_g12_a_connection_that_was_just_accepted_is_served_on_the_way_out(
    departure: Departure,
) -> None:
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
        sibling.settimeout(10)
        departure.begin()
        await until(lambda: listener.stopped)
        client = socket.create_connection((HOST, port), timeout=10)
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
