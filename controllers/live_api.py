"""Blueprint `live_api`: executions as server-sent events.

Its one rule: a stream that was opened is closed, however its client leaves.
The format is that of https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from pydantic import BaseModel, Field
from quart import Blueprint, Response, request
from quart.wrappers.response import ResponseBody

from controllers import live_answers
from controllers.auth import auth_required, current_caller
from controllers.described import Description
from controllers.endpoint import async_endpoint
from controllers.live_filters import LiveQuery, query_filter
from controllers.operation import note
from controllers.prover import prover
from controllers.requests import execution_id_of, read_query
from controllers.schemas import EVENT_ID
from controllers.state import state
from engine.telling import LiveEvent
from services.errors import NotValid, Problem
from services.live_streams import Following, Message, Stream
from services.live_updates import LiveUpdates

blueprint = Blueprint("live_api", __name__, url_prefix="/api/v1")

SCOPE = "executions:read"
RETRY_MILLISECONDS = 1_000
"""How long a client waits before it connects again."""
LIVE_ID = "live"
"""The event id of streams that cannot be resumed: one that comes back with it begins with
`resync`."""

_LAST_EVENT_ID = "Last-Event-ID"
_STREAM = Description(media=live_answers.MEDIA_TYPE)
_EVENTS = Description(headers=(_LAST_EVENT_ID,), media=live_answers.MEDIA_TYPE)
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_NOTES = {"heartbeat": b": heartbeat\n\n", "resync": b'data: {"type":"resync"}\n\n'}
_WORDS = {
    "drain": "this process stops; connect again",
    "unavailable": "the database does not answer; connect again",
    "refused": "you may not see this any more",
    "gone": "this execution is not kept any more",
}


class EventsQuery(BaseModel):
    """Where to resume."""

    model_config = {"extra": "forbid"}

    last_event_id: str | None = Field(
        default=None,
        description="As the header Last-Event-ID, which browsers cannot set: the last `seq` seen.",
        json_schema_extra={"pattern": EVENT_ID},
    )


@blueprint.get("/workflows/executions/<execution_id>/events")
@async_endpoint(
    "stream_execution",
    query=EventsQuery,
    answers={200: live_answers.ExecutionUpdate, 204: live_answers.NothingFollows},
    errors=(404,),
    says=_EVENTS,
)
@auth_required(SCOPE)
async def stream_execution(execution_id: str) -> Response:
    """One execution's events as server-sent events: what was, then what happens, to its end.

    The id of each is its `seq`, gapless from 1; `Last-Event-ID: n` resumes with n + 1. 204 if
    nothing will follow.
    """
    execution_id = execution_id_of(execution_id)
    seen = _last_seen(read_query(EventsQuery).last_event_id)
    live = state().live
    stream = await live.follow(current_caller(), prover(SCOPE), execution_id, seen)
    if stream is None:
        return Response(b"", status=204)
    note(community_id=stream.owner.community_id, workflow_id=stream.owner.workflow_id)
    return _answer(live, stream)


@blueprint.get("/workflow-management/executions/stream")
@async_endpoint(
    "stream_executions",
    query=LiveQuery,
    answers={200: live_answers.StreamMessage},
    errors=(404,),
    says=_STREAM,
)
@auth_required(SCOPE)
async def stream_executions() -> Response:
    """The events of every execution that you may see, as server-sent events, from now on.

    A client too slow gets `{"type": "resync"}` in place of what was dropped, and so does one that
    has been away: read the list again.
    """
    narrow = query_filter()
    live = state().live
    stream = await live.watch(current_caller(), prover(SCOPE), narrow)
    if request.headers.get(_LAST_EVENT_ID):
        stream.unsure()
    return _answer(live, stream)


class EventBody(ResponseBody):
    """The body of a stream's answer: what the stream gives, as server-sent events."""

    def __init__(self, live: LiveUpdates, stream: Stream) -> None:
        self._live = live
        self._stream = stream

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.close(self._stream)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[bytes]:
        stream = self._stream
        stream.reader = asyncio.current_task()
        resumable = isinstance(stream, Following)
        beginning = f"retry: {RETRY_MILLISECONDS}\n"
        yield (beginning + "\n" if resumable else f"{beginning}id: {LIVE_ID}\n\n").encode()
        while messages := await stream.take():
            yield b"".join(_numbered(messages) if resumable else _plain(messages))
            self._live.written(stream)
        word = _WORDS.get(stream.ended or "")
        if word is not None:
            yield f"retry: {RETRY_MILLISECONDS}\n: {word}\n\n".encode()


def _answer(live: LiveUpdates, stream: Stream) -> Response:
    body: EventBody | bytes = EventBody(live, stream)
    if request.method == "HEAD":  # whose answer ends with its headers
        live.close(stream)
        body = b""
    response = Response(
        body, content_type=f"{live_answers.MEDIA_TYPE}; charset=utf-8", headers=_HEADERS
    )
    response.timeout = None
    response.headers.pop("Content-Length", None)  # nor has the answer to a GET one
    return response


def _plain(messages: list[Message]) -> list[bytes]:
    return [
        b"data: %b\n\n" % each.body if isinstance(each, LiveEvent) else _NOTES[each.kind]
        for each in messages
    ]


def _numbered(messages: list[Message]) -> list[bytes]:
    """With ids, by which one resumes."""
    return [
        b"id: %d\ndata: %b\n\n" % (each.seq, each.body)
        if isinstance(each, LiveEvent)
        else _NOTES[each.kind]
        for each in messages
    ]


def _last_seen(parameter: str | None) -> int:
    """The last number that the client has seen; the header, which is newer, counts. Raises
    `NotValid` for either, whichever counts."""
    seen = 0
    for path, text in (
        ("/last_event_id", parameter),
        (f"/headers/{_LAST_EVENT_ID}", request.headers.get(_LAST_EVENT_ID)),
    ):
        if not text:
            continue
        if not re.fullmatch(EVENT_ID, text):
            message = "must be the id of an event: a whole number"
            raise NotValid([Problem(path=path, message=message)])
        seen = int(text)
    return seen
