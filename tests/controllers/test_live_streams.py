"""Everything one may see, as a stream: filters, permissions, limits, slow clients, leaving."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from composition import Running, running
from config import Config
from models.dal import AsyncDAL
from models.live import Hint
from services.clock import new_id
from tests.controllers.conftest import COMMUNITY, OWNER, Api, greeting
from tests.controllers.test_execution_control import asking
from tests.controllers.test_tenants import grant
from tests.listed import uuid_of
from tests.live_world import Served, served, start
from tests.sse import Sse, sse
from tests.waiting import PATIENCE_SECONDS, until

TERMINAL = ("completed", "failed", "cancelled")
STRANGER = OWNER + 1


@pytest.fixture
def config(database_url: str, tmp_path: Path) -> Config:
    return Config(
        database_url=database_url,
        data_dir=tmp_path,
        live_origins=("https://app.example.org",),
        shutdown_grace_seconds=2 * PATIENCE_SECONDS,
        live_buffer_events=20,
        max_live_streams=6,
        max_live_streams_per_user=4,
    )


@pytest.fixture
async def service(config: Config, log: Any) -> AsyncIterator[Running]:
    async with running(config, log) as service:
        yield service


@pytest.fixture
async def world(service: Running, config: Config) -> AsyncIterator[Served]:
    async with served(service, config) as world:
        yield world


@pytest.fixture
async def http(api: Api) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"X-API-Key": api.key}) as session:
        yield session


async def to_the_end(stream: Sse, execution_id: str) -> list[dict[str, Any]]:
    """What the stream says until this execution has ended."""
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for event in stream.events():
            seen.append(event)
            if event.get("execution_id") == execution_id and event["status"] in TERMINAL:
                return seen
    raise AssertionError(f"the stream ended: {seen}")


async def test_a_stream_tells_everything_from_the_beginning_of_each_execution(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    workflow_id = await api.stored()
    async with sse(http, world.streams) as stream:
        execution_id = await start(http, world.url, workflow_id)
        seen = await to_the_end(stream, execution_id)
    assert [event["seq"] for event in seen] == [1, 2, 3, 4]
    assert {event["execution_id"] for event in seen} == {execution_id}
    assert {event["workflow_id"] for event in seen} == {workflow_id}
    headers = stream.answer.headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    assert stream.retry == 1000


async def test_filters_narrow_and_combine(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    one, other = await api.stored(), await api.stored()
    narrow = f"workflow_id={other}&status=completed,failed&session_id=s&community_id=123"
    url = f"{world.streams}?{narrow}"
    async with sse(http, url) as stream:
        await start(http, world.url, one, metadata={"session_id": "s"})
        await start(http, world.url, other, metadata={"session_id": "t"})
        wanted = await start(http, world.url, other, metadata={"session_id": "s"})
        seen = await to_the_end(stream, wanted)
    assert [(event["execution_id"], event["status"]) for event in seen] == [(wanted, "completed")]


async def test_one_who_comes_back_is_told_to_look_again(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    async with sse(http, world.streams, Last_Event_ID="live") as stream:
        async for event in stream.events():
            assert event == {"type": "resync"}
            break


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("colour=red", "status, workflow_id"),
        ("status=done", "pending, running, waiting"),
        ("community_id=x", "integer"),
        ("workflow_id=7", "must be a UUID"),
        ("workflow_template_id=7", "must be a UUID"),
        ("execution_id=7", "must be a UUID"),
        ("session_id=a&session_id=b", "more than once"),
        (f"workflow_id={uuid_of(1)}&workflow_template_id={uuid_of(2)}", "contradicts"),
    ],
)
async def test_a_wrong_filter_is_named_with_what_would_be_right(
    api: Api, query: str, named: str
) -> None:
    answer = await api.call("GET", f"/workflow-management/executions/stream?{query}")
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert named in json.dumps(answer.body)


async def test_a_filter_cannot_name_what_one_may_not_see(api: Api, dal: AsyncDAL) -> None:
    workflow_id = await api.stored()
    ran = await api.call(
        "POST", f"/workflows/{workflow_id}/execute?wait=10", {"community_id": COMMUNITY}
    )
    execution_id = ran.data["execution_id"]
    stream = "/workflow-management/executions/stream?"
    neighbour = await api.new_key(STRANGER, COMMUNITY)
    stranger = await api.new_key(STRANGER, COMMUNITY + 1)
    expected = {
        f"workflow_id={workflow_id}": (403, 404),
        f"execution_id={execution_id}": (403, 404),
        f"user_id={OWNER}": (403, 403),
        f"workflow_id={new_id()}": (404, 404),
        f"community_id={COMMUNITY + 2}": (403, 403),
    }
    for query, statuses in expected.items():
        answers = [await api.call("GET", stream + query, key=key) for key in (neighbour, stranger)]
        assert tuple(answer.status for answer in answers) == statuses, query


async def ran(http: aiohttp.ClientSession, world: Served, workflow_id: str, **body: Any) -> str:
    """The id of an execution that has ended."""
    execution_id = await start(http, world.url, workflow_id, **body)
    async with sse(http, world.events(execution_id)) as replay:
        await replay.all()
    return execution_id


async def test_a_stream_shows_what_its_caller_may_see_and_nothing_else(
    world: Served, api: Api, http: aiohttp.ClientSession, dal: AsyncDAL
) -> None:
    hidden, shown, kept = [await api.stored() for _ in range(3)]
    for workflow_id in (shown, kept):
        await grant(dal, workflow_id, "user", STRANGER, "can_view")

    async def seen_of(*workflow_ids: str) -> set[str]:
        """Whose events are seen while these run, up to the end of the last one."""
        last = [await ran(http, world, workflow_id) for workflow_id in workflow_ids][-1]
        return {event["workflow_id"] for event in await to_the_end(stream, last)}

    async def seen_no_more() -> bool:
        return await seen_of(shown, kept) == {kept}

    neighbour = {"X_API_Key": await api.new_key(STRANGER, COMMUNITY)}
    async with sse(http, world.streams, **neighbour) as stream:
        assert await seen_of(hidden, shown, hidden, kept) == {shown, kept}
        await dal.execute("DELETE FROM workflow_permissions WHERE workflow_id = $1", shown)
        await until(seen_no_more)


async def test_a_stream_shows_nothing_of_another_community(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    there = {"community_id": COMMUNITY + 1}
    ours, key = await api.stored(), await api.new_key(STRANGER, COMMUNITY + 1)
    made = await api.call("POST", "/workflows?publish=true", greeting(**there), key=key)
    theirs = made.data["workflow_id"]
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": key}) as stranger,
        sse(stranger, world.streams) as stream,
    ):
        await ran(http, world, ours)
        last = await ran(stranger, world, theirs, **there)
        assert {event["workflow_id"] for event in await to_the_end(stream, last)} == {theirs}


async def test_a_revoked_key_is_cut_off_within_seconds(
    world: Served, api: Api, service: Running, http: aiohttp.ClientSession
) -> None:
    secret = await api.new_key()
    key = await api.keys.resolve(secret)
    assert key is not None
    async with sse(http, world.streams, X_API_Key=secret) as stream:
        await service.state.authenticator._keys.revoke(key.key_id)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await stream.all() == []
    assert stream.comments == ["you may not see this any more"]


async def test_limits_are_said_and_given_back(
    world: Served, api: Api, service: Running, http: aiohttp.ClientSession
) -> None:
    other = {"X_API_Key": await api.new_key(STRANGER)}
    async with (
        sse(http, world.streams), sse(http, world.streams), sse(http, world.streams),
        sse(http, world.streams),
    ):  # fmt: skip
        async with http.get(world.streams) as answer:
            assert answer.status == 429
            assert answer.headers["Retry-After"]
            assert "MAX_LIVE_STREAMS_PER_USER" in await answer.text()
        async with (
            sse(http, world.streams, **other), sse(http, world.streams, **other),
            http.get(world.streams, headers={"X-API-Key": other["X_API_Key"]}) as full,
        ):  # fmt: skip
            assert full.status == 503
            assert "MAX_LIVE_STREAMS" in await full.text()
    await until(lambda: service.state.live.open == 0)


async def test_a_client_that_does_not_read_is_told_and_held_within_bounds(
    world: Served, api: Api, service: Running, http: aiohttp.ClientSession
) -> None:
    workflow_id = await api.stored()
    async with sse(http, world.streams) as stream:
        (held,) = service.state.live._hub.streams
        stream.answer.connection.transport.pause_reading()  # type: ignore[union-attr]
        batch = {"items": [{"community_id": COMMUNITY}] * 1000}
        path = f"/workflows/{workflow_id}/execute/batch"
        for _ in range(30):
            assert (await api.call("POST", path, batch)).status == 202
            await until(lambda: held.held <= 20)
            if held.dropped:
                break
        assert held.dropped
        stream.answer.connection.transport.resume_reading()  # type: ignore[union-attr]
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for event in stream.events():
                if event == {"type": "resync"}:
                    break


async def test_g12_streams_end_in_good_order_when_the_process_is_to_stop(
    world: Served, api: Api, service: Running, http: aiohttp.ClientSession
) -> None:
    async with sse(http, world.streams) as stream:
        world.departure.begin()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await stream.all() == []
        assert stream.comments == ["this process stops; connect again"]
        assert stream.retry is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.wait([world.serving])
    assert world.departure.left() > 0


# WebSockets


async def said(ws: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        message = await ws.receive()
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return dict(json.loads(message.data))


async def test_a_socket_takes_a_token_and_tells_what_is_subscribed_to(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    workflow_id, other = await api.stored(), await api.stored()
    async with (
        aiohttp.ClientSession() as nobody,
        nobody.ws_connect(world.socket) as ws,
    ):
        await ws.send_json({"token": api.key})
        await ws.send_json({"subscribe": {"colour": "red"}})
        refused = await said(ws)
        assert (refused["type"], refused["error_code"]) == ("error", "VALIDATION_ERROR")
        assert "workflow_id" in refused["details"][0]["message"]
        await ws.send_json({"subscribe": {"workflow_id": workflow_id, "status": ["completed"]}})
        assert await said(ws) == {
            "type": "subscribed",
            "filters": {"workflow_id": workflow_id, "status": ["completed"]},
        }
        execution_id = await start(http, world.url, workflow_id)
        event = await said(ws)
        assert (event["execution_id"], event["status"]) == (execution_id, "completed")
        await ws.send_json({"subscribe": {"workflow_id": other}})
        assert (await said(ws))["type"] == "subscribed"
        await start(http, world.url, workflow_id)
        execution_id = await start(http, world.url, other)
        assert [(await said(ws))["execution_id"] for _ in range(4)] == [execution_id] * 4


@pytest.mark.parametrize(
    "first", ['{"subscribe": {}}', '{"token": "wa-0"}', '{"token": 1}', "x", "[]"]
)
async def test_a_socket_without_a_credential_is_sent_away(
    world: Served, api: Api, first: str
) -> None:
    async with aiohttp.ClientSession() as nobody, nobody.ws_connect(world.socket) as ws:
        await ws.send_str(first)
        refused = await said(ws)
        assert (refused["type"], refused["error_code"]) == ("error", "UNAUTHORIZED")
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
        assert ws.close_code == 1008


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"X-API-Key": "wa-" + "0" * 64}, 401),
    ],
)
async def test_a_handshake_from_elsewhere_or_with_a_bad_key_is_refused(
    world: Served, api: Api, headers: dict[str, str], status: int
) -> None:
    async with aiohttp.ClientSession() as nobody:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await nobody.ws_connect(world.socket, headers=headers | {"X-Request-ID": "shake-1"})
    assert refused.value.status == status
    assert refused.value.headers is not None
    assert refused.value.headers["X-Request-ID"] == "shake-1"
    line = next(line for line in api.log.getvalue().splitlines() if "request_id=shake-1 " in line)
    assert "result=DENIED" in line


async def test_a_socket_where_none_is_taken_has_its_requests_id(world: Served) -> None:
    async with aiohttp.ClientSession() as nobody:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await nobody.ws_connect(f"{world.url}/nowhere", headers={"X-Request-ID": "shake-2"})
    assert refused.value.status == 404
    assert refused.value.headers is not None
    assert refused.value.headers["X-Request-ID"] == "shake-2"


async def test_asking_for_the_head_of_a_stream_ends(
    world: Served, api: Api, service: Running, http: aiohttp.ClientSession
) -> None:
    """And leaves the connection to the next request, and no stream open."""
    execution_id = await start(http, world.url, await api.stored(**asking()))
    for url in (world.streams, world.events(execution_id)):
        async with asyncio.timeout(PATIENCE_SECONDS), http.head(url) as answer:
            assert answer.status == 200
            assert answer.content_type == "text/event-stream"
            assert await answer.read() == b""
            assert "Content-Length" not in answer.headers
        async with asyncio.timeout(PATIENCE_SECONDS), http.get(f"{world.url}/health") as alive:
            assert alive.status == 200
    assert service.state.live.open == 0


async def test_a_handshake_with_a_filter_in_its_query_is_refused(
    world: Served, http: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(f"{world.socket}?status=failed")
    assert refused.value.status == 400


async def test_a_handshake_from_an_allowed_origin_or_with_a_key_is_taken(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    own = world.url
    for origin in ("https://app.example.org", own):
        async with http.ws_connect(world.socket, headers={"Origin": origin}) as ws:
            await ws.send_json({"subscribe": {}})
            assert (await said(ws)) == {"type": "subscribed", "filters": {}}


async def test_sockets_end_when_the_process_is_to_stop(
    world: Served, api: Api, http: aiohttp.ClientSession
) -> None:
    async with http.ws_connect(world.socket) as ws:
        await ws.send_json({"subscribe": {}})
        await said(ws)
        world.departure.begin()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
        assert ws.close_code == 1012


async def test_a_socket_elsewhere_is_refused(world: Served, api: Api) -> None:
    async with aiohttp.ClientSession() as nobody:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await nobody.ws_connect(f"{world.url}/api/v1/workflows")
    assert refused.value.status == 404


# What is heard late, twice or not at all


async def test_what_is_heard_again_is_not_told_again(
    world: Served, api: Api, service: Running, http: aiohttp.ClientSession
) -> None:
    workflow_id = await api.stored()
    async with sse(http, world.streams) as stream:
        first = await start(http, world.url, workflow_id)
        await to_the_end(stream, first)
        service.state.live._hub.heard(Hint({first: 1}))
        second = await start(http, world.url, workflow_id)
        seen = await to_the_end(stream, second)
    assert {event["execution_id"] for event in seen} == {second}


COPIES = [
    f"INSERT INTO {table} SELECT (jsonb_populate_record(known,"
    " jsonb_build_object('execution_id', $2::text))).*"
    f" FROM {table} known WHERE execution_id = $1"
    for table in ("workflow_executions", "workflow_steps")
]


async def test_what_only_another_process_knows_is_read_from_the_table(
    world: Served, api: Api, service: Running, http: aiohttp.ClientSession, dal: AsyncDAL
) -> None:
    workflow_id = await api.stored()
    execution_id = await start(http, world.url, workflow_id)
    async with sse(http, world.events(execution_id)) as replay:
        await replay.all()
    elsewhere = str(uuid4())  # this process has never heard of it
    for copy in COPIES:
        await dal.execute(copy, execution_id, elsewhere)
    async with sse(http, world.events(elsewhere)) as replay:
        everything = await replay.all()
    async with sse(http, f"{world.streams}?workflow_id={workflow_id}") as stream:
        service.state.live._hub.heard(Hint({elsewhere: 2}))
        assert await to_the_end(stream, elsewhere) == everything[1:]


async def test_a_hint_without_names_and_a_lost_connection_are_said(
    world: Served, api: Api, service: Running, http: aiohttp.ClientSession, dal: AsyncDAL
) -> None:
    async with sse(http, world.streams) as stream:
        events = stream.events()
        service.state.live._hub.heard(Hint(None))
        assert await anext(events) == {"type": "resync"}
        await dal.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'workflow_core listen' AND datname = current_database()"
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await anext(events) == {"type": "resync"}
