"""The HTTP server of a process: hypercorn on one listening socket, and how that is left.

Theory of leaving
-----------------
hypercorn, told to stop, closes every idle connection at once, also one that was accepted just now
and whose request is on its way; so it is told last. Before that:

1. From the first word on every answer says `Connection: close` (the gate adds it), so clients that
   keep connections open go elsewhere. A port of our own goes on being served for the delay, in
   which a load balancer notices that `/healthz` answers 503.
2. Nothing more is accepted. A socket that others share stays open, and they take what arrives; one
   of our own refuses from now on, rather than let clients wait for nobody.
3. A connection that is idle lingers for a moment; with none open there is nothing to wait for.
4. hypercorn is told; open requests end within the grace time, and are cut after it. A client that
   takes nothing of what it was sent is not waited for.

Only then does the engine stop: a request that came in on the way out was served like any other.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import resource
import socket
import sys
import termios
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config, Sockets
from quart import Quart

from controllers.http1 import speak_http1_only
from engine.departure import Departure

BACKLOG = 1024
KEEP_ALIVE_SECONDS = 5.0
"""How long an idle connection is kept. Longer would be kinder to clients that keep theirs longer,
but hypercorn holds one that its client has closed for just as long, descriptor and all."""

IDLE_LINGER_SECONDS = 1.0
"""How long a connection on which nothing happens is still kept for once the process leaves."""

PING_SECONDS = 20.0
LONGEST_MESSAGE = 65_536
"""Bytes: what a WebSocket's client has to say is short."""

EXIT_SECONDS = 5.0
"""How long leaving may take beyond the grace time, whatever hangs: then the process ends itself."""

MOST_CONNECTIONS = 5_000
"""How many connections are open at once unless the operator says otherwise (`MAX_CONNECTIONS`)."""
UNREAD_SECONDS = 2.0
"""How long a client may take nothing of what it was sent, once the process leaves."""

_LOOK_SECONDS = 0.02
_SAY_AGAIN_SECONDS = 60.0
_CUT_SECONDS = 1.0


log = logging.getLogger("hypercorn.error")


class Listener(socket.socket):
    """The listening socket; `shared` with other processes, or this one's own. It knows which of
    the connections it has accepted are open (with asyncio's own event loop, which calls it), and
    closes at once what comes beyond the `most` it may have."""

    def __init__(self, fileno: int, *, shared: bool) -> None:
        super().__init__(fileno=fileno)
        self.shared = shared
        self.most = MOST_CONNECTIONS
        self._full_said_at = float("-inf")
        self._accepted: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.stopped = False

    @classmethod
    def own(cls, host: str, port: int) -> Self:
        """Takes a port. Raises `OSError`."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host, port), family=family, backlog=BACKLOG)
        return cls(made.detach(), shared=False)

    @classmethod
    def inherited(cls, descriptor: int) -> Self:
        """Takes over a socket that somebody else has opened and shares. Raises `ValueError`
        unless it is one that listens for streams."""
        try:
            found = cls(descriptor, shared=True)
            streams = found.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
            listens = streams and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        except OSError as error:
            raise ValueError(f"descriptor {descriptor} is not a socket: {error.strerror}") from None
        if not listens:
            found.close()
            raise ValueError(f"descriptor {descriptor} is not a listening stream socket")
        found.set_inheritable(False)
        return found

    def accept(self) -> tuple[socket.socket, Any]:
        """As any socket, until `stop_accepting`."""
        if self.stopped:  # asyncio comes back by itself after it ran out of descriptors
            asyncio.get_running_loop().remove_reader(self.fileno())
            raise BlockingIOError
        connection, address = super().accept()
        if len(self._accepted) >= self.most and self._held() >= self.most:
            connection.close()
            self._say_that_it_is_full()
            raise BlockingIOError  # asyncio comes back for the next one
        self._accepted.add(connection)
        return connection, address

    def _held(self) -> int:
        """How many connections are not closed here. Those that are may stay in memory until the
        garbage is collected."""
        self._accepted = weakref.WeakSet(c for c in self._accepted if c.fileno() >= 0)
        return len(self._accepted)

    def _say_that_it_is_full(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._full_said_at >= _SAY_AGAIN_SECONDS:
            self._full_said_at = now
            log.warning("%s connections are open; more are refused", self.most)

    def open_connections(self) -> int:
        """How many of the accepted connections are closed neither here nor by their client."""
        return sum(_is_open(connection) for connection in self._accepted)

    def cut_off(self, before: dict[int, int]) -> dict[int, int]:
        """Ends the connections on which as much is unsent as `before`; what is unsent on the
        others, by descriptor."""
        unsent: dict[int, int] = {}
        for connection in list(self._accepted):
            waiting = _unsent(connection)
            if waiting and before.get(connection.fileno()) == waiting:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            elif waiting:
                unsent[connection.fileno()] = waiting
        return unsent

    def stop_accepting(self) -> None:
        """Accepts nothing more. Call it in the event loop that serves the socket."""
        self.stopped = True
        asyncio.get_running_loop().remove_reader(self.fileno())
        if not self.shared:
            self.shutdown(socket.SHUT_RDWR)


def listen(host: str, port: int, descriptor: int | None, *, most: int) -> Listener:
    """A socket on this port, or the inherited one that a descriptor names, for so many connections
    at most. Raises `OSError`, `ValueError`."""
    listener = Listener.own(host, port) if descriptor is None else Listener.inherited(descriptor)
    listener.most = most
    return listener


def _is_open(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True  # nothing to read yet
    except OSError:
        return False  # closed here, or reset by the client


def _unsent(connection: socket.socket) -> int:
    """How many bytes the other side has not taken yet."""
    try:
        answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    except (OSError, ValueError):
        return 0  # closed
    return int.from_bytes(answer, sys.byteorder)


class _ServerConfig(Config):
    """hypercorn's settings, with a socket that is there already."""

    include_server_header = False
    accesslog = None
    backlog = BACKLOG
    keep_alive_timeout = KEEP_ALIVE_SECONDS
    websocket_ping_interval = PING_SECONDS
    websocket_max_message_size = LONGEST_MESSAGE

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener
        self.errorlog = log
        log.setLevel(logging.WARNING)  # it would say that it serves, less uniformly

    def create_sockets(self) -> Sockets:
        return Sockets([], [self._listener], [])


async def serve(
    app: Quart, listener: Listener, departure: Departure, *, delay_seconds: float
) -> None:
    """Serves the app until the departure, and returns when the last request has ended or its
    grace time is over. `delay_seconds` is how long a port of our own is served on."""
    speak_http1_only()
    room_for_connections()
    config = _ServerConfig(listener)
    config.graceful_timeout = departure.left() + EXIT_SECONDS  # the departure's clock decides
    told = asyncio.Event()
    serving = asyncio.ensure_future(hypercorn_serve(app, config, shutdown_trigger=told.wait))
    if not departure.begun:
        await departure.wait(serving)
    if not serving.done():
        await _turn_away(listener, departure, delay_seconds)
    told.set()
    cutting = asyncio.create_task(_cut_off_who_does_not_read(listener), name="cut-off")
    await departure.settle(serving)
    cutting.cancel()
    if serving.done():
        serving.result()
        return
    serving.cancel()
    await asyncio.wait([serving], timeout=_CUT_SECONDS)


def room_for_connections() -> None:
    """Takes as many file descriptors as the system gives this process without asking anybody:
    the soft limit is often 1,024, which a thousand open streams use up."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a sandbox may refuse; the old limit holds then
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _turn_away(listener: Listener, departure: Departure, delay_seconds: float) -> None:
    if delay_seconds and not listener.shared and departure.left() > 0:
        await departure.wait(seconds=delay_seconds)
    listener.stop_accepting()
    loop = asyncio.get_running_loop()
    until = loop.time() + min(IDLE_LINGER_SECONDS, departure.left())
    while listener.open_connections() and loop.time() < until and departure.left() > 0:
        await departure.wait(seconds=_LOOK_SECONDS)


async def _cut_off_who_does_not_read(listener: Listener) -> None:
    """Background loop of a process that leaves: it does not wait for a client that takes nothing
    of what it was sent, such as one that sleeps behind an open stream."""
    before: dict[int, int] = {}
    while True:
        await asyncio.sleep(UNREAD_SECONDS)
        before = listener.cut_off(before)


class LastResort:
    """Ends the process with status 0 when leaving hangs, be it the event loop itself. `said` is
    called before, to leave a word; that it may hang as well."""

    def __init__(self, said: Callable[[], None]) -> None:
        self._said = said
        self._timers: list[threading.Timer] = []

    def within(self, seconds: float) -> None:
        """The process ends in so many seconds; the time said last counts."""
        self.cancel()
        self._timers = [
            threading.Timer(seconds, self._said),
            threading.Timer(seconds + _CUT_SECONDS / 4, _exit),
        ]
        for timer in self._timers:
            timer.daemon = True
            timer.start()

    def cancel(self) -> None:
        """The process need not be ended."""
        for timer in self._timers:
            timer.cancel()
        self._timers = []


def _exit() -> None:
    os._exit(0)
