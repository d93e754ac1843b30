"""The router and the console: what is sent, what is answered, what a refusal becomes."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from engine.context import Json
from engine.errors import StepFailure
from engine.ports import HttpResponse, Transport
from services.http_client import AiohttpClient, HttpLimits
from services.transports import ConsoleTransport, RouterTransport

MESSAGE = {
    "message": "Hello",
    "destination": "current_channel",
    "entity_id": 7,
    "user_id": 456,
    "platform": "twitch",
    "reply_to_message": False,
}


class Answering:
    """An `HttpClient` that gives one answer and keeps the request."""

    def __init__(
        self, status: int = 200, body: Json = None, headers: dict[str, str] | None = None
    ) -> None:
        self.response = HttpResponse(status, headers or {}, body)
        self.request_made: dict[str, Any] = {}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | list[str]] | None,
        body: Json,
        timeout_seconds: float,
    ) -> HttpResponse:
        self.request_made = {
            "method": method,
            "url": url,
            "headers": dict(headers),
            "body": body,
            "timeout_seconds": timeout_seconds,
        }
        return self.response


def router(http: Answering) -> RouterTransport:
    return RouterTransport(http, "http://router:8000/", "service-key")


async def send(transport: Transport, request: dict[str, Any] | None = None) -> Json:
    return await transport.send_message(
        MESSAGE if request is None else request, idempotency_key="e:s", timeout_seconds=3
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("execute_module", "execute-module"),
        ("send_message", "send-message"),
        ("browser_source", "browser-source"),
    ],
)
async def test_each_operation_posts_to_its_address_with_both_keys(method: str, path: str) -> None:
    http = Answering(body={"message_id": "m1"})

    await getattr(router(http), method)({"a": 1}, idempotency_key="e:s", timeout_seconds=3)

    assert http.request_made == {
        "method": "POST",
        "url": f"http://router:8000/api/v1/{path}",
        "headers": {"X-Service-Key": "service-key", "Idempotency-Key": "e:s"},
        "body": {"a": 1},
        "timeout_seconds": 3,
    }


async def test_without_a_service_key_none_is_sent() -> None:
    http = Answering(body={})

    await send(RouterTransport(http, "http://router", None))

    assert http.request_made["headers"] == {"Idempotency-Key": "e:s"}


@pytest.mark.parametrize("answer", [{"temp": 12}, [1], None])
async def test_a_modules_answer_is_returned_as_it_is(answer: Json) -> None:
    transport = router(Answering(body=answer))

    got = await transport.execute_module({}, idempotency_key="e:s", timeout_seconds=3)

    assert got == answer


@pytest.mark.parametrize("answer", [{"shown": True}, [1], None])
async def test_an_overlays_answer_is_returned_as_it_is(answer: Json) -> None:
    transport = router(Answering(body=answer))

    got = await transport.browser_source({}, idempotency_key="e:s", timeout_seconds=3)

    assert got == answer


@pytest.mark.parametrize(
    ("answer", "message_id"),
    [
        ({"message_id": "m1", "more": 1}, "m1"),
        ({"success": True, "data": {"message_id": 5}}, 5),
        ({"success": True}, None),
        ([], None),
        ("", None),
    ],
)
async def test_a_message_gives_its_id_alone(answer: Json, message_id: Json) -> None:
    assert await send(router(Answering(body=answer))) == {"message_id": message_id}


@pytest.mark.parametrize("status", [301, 400, 401, 404, 409, 422])
async def test_a_refusal_is_final_and_says_what_the_router_said(status: int) -> None:
    http = Answering(status, {"message": "unknown module"}, {"Retry-After": "9"})

    with pytest.raises(StepFailure, match=f"send-message with {status}: unknown module") as caught:
        await send(router(http))

    error = caught.value
    assert (error.error_type, error.retryable, error.retry_after) == ("ROUTER_REFUSED", False, None)
    assert error.details == {"status": status}
    assert not error.uncertain


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
async def test_a_busy_router_may_be_asked_again_when_it_says(status: int) -> None:
    http = Answering(status, "try later", {"retry-after": "9"})

    with pytest.raises(StepFailure) as caught:
        await send(router(http))

    error = caught.value
    assert (error.error_type, error.retryable, error.retry_after) == (
        "ROUTER_UNAVAILABLE",
        True,
        9,
    )
    assert error.uncertain == (status in {500, 502})


async def test_a_busy_router_may_name_a_date() -> None:
    headers = {
        "date": "Wed, 21 Oct 2015 07:28:00 GMT",
        "retry-after": "Wed, 21 Oct 2015 07:28:30 GMT",
    }

    with pytest.raises(StepFailure) as caught:
        await send(router(Answering(503, None, headers)))

    assert caught.value.retry_after == 30


@pytest.mark.parametrize("body", [None, "", {"error": {"code": 1}}, [1], {}])
async def test_a_refusal_without_words_is_told_by_its_status(body: Json) -> None:
    with pytest.raises(StepFailure, match=r"with 400\Z"):
        await send(router(Answering(400, body)))


@pytest.mark.parametrize("operation", ["send_message", "execute_module", "browser_source"])
async def test_an_answer_that_says_it_is_no_success_is_a_refusal(operation: str) -> None:
    transport = router(Answering(200, {"success": False, "error": "no such channel" + "!" * 999}))

    with pytest.raises(StepFailure, match=r"success: false: no such channel!+\Z") as caught:
        await getattr(transport, operation)({}, idempotency_key="e:s", timeout_seconds=3)

    error = caught.value
    assert (error.error_type, error.retryable, error.uncertain) == ("ROUTER_REFUSED", False, False)
    assert error.details == {"status": 200}
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    "answer", [{"success": None}, {"success": 0}, {"data": {"success": False}}]
)
async def test_only_success_false_itself_is_a_refusal(answer: Json) -> None:
    transport = router(Answering(200, answer))

    assert await transport.execute_module({}, idempotency_key="e:s", timeout_seconds=3) == answer


async def test_a_success_that_is_not_json_is_a_bad_response() -> None:
    with pytest.raises(StepFailure) as caught:
        await send(router(Answering(200, "<html>")))

    assert caught.value.error_type == "BAD_RESPONSE"


async def test_an_answer_that_was_cut_is_no_answer_of_a_module() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"message_id": "m" * 5_000})

    app = web.Application()
    app.router.add_post("/api/v1/send-message", answer)
    limits = HttpLimits(max_response_bytes=1_000)
    async with (
        TestServer(app, host="127.0.0.1") as server,
        AiohttpClient(None, limits=limits) as http,
    ):
        with pytest.raises(StepFailure, match="larger than MAX_OUTPUT_BYTES") as caught:
            await send(RouterTransport(http, str(server.make_url("")), "service-key"))

    assert (caught.value.error_type, caught.value.retryable) == ("RESPONSE_TOO_LARGE", False)


@pytest.fixture
async def served() -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A router over real sockets, and the requests it got."""
    seen: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        key = request.headers["X-Service-Key"]
        seen.append({"path": request.path, "key": key, "body": await request.json()})
        return web.json_response({"message_id": "m1"})

    app = web.Application()
    app.router.add_post("/api/v1/send-message", answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield str(server.make_url("")), seen
    await server.close()


async def test_the_router_is_reached_over_http(
    served: tuple[str, list[dict[str, Any]]],
) -> None:
    url, seen = served
    async with AiohttpClient(None) as http:
        assert await send(RouterTransport(http, url, "k")) == {"message_id": "m1"}

    assert seen == [{"path": "/api/v1/send-message", "key": "k", "body": MESSAGE}]


class Console:
    """A console transport with ids `id-1`, `id-2`, … and what it printed."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.ids = 0
        self.transport = ConsoleTransport(self.stream, self.new_id)

    def new_id(self) -> str:
        self.ids += 1
        return f"id-{self.ids}"

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


async def test_the_console_prints_a_message_and_gives_it_an_id() -> None:
    console = Console()

    assert await send(console.transport) == {"message_id": "id-1"}
    assert await send(console.transport) == {"message_id": "id-2"}
    assert console.lines == ["» chat to the current channel on twitch: Hello  (e:s)"] * 2


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ({"destination": "specified_channel", "channel_id": "c1"}, "channel c1 on twitch"),
        ({"destination": "user_pm", "target_user_id": "9"}, "user 9 on twitch"),
        ({"platform": None}, "the current channel on any platform"),
    ],
)
async def test_the_console_shows_whom_a_message_is_for(address: dict[str, Any], shown: str) -> None:
    console = Console()

    await send(console.transport, {**MESSAGE, **address})

    assert console.lines == [f"» chat to {shown}: Hello  (e:s)"]


async def test_a_message_stays_one_line_whatever_it_holds() -> None:
    console = Console()

    await send(console.transport, {**MESSAGE, "message": "a\nb\x1b[31m\u2028c ü"})

    assert console.lines == [
        "» chat to the current channel on twitch: a\\nb\\x1b[31m\\u2028c ü  (e:s)"
    ]


async def test_the_console_says_that_a_module_was_only_printed() -> None:
    console = Console()
    request = {"module_name": "weather", "action": "now", "input": {"city": "Bonn"}}

    answer = await console.transport.execute_module(
        request, idempotency_key="e:s", timeout_seconds=3
    )

    assert answer == {"printed": True, **request}
    assert console.lines == ['» module weather now {"city":"Bonn"}  (e:s)']


async def test_the_console_prints_overlays() -> None:
    console = Console()
    request = {"source_type": "alert", "action": "display", "content": {"text": "Raid!"}}

    answer = await console.transport.browser_source(
        request, idempotency_key="e:s", timeout_seconds=3
    )

    assert answer == {"printed": True, "source_type": "alert", "action": "display"}
    assert console.lines == ['» overlay display alert {"text":"Raid!"}  (e:s)']


async def test_a_closed_console_fails_the_step() -> None:
    console = Console()
    console.stream.close()

    with pytest.raises(StepFailure, match="console"):
        await send(console.transport)
