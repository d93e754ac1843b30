"""Somebody takes more than their share: of requests, of memory, of what may be kept."""

from __future__ import annotations

import gzip
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from quart.testing import WebsocketResponseError

from app import create_app
from composition import running
from config import Config
from engine.json_door import MAX_ITEMS, MAX_KEY_LENGTH
from models.api_keys import ApiKeys
from models.dal import AsyncDAL
from services.api_keys import ApiKeyService
from services.clock import SystemClock, new_id
from tests.controllers.conftest import COMMUNITY, OWNER, Api

MOST_BYTES = 10_000
LONG_KEY = "k" * (MAX_KEY_LENGTH + 1)

Open = Callable[..., Awaitable[Api]]
Peer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def limited(database_url: str, tmp_path: Path, dal: AsyncDAL) -> AsyncIterator[Open]:
    """Starts the service with limits."""
    async with AsyncExitStack() as stack:

        async def opened(**limits: Any) -> Api:
            config = Config(
                database_url=database_url, data_dir=tmp_path, shutdown_grace_seconds=1, **limits
            )
            log = io.StringIO()
            service = await stack.enter_async_context(running(config, log))
            keys = ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)
            api = Api(create_app(config, service=service), keys, log)
            api.key = await api.new_key()
            return api

        yield opened


async def served(api: Api, key: str, times: int, **headers: str) -> int:
    """How many of so many requests are served; the others are told to come back."""
    found = [await api.call("GET", "/status", key=key, headers=headers) for _ in range(times)]
    assert {answer.status for answer in found} <= {200, 429}
    assert all(int(each.headers["retry-after"]) > 0 for each in found if each.status == 429)
    return sum(answer.status == 200 for answer in found)


async def test_a_flood_with_one_key_does_not_use_up_what_its_community_has(limited: Open) -> None:
    api = await limited(rate_limit_per_key=3, rate_limit_per_community=5)
    assert await served(api, api.key, 30) == 3
    assert await served(api, await api.new_key(user=9), 30) == 2


async def test_a_new_key_for_every_request_does_not_escape_the_user_s_limit(limited: Open) -> None:
    api = await limited(rate_limit_per_user=3)
    keys = [await api.new_key() for _ in range(6)]
    assert [await served(api, key, 1) for key in keys] == [1, 1, 1, 0, 0, 0]


async def test_acting_for_a_new_user_each_time_does_not_escape_the_key_s_limit(
    limited: Open,
) -> None:
    api = await limited(rate_limit_per_key=3, rate_limit_per_user=2)
    service = await api.new_key(kind="service")
    acting = [await served(api, service, 1, **{"X-Acting-User": str(n)}) for n in range(6)]
    assert acting == [1, 1, 1, 0, 0, 0]


async def test_acting_for_somebody_uses_up_what_that_user_has(limited: Open) -> None:
    api = await limited(rate_limit_per_user=2)
    service = await api.new_key(user=9, kind="service")
    assert await served(api, service, 4, **{"X-Acting-User": str(OWNER)}) == 2
    assert await served(api, api.key, 2) == 0


async def test_opening_sockets_instead_of_sending_requests_is_counted_as_well(
    limited: Open,
) -> None:
    api = await limited(rate_limit_per_key=2)
    path, headers = "/api/v1/workflow-management/executions/ws", {"X-API-Key": api.key}
    for _ in range(2):
        async with api.client.websocket(path, headers=headers):
            pass
    with pytest.raises(WebsocketResponseError) as refused:
        async with api.client.websocket(path, headers=headers) as socket:
            await socket.receive()
    assert refused.value.response.status_code == 429
    assert await served(api, api.key, 1) == 0


async def test_what_is_wrong_with_a_request_does_not_make_it_free(limited: Open) -> None:
    api = await limited(rate_limit_per_key=3)
    for path in ("/workflows/x", "/workflows?nonsense=1", "/no-such-route-but-counted"):
        await api.call("GET", path)
    assert await served(api, api.key, 5) == 1, "a route that is none is nothing to protect"


@pytest.mark.parametrize(
    ("body", "path", "said"),
    [
        ({"metadata": {LONG_KEY: 1}}, f"/metadata/{LONG_KEY[:63]}…", "a key may have 1024"),
        ({"variables": {"a": [0] * (MAX_ITEMS + 1)}}, "/variables/a", "may have 100000 items"),
    ],
)
async def test_a_body_that_is_all_keys_or_items_is_refused_by_its_place(
    limited: Open, body: dict[str, Any], path: str, said: str
) -> None:
    api = await limited()
    workflow = await api.stored()
    sent = {"community_id": COMMUNITY, **body}
    for door in (f"/workflows/{workflow}/execute", f"/workflows/{workflow}/test", "/workflows"):
        answer = await api.call("POST", door, sent)
        assert (answer.status, answer.code) == (400, "INVALID_JSON")
        assert answer.body["details"][0]["path"] == path
        assert said in answer.body["message"]


@asynccontextmanager
async def peer(answer: Peer) -> AsyncIterator[str]:
    """The address of something that answers so."""
    app = web.Application()
    app.router.add_get("/", answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield str(server.make_url("/"))
    await server.close()


async def asked(api: Api, url: str, **node: Any) -> dict[str, Any]:
    """The execution of a workflow that asks there."""
    asking = {"node_type": "action_webhook", "config": {"url": url, "method": "GET"}, **node}
    start = {"node_type": "trigger_command", "config": {"command": "!go"}}
    workflow = await api.stored(
        nodes={"start": start, "ask": asking},
        connections=[{"from_node_id": "start", "to_node_id": "ask"}],
    )
    answer = await api.call(
        "POST", f"/workflows/{workflow}/execute?wait=60", {"community_id": COMMUNITY}
    )
    assert answer.status == 200, answer.body
    return dict(answer.data)


async def test_a_peer_that_never_stops_talking_leaves_a_mark_and_no_more(limited: Open) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b'["and so on",' * 1000)
        except ConnectionError:
            return response

    api = await limited(max_output_bytes=MOST_BYTES)
    async with peer(endless) as url:
        ended = await asked(api, url)
    assert ended["status"] == "completed"
    body = ended["node_states"]["ask"]["output_data"]["body"]
    assert (body["truncated"], body["bytes"]) == (True, None)
    assert len(body["preview"]) == 1000


async def test_a_bomb_is_not_unpacked_beyond_what_an_output_may_have(limited: Open) -> None:
    async def bomb(request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=gzip.compress(bytes(64 * 2**20)), headers={"Content-Encoding": "gzip"}
        )

    api = await limited(max_output_bytes=MOST_BYTES)
    async with peer(bomb) as url:
        ended = await asked(api, url)
    assert ended["node_states"]["ask"]["output_data"]["body"]["truncated"] is True


async def test_a_long_complaint_does_not_hide_that_the_peer_is_only_busy(limited: Open) -> None:
    answers = [web.Response(status=503, text="busy " * MOST_BYTES), web.Response(text="well")]

    async def busy(request: web.Request) -> web.StreamResponse:
        return answers.pop(0)

    api = await limited(max_output_bytes=MOST_BYTES)
    async with peer(busy) as url:
        ended = await asked(api, url, retry={"max_attempts": 2, "initial_seconds": 0})
    assert ended["node_states"]["ask"]["output_data"]["body"] == "well"


async def test_a_peer_s_json_is_held_to_what_a_request_s_is(limited: Open) -> None:
    async def keys(request: web.Request) -> web.StreamResponse:
        return web.json_response({"found": {LONG_KEY: 1}})

    api = await limited()
    async with peer(keys) as url:
        ended = await asked(api, url)
    assert (ended["status"], ended["error_code"]) == ("failed", "BAD_RESPONSE")
    assert "a key may have 1024 characters" in ended["error_message"]
