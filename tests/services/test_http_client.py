"""The HTTP client, over real sockets, against a server that misbehaves on request."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from engine.context import Json
from engine.errors import StepFailure
from engine.ports import HttpResponse
from services.egress import Egress
from services.http_client import AiohttpClient, HttpLimits
from tests.waiting import PATIENCE_SECONDS

LOCAL = Egress(allow=("127.0.0.1", "::1"))


@dataclass
class Peer:
    """A server on a port of its own that records what it is asked."""

    base: str = ""
    port: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: asyncio.Event = field(default_factory=asyncio.Event)

    async def echo(self, request: web.Request) -> web.Response:
        self.seen.append(
            {
                "method": request.method,
                "query": dict(request.query),
                "query_string": request.rel_url.raw_query_string,
                "headers": dict(request.headers),
                "body": (await request.read()).decode(),
            }
        )
        return web.json_response({"ok": True}, headers={"Set-Cookie": "a=1"})

    async def raw(self, request: web.Request) -> web.Response:
        return web.Response(
            status=int(request.query.get("status", "200")),
            body=bytes.fromhex(request.query["hex"]),
            headers={"Content-Type": request.query["type"]},
        )

    async def hang(self, request: web.Request) -> web.Response:
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.dropped.set()
        raise AssertionError("nothing ends this wait but the client's leaving")

    async def big(self, request: web.Request) -> web.Response:
        return web.Response(body=b"x" * int(request.query["size"]))

    async def bomb(self, request: web.Request) -> web.Response:
        """256 MiB of zeros in 256 KiB."""
        body = gzip.compress(bytes(16 * 2**20)) * 16
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    async def away(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async def many_headers(self, request: web.Request) -> web.Response:
        names = int(request.query["count"])
        return web.Response(headers={f"X-{i}": "v" for i in range(names)})

    async def long_header(self, request: web.Request) -> web.Response:
        return web.Response(headers={"X-Long": "v" * int(request.query["size"])})


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    app = web.Application(handler_args={"max_line_size": 65536, "max_field_size": 65536})
    for name in ("echo", "raw", "hang", "big", "bomb", "away", "many_headers", "long_header"):
        app.router.add_route("*", f"/{name}", getattr(peer, name))
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    peer.port = server.port or 0
    peer.base = f"http://127.0.0.1:{peer.port}"
    yield peer
    await server.close()


@pytest.fixture
async def client() -> AsyncIterator[AiohttpClient]:
    async with AiohttpClient(LOCAL, limits=HttpLimits(max_response_bytes=100_000)) as client:
        yield client


async def fetch(
    client: AiohttpClient,
    url: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    params: dict[str, str | list[str]] | None = None,
    body: Json = None,
    timeout_seconds: float = 10,
) -> HttpResponse:
    return await client.request(
        method,
        url,
        headers=headers or {},
        params=params,
        body=body,
        timeout_seconds=timeout_seconds,
    )


async def failure(client: AiohttpClient, url: str, **options: Any) -> StepFailure:
    with pytest.raises(StepFailure) as caught:
        await fetch(client, url, **options)
    return caught.value


async def test_a_json_body_is_sent_and_a_json_answer_parsed(
    peer: Peer, client: AiohttpClient
) -> None:
    response = await fetch(
        client,
        f"{peer.base}/echo?a=1",
        method="POST",
        headers={"Idempotency-Key": "e:s"},
        params={"b": "ü &"},
        body={"n": [1, "é"]},
    )

    assert (response.status, response.body) == (200, {"ok": True})
    assert response.headers["content-type"].startswith("application/json")
    [seen] = peer.seen
    assert seen["method"] == "POST"
    assert seen["query"] == {"a": "1", "b": "ü &"}
    assert seen["body"] == '{"n":[1,"é"]}'
    assert seen["headers"]["Content-Type"] == "application/json"
    assert seen["headers"]["Idempotency-Key"] == "e:s"


async def test_text_is_sent_as_text_and_an_authors_content_type_is_kept(
    peer: Peer, client: AiohttpClient
) -> None:
    await fetch(client, f"{peer.base}/echo", method="POST", body="hi")
    await fetch(
        client, f"{peer.base}/echo", method="PUT", body="<a/>", headers={"content-type": "text/xml"}
    )

    assert [(seen["headers"]["Content-Type"], seen["body"]) for seen in peer.seen] == [
        ("text/plain; charset=utf-8", "hi"),
        ("text/xml", "<a/>"),
    ]


@pytest.mark.parametrize(
    ("url", "params", "sent"),
    [
        ("/echo", {"tag": ["a", "b c"]}, "tag=a&tag=b+c"),
        ("/echo?tag=z", {"tag": ["a", "b"], "n": "1"}, "tag=z&tag=a&tag=b&n=1"),
        ("/echo?a=1%262", {"q": "100% ü&=?#/"}, "a=1%262&q=100%25+%C3%BC%26%3D?%23/"),
        ("/echo?a=1", {}, "a=1"),
        ("/echo", None, ""),
    ],
)
async def test_parameters_are_encoded_and_a_list_repeats_its_name(
    peer: Peer, client: AiohttpClient, url: str, params: Any, sent: str
) -> None:
    await fetch(client, f"{peer.base}{url}", params=params)

    assert [seen["query_string"] for seen in peer.seen] == [sent]


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (0, "0"),
        (False, "false"),
        ([], "[]"),
        ({}, "{}"),
        ([{"a": None}], '[{"a":null}]'),
        ("", ""),
    ],
)
async def test_any_body_but_none_is_sent_with_its_type(
    peer: Peer, client: AiohttpClient, body: Json, sent: str
) -> None:
    await fetch(client, f"{peer.base}/echo", method="POST", body=body)

    [seen] = peer.seen
    assert seen["body"] == sent
    text = isinstance(body, str)
    assert seen["headers"]["Content-Type"] == (
        "text/plain; charset=utf-8" if text else "application/json"
    )
    assert seen["headers"]["Content-Length"] == str(len(sent))


async def test_no_body_has_no_type(peer: Peer, client: AiohttpClient) -> None:
    await fetch(client, f"{peer.base}/echo", method="POST")

    assert "Content-Type" not in peer.seen[0]["headers"]


async def test_no_body_sends_none_and_cookies_are_not_kept(
    peer: Peer, client: AiohttpClient
) -> None:
    for _ in range(2):
        await fetch(client, f"{peer.base}/echo")

    assert [seen["body"] for seen in peer.seen] == ["", ""]
    assert not any("Cookie" in seen["headers"] for seen in peer.seen)


@pytest.mark.parametrize(
    ("kind", "content", "body"),
    [
        ("text/plain", "héllo".encode(), "héllo"),
        ("text/plain; charset=latin-1", "héllo".encode("latin-1"), "héllo"),
        ("text/plain; charset=punycode", b"abc-", "abc-"),
        ("text/plain; charset=no-such", b"abc", "abc"),
        ("text/plain", b"a\xffb\x00c", "a\ufffdb\ufffdc"),
        ("application/problem+json", b'{"a": 1}', {"a": 1}),
        ("application/json", b"\xef\xbb\xbf[1]", [1]),
        ("application/json", b"", None),
        ("text/html", b"", ""),
    ],
)
async def test_an_answer_is_json_if_it_says_so_and_else_storable_text(
    peer: Peer, client: AiohttpClient, kind: str, content: bytes, body: Json
) -> None:
    response = await fetch(client, f"{peer.base}/raw", params={"hex": content.hex(), "type": kind})

    assert response.body == body


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"a":1,"a":2}',
        b"NaN",
        b'"\\u0000"',
        b'"\\ud800"',
        b"\xff",
        b"[" * 33 + b"]" * 33,
        b"[" * 20_000,
        b"18446744073709551616",
        b"1e999",
        b"<html>",
    ],
)
async def test_bad_json_fails_the_step(peer: Peer, client: AiohttpClient, content: bytes) -> None:
    params = {"hex": content.hex(), "type": "application/json"}

    error = await failure(client, f"{peer.base}/raw", params=params)

    assert (error.error_type, error.retryable) == ("BAD_RESPONSE", False)
    assert error.message.startswith("the answer says it is JSON, but is not acceptable: ")
    assert len(error.message) < 300


async def test_bad_json_under_an_error_status_leaves_the_status_to_be_judged(
    peer: Peer, client: AiohttpClient
) -> None:
    params = {"hex": b"<html>".hex(), "type": "application/json", "status": "502"}

    response = await fetch(client, f"{peer.base}/raw", params=params)

    assert (response.status, response.body) == (502, "<html>")


async def test_a_slow_peer_is_a_retryable_timeout(peer: Peer, client: AiohttpClient) -> None:
    error = await failure(client, f"{peer.base}/hang", timeout_seconds=0.05)

    assert (error.error_type, error.retryable, error.uncertain) == ("TIMEOUT", True, True)
    assert "0.05 s" in error.message


async def test_cancelling_the_caller_aborts_the_request(peer: Peer, client: AiohttpClient) -> None:
    task = asyncio.create_task(fetch(client, f"{peer.base}/hang"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await peer.waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await peer.dropped.wait()


async def test_an_answer_may_be_as_large_as_the_limit_and_no_larger(
    peer: Peer, client: AiohttpClient
) -> None:
    whole = await fetch(client, f"{peer.base}/big", params={"size": "100000"})
    cut = await fetch(client, f"{peer.base}/big", params={"size": "100001"})

    assert (len(whole.body), whole.cut) == (100_000, False)
    assert (cut.status, cut.cut) == (200, True)
    assert cut.body == {"truncated": True, "bytes": 100_001, "preview": whole.body[:1000]}


async def test_a_compressed_bomb_is_not_inflated_beyond_the_limit(
    peer: Peer, client: AiohttpClient
) -> None:
    response = await fetch(client, f"{peer.base}/bomb")

    assert response.cut
    assert (response.body["truncated"], response.body["bytes"]) == (True, None)
    assert len(response.body["preview"]) == 1000


async def test_a_redirect_is_a_status_and_is_not_followed(
    peer: Peer, client: AiohttpClient
) -> None:
    params = {"to": f"{peer.base}/echo"}

    response = await fetch(client, f"{peer.base}/away", params=params)

    assert (response.status, response.headers["location"]) == (302, params["to"])
    assert peer.seen == []


@pytest.mark.parametrize("path", ["many_headers?count=500", "long_header?size=20000"])
async def test_too_many_or_too_long_headers_are_refused(
    peer: Peer, client: AiohttpClient, path: str
) -> None:
    error = await failure(client, f"{peer.base}/{path}")

    assert error.error_type == "BAD_RESPONSE"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "2130706433",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "127.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "127.0.0.1.",
        "\uff11\uff12\uff17.0.0.1",
    ],
)
async def test_no_spelling_of_this_machine_is_reached(peer: Peer, host: str) -> None:
    async with AiohttpClient(Egress()) as client:
        error = await failure(client, f"http://{host}:{peer.port}/echo")

    assert error.error_type in {"EGRESS_BLOCKED", "BAD_URL", "NETWORK_ERROR"}
    assert peer.seen == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_a_blocked_host_is_explained_without_facts_about_the_network(
    peer: Peer, host: str
) -> None:
    async with AiohttpClient(Egress()) as client:
        error = await failure(client, f"http://{host}:{peer.port}/echo")

    assert (error.error_type, error.retryable) == ("EGRESS_BLOCKED", False)
    assert "EGRESS_ALLOW" in error.message
    assert error.message.count("127.0.0.1") == (host == "127.0.0.1")


async def test_a_name_in_the_allow_list_is_reached_and_its_address_alone_is_not(
    peer: Peer,
) -> None:
    async with AiohttpClient(Egress(allow=("localhost",))) as client:
        response = await fetch(client, f"http://localhost:{peer.port}/echo")
        error = await failure(client, f"{peer.base}/echo")

    assert response.status == 200
    assert error.error_type == "EGRESS_BLOCKED"


@pytest.mark.parametrize("deny", ["localhost", "127.0.0.0/8"])
async def test_the_deny_list_wins_over_the_allow_list(peer: Peer, deny: str) -> None:
    egress = Egress(allow=("localhost", "127.0.0.0/8", "::1"), deny=(deny, "::1"))
    async with AiohttpClient(egress) as client:
        error = await failure(client, f"http://localhost:{peer.port}/echo")

    assert error.error_type == "EGRESS_BLOCKED"


async def test_without_a_guard_every_address_is_reached(peer: Peer) -> None:
    async with AiohttpClient(None) as client:
        assert (await fetch(client, f"{peer.base}/echo")).status == 200


async def test_proxies_of_the_environment_are_not_used(
    peer: Peer, client: AiohttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert (await fetch(client, f"{peer.base}/echo")).status == 200


async def test_a_closed_port_and_an_unknown_name_are_retryable_network_errors(
    client: AiohttpClient,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    closed = await failure(client, f"http://127.0.0.1:{port}/")
    unknown = await failure(client, "http://no-such-host.invalid/")

    for error in (closed, unknown):
        assert (error.error_type, error.retryable) == ("NETWORK_ERROR", True)
        assert not error.uncertain


async def answered_by(line: bytes, client: AiohttpClient) -> StepFailure:
    """What the client makes of a peer that answers with these bytes and hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(line)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await failure(client, f"http://127.0.0.1:{port}/", method="POST", body="x")


@pytest.mark.parametrize(
    ("line", "error_type"),
    [
        (b"", "NETWORK_ERROR"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "NETWORK_ERROR"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "BAD_RESPONSE"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n", "BAD_RESPONSE"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
            "NETWORK_ERROR",
        ),
    ],
)
async def test_a_peer_that_breaks_off_or_speaks_something_else_fails_the_step(
    client: AiohttpClient, line: bytes, error_type: str
) -> None:
    error = await answered_by(line, client)

    assert error.error_type == error_type
    assert error.retryable == error.uncertain == (error_type == "NETWORK_ERROR")


@pytest.mark.parametrize(
    "url",
    ["", "example.com", "ftp://x/", "file:///etc/passwd", "http://", "http://[::1", "http://x:0/"],
)
async def test_an_address_that_cannot_be_requested_is_named_so(
    client: AiohttpClient, url: str
) -> None:
    assert (await failure(client, url)).error_type == "BAD_URL"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "3"},
        {"transfer-encoding": "chunked"},
        {"X": "a\r\nHost: b"},
        {"a b": ""},
        {"": "x"},
    ],
)
async def test_headers_that_would_change_the_message_are_refused(
    peer: Peer, client: AiohttpClient, headers: dict[str, str]
) -> None:
    error = await failure(client, f"{peer.base}/echo", headers=headers)

    assert error.error_type == "BAD_REQUEST"
    assert peer.seen == []


async def test_header_bytes_that_are_no_text_become_storable(client: AiohttpClient) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No\r\nX-A: \xff\r\nX-B: 1\r\nx-b: 2\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        response = await fetch(client, f"http://127.0.0.1:{port}/")

    assert response.headers == {"x-a": "\ufffd", "x-b": "1, 2"}


async def test_what_an_address_quotes_stays_quoted(client: AiohttpClient) -> None:
    lines: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await reader.readline())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await fetch(client, f"http://127.0.0.1:{port}/a%20b%2Fc%3F/ü?x=%26%3D#part")

    assert lines == [b"GET /a%20b%2Fc%3F/%C3%BC?x=%26%3D HTTP/1.1\r\n"]


async def test_a_closed_client_opens_again_when_asked(peer: Peer, client: AiohttpClient) -> None:
    await fetch(client, f"{peer.base}/echo")
    await client.close()

    assert (await fetch(client, f"{peer.base}/echo")).status == 200
