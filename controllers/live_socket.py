"""`WS /workflow-management/executions/ws`: everything one may see, through a WebSocket.

The client proves who it is by the handshake's headers or by its first message, `{"token": "…"}`,
and then says what it wants: `{"subscribe": {filters}}`, again whenever it wants something else.
Its one rule: nothing is sent to a client that has not proved who it is, and one that does not in
time is sent away.
"""

from __future__ import annotations

import asyncio
from itertools import islice

from quart import Blueprint, websocket
from werkzeug.datastructures import Headers

from controllers.auth import Authenticator, socket_required
from controllers.errors import Unauthorized, failure_of
from controllers.live_api import SCOPE
from controllers.live_filters import as_json, filter_of
from controllers.operation import operation
from controllers.prover import proving
from controllers.requests import MOST_PROBLEMS, pointer
from controllers.state import state
from engine.context import Json
from engine.errors import WorkflowEngineException
from engine.json_door import JsonError, dumps, parse_json
from engine.telling import LiveEvent
from services.errors import NotValid, Problem, Refusal
from services.live_streams import Message, Prove, Stream
from services.live_updates import LiveUpdates

blueprint = Blueprint("live_socket", __name__, url_prefix="/api/v1")

TOKEN_SECONDS = 10.0
"""How long a client may take to prove who it is, and to say what it wants."""
SUBSCRIBE_SECONDS = 30.0

NORMAL, POLICY, RESTART, TRY_LATER = 1000, 1008, 1012, 1013
"""Close codes (RFC 6455 and its registry)."""
_CODES = {"drain": RESTART, "unavailable": TRY_LATER, "refused": POLICY}
_CREDENTIAL_FIRST = 'Send {"token": "…"} first, or a credential in a header of the handshake.'
_NO_PARAMETERS = "unknown query parameter; known: none"
_SUBSCRIBE = 'What to watch is said in a message: {"subscribe": {filters}}.'
_SHOWN = 64
_KNOWN = 'a message is {"token": "…"} (the first one only) or {"subscribe": {filters}}'


@blueprint.websocket("/workflow-management/executions/ws")
@socket_required(SCOPE, "watch_executions")
async def watch_executions() -> None:
    """Lets the client watch until it leaves or must."""
    _refuse_parameters()
    await websocket.accept()
    socket = Socket(state().live, state().authenticator, state().addresses.current())
    try:
        await socket.serve()
    finally:
        await socket.leave()


class Socket:
    """One client's WebSocket."""

    def __init__(self, live: LiveUpdates, authenticator: Authenticator, address: str) -> None:
        self._live = live
        self._authenticator = authenticator
        self._address = address
        self._sending = asyncio.Lock()
        self._subscribed = asyncio.Event()
        self._stream: Stream | None = None
        self._hearing: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Finds out who the client is, then gives it what it asks for, until either has enough."""
        try:
            prove = await self._identify()
        except (Refusal, WorkflowEngineException) as refused:
            await self._say_refused(refused)
            await websocket.close(_code_of(refused), "Who you are is not proved.")
            return
        self._hearing = asyncio.create_task(self._hear(prove), name="live-socket")
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                await self._subscribed.wait()
        except TimeoutError:
            await websocket.close(POLICY, "Nothing was subscribed to.")
            return
        stream = self._stream
        assert stream is not None
        stream.reader = asyncio.current_task()
        while messages := await stream.take():
            for message in messages:
                await self._send(_written(message))
            self._live.written(stream)
        await websocket.close(_CODES.get(stream.ended or "", NORMAL), stream.ended or "")

    async def leave(self) -> None:
        """The client has gone, or has been told to."""
        if self._stream is not None:
            self._live.close(self._stream)
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)

    async def _identify(self) -> Prove:
        """What proves the client. Raises `Unauthorized`, `Denied`, `StoreUnavailable`."""
        if operation().caller is not None:
            headers = Headers(websocket.headers)
            return proving(self._authenticator, headers, SCOPE, self._address)
        try:
            async with asyncio.timeout(TOKEN_SECONDS):
                said = _read(await websocket.receive())
        except (TimeoutError, JsonError):
            raise Unauthorized(_CREDENTIAL_FIRST) from None
        if not isinstance(said, dict) or said.keys() != {"token"}:
            raise Unauthorized(_CREDENTIAL_FIRST)
        return await self._by_token(said["token"])

    async def _by_token(self, token: Json) -> Prove:
        if not isinstance(token, str):
            raise Unauthorized(_CREDENTIAL_FIRST)
        headers = Headers({"Authorization": f"Bearer {token}"})
        acting = websocket.headers.get("X-Acting-User")
        if acting is not None:
            headers["X-Acting-User"] = acting
        prove = proving(self._authenticator, headers, SCOPE, self._address)
        operation().caller = await prove()
        return prove

    async def _hear(self, prove: Prove) -> None:
        """Does what the client's messages say; what is wrong with one is said, and that is all."""
        first = True
        while True:
            said = await websocket.receive()
            try:
                message = _read(said)
                if first and isinstance(message, dict) and message.keys() == {"token"}:
                    prove = await self._by_token(message["token"])
                else:
                    await self._subscribe(prove, message)
            except (Refusal, WorkflowEngineException, JsonError) as refused:
                await self._say_refused(refused)
            first = False

    async def _subscribe(self, prove: Prove, message: Json) -> None:
        if not isinstance(message, dict) or message.keys() != {"subscribe"}:
            raise NotValid([Problem(path="", message=_KNOWN)])
        narrow = filter_of(message["subscribe"])
        if self._stream is None:
            stream = await self._live.watch(await prove(), prove, narrow)
        else:
            stream = self._stream
            await self._live.narrow(stream, narrow)
        await self._send(dumps({"type": "subscribed", "filters": as_json(narrow)}))
        self._stream = stream
        self._subscribed.set()

    async def _say_refused(self, refused: Exception) -> None:
        failure = failure_of(refused, operation().request_id)
        said = {
            "type": "error",
            "error_code": failure.code,
            "message": failure.message,
            "details": {} if failure.details is None else failure.details,
        }
        await self._send(dumps(said))

    async def _send(self, message: bytes) -> None:
        async with self._sending:
            await websocket.send(message.decode())


def _refuse_parameters() -> None:
    """A filter in the handshake would be taken for one that counts."""
    if unknown := [
        Problem(path=pointer((name[:_SHOWN],)), message=_NO_PARAMETERS, hint=_SUBSCRIBE)
        for name in islice(websocket.args, MOST_PROBLEMS)
    ]:
        raise NotValid(unknown)


def _read(said: str | bytes) -> Json:
    return parse_json(said.encode() if isinstance(said, str) else said)


def _code_of(refused: Exception) -> int:
    return TRY_LATER if isinstance(refused, WorkflowEngineException) else POLICY


def _written(message: Message) -> bytes:
    if isinstance(message, LiveEvent):
        return message.body
    return dumps({"type": message.kind})
