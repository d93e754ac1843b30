"""What this service speaks on a connection: HTTP/1.1, and errors in its own envelope.

Its one rule: whatever a client sends before there is a request, the answer is one that a client
of the API can read, and the connection is closed. hypercorn would change to cleartext HTTP/2 for
whoever asks, which no proxy expects behind it and which opens a hundred streams on a connection;
it would answer what it cannot parse with an empty body; it would take a body of two lengths, of
which a proxy in front may believe the other one (RFC 9112, 6.1); and it would agree to compressed
WebSocket messages, of which a few kilobytes become megabytes before their size is looked at. Nor
would it read what is left of a body that was refused: most clients read no answer before they have
sent all, and get a broken connection instead.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus

import h11
from hypercorn import protocol as hypercorn_protocol
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import H11Protocol

from controllers.operation import REQUEST_ID_HEADER
from controllers.responses import JSON, Failure
from services.clock import new_id

_MESSAGES = {
    HTTPStatus.BAD_REQUEST: "This is not an HTTP/1.1 request.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The request's line and headers are too large.",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: "Only HTTP/1.1 is spoken here.",
}


_EXTENSIONS = b"sec-websocket-extensions"
_FRAMED = (b"content-length", b"transfer-encoding")

READ_OFF_BYTES = 64 * 1024 * 1024
READ_OFF_SECONDS = 2.0
"""How much of a refused body is thrown away at most, and for how long, before the connection is
closed."""


class _NoRequest(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        super().__init__()
        self.status = status


class Http1(H11Protocol):
    """hypercorn's HTTP/1.1 without the ways out of it."""

    _chunked = False
    """Whether the body of the answer under way is sent in chunks."""
    _bytes_left = READ_OFF_BYTES
    _read_off: asyncio.Event | None = None
    """Set when the rest of a refused body has been read off; None while there is none."""

    async def handle(self, event: Event) -> None:
        """What has arrived; the rest of a refused body is thrown away."""
        if self._read_off is None or not isinstance(event, RawData):
            await super().handle(event)
        else:
            self._bytes_left -= len(event.data)
            self.connection.receive_data(event.data)
        if self._read_off is not None and (isinstance(event, Closed) or self._is_read_off()):
            self._read_off.set()

    async def stream_send(self, event: StreamEvent) -> None:
        """As hypercorn does, but for the chunks of a stream, which are framed here: h11 counts
        nothing of them, and is a tenth of what telling a thousand clients of events costs."""
        connection = self.connection
        if isinstance(event, Body):
            if self._chunked and event.data and connection.our_state is h11.SEND_BODY:
                await self.send(RawData(data=b"%x\r\n%b\r\n" % (len(event.data), event.data)))
                return
        elif isinstance(event, Response) and isinstance(connection, h11.Connection):
            framed = any(name.lower() in _FRAMED for name, _ in event.headers)
            self._chunked = not framed and connection.their_http_version == b"1.1"
        await super().stream_send(event)

    def _is_read_off(self) -> bool:
        connection = self.connection
        try:
            while connection.their_state is h11.SEND_BODY:
                if connection.next_event() is h11.NEED_DATA:
                    return self._bytes_left < 0
        except h11.RemoteProtocolError:  # it hung up in the middle
            pass
        return True

    async def _maybe_recycle(self) -> None:
        """Ends a request. One whose answer closes the connection while its body still arrives has
        that read off first."""
        connection = self.connection
        if connection.our_state is h11.MUST_CLOSE and connection.their_state is h11.SEND_BODY:
            self._bytes_left = READ_OFF_BYTES
            self._read_off = asyncio.Event()
            # Of its own: what is awaited here may be cancelled, as the request is over.
            self.task_group.spawn(self._close_when_read_off, self._read_off)
            await self._close_stream()
        else:
            await super()._maybe_recycle()

    async def _close_when_read_off(self, read_off: asyncio.Event) -> None:
        if self._is_read_off():
            read_off.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_OFF_SECONDS):
                await read_off.wait()
        await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        """An `Upgrade: h2c` is ignored, as RFC 9110 (7.8) lets a server; the preface of HTTP/2
        is no request."""
        if event.method == b"PRI":
            raise _NoRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        if _length_is_in_doubt(event):
            raise _NoRequest(HTTPStatus.BAD_REQUEST)

    async def _create_stream(self, request: h11.Request) -> None:
        """The request without its wish to compress messages, so that none is agreed on."""
        if any(name == _EXTENSIONS for name, _ in request.headers):
            request = _without_extensions(request)
        await super()._create_stream(request)

    async def _handle_events(self) -> None:
        try:
            await super()._handle_events()
        except _NoRequest as refused:
            await self._send_error_response(refused.status)
            await self.send(Closed())

    async def _send_error_response(self, status_code: int) -> None:
        status = HTTPStatus(status_code)
        message = _MESSAGES.get(status, status.description or status.phrase)
        body = Failure(status, status.name, message).body()
        headers = [
            (b"content-type", JSON.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"x-content-type-options", b"nosniff"),
            (REQUEST_ID_HEADER.lower().encode(), new_id().encode()),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


def _length_is_in_doubt(request: h11.Request) -> bool:
    """Whether two servers in a row could see the body's end in two places."""
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" not in names:
        return False
    return b"content-length" in names or request.http_version < b"1.1"


def _without_extensions(request: h11.Request) -> h11.Request:
    return h11.Request(
        method=request.method,
        target=request.target,
        headers=[(name, value) for name, value in request.headers if name != _EXTENSIONS],
        http_version=request.http_version,
    )


def speak_http1_only() -> None:
    """Makes every connection of this process one of `Http1`. hypercorn has no setting for it: it
    picks the protocol of a connection by this name."""
    vars(hypercorn_protocol)["H11Protocol"] = Http1
