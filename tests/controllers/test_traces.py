"""A trace goes through: in by a header, through sub-workflows, out by a header."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from app import create_app
from composition import running
from config import Config
from engine.trace_context import span_id
from models.api_keys import ApiKeys
from models.dal import AsyncDAL
from services.api_keys import ApiKeyService
from services.clock import SystemClock, new_id
from tests.controllers.conftest import COMMUNITY, Api

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADER = f"00-{TRACE}-00f067aa0ba902b7-01"


@dataclass
class Sink:
    """An HTTP service; the `traceparent` headers that it was called with."""

    url: str = ""
    seen: list[str | None] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers.get("traceparent"))
        return web.json_response({})


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    sink = Sink()
    app = web.Application()
    app.router.add_get("/", sink.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sink.url = site.name
    yield sink
    await runner.cleanup()


@pytest.fixture(params=["console"])
async def traced(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, dal: AsyncDAL
) -> AsyncIterator[Api]:
    """The service with traces printed among its log; or with another exporter."""
    config = Config(
        database_url=database_url,
        data_dir=tmp_path,
        shutdown_grace_seconds=1,
        otel_traces_exporter=request.param,
    )
    log = io.StringIO()
    async with running(config, log) as service:
        keys = ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)
        api = Api(create_app(config, service=service), keys, log)
        api.key = await api.new_key()
        yield api


def spans(api: Api) -> dict[str, Any]:
    """The spans that were printed, by the execution and the step that they are of."""
    found: dict[str, Any] = {}
    for printed in re.findall(r"^\{.*\}$", api.log.getvalue(), re.MULTILINE):
        span = json.loads(printed)
        of = span["attributes"]
        key = of["workflow.execution.id"] + ":" + of.get("workflow.step.key", "")
        assert key not in found
        found[key] = span
    return found


async def workflow(api: Api, *nodes: dict[str, Any]) -> str:
    chain = ["start", *(f"n{number}" for number in range(len(nodes)))]
    start = {"node_type": "trigger_command", "config": {"command": "!go"}}
    edges = pairwise(chain)
    return await api.stored(
        nodes=dict(zip(chain, (start, *nodes), strict=True)),
        connections=[{"from_node_id": a, "to_node_id": b} for a, b in edges],
    )


def calls(sink: Sink, **headers: str) -> dict[str, Any]:
    config = {"url": sink.url, "method": "GET", "headers": headers}
    return {"node_type": "action_webhook", "config": config}


async def ran(api: Api, workflow_id: str, **headers: str) -> dict[str, Any]:
    path = f"/workflows/{workflow_id}/execute?wait=20"
    answer = await api.call("POST", path, {"community_id": COMMUNITY}, headers=headers)
    assert answer.status == 200, answer.body
    assert answer.data["status"] == "completed", answer.data
    return dict(answer.data)


async def test_a_trace_goes_from_the_caller_to_whom_an_action_calls(
    traced: Api, sink: Sink
) -> None:
    execution = await ran(traced, await workflow(traced, calls(sink)), traceparent=HEADER)

    key = execution["execution_id"]
    assert sink.seen == [f"00-{TRACE}-{span_id(key, 'n0')}-01"]
    found = spans(traced)
    assert found.keys() == {f"{key}:", f"{key}:start", f"{key}:n0"}
    assert {span["context"]["trace_id"] for span in found.values()} == {f"0x{TRACE}"}
    assert found[f"{key}:"]["parent_id"] == "0x00f067aa0ba902b7"
    for step in ("start", "n0"):
        assert found[f"{key}:{step}"]["parent_id"] == f"0x{span_id(key)}"
    assert found[f"{key}:n0"]["context"]["span_id"] == f"0x{span_id(key, 'n0')}"


async def test_a_child_is_below_the_step_that_started_it(traced: Api, sink: Sink) -> None:
    child = await workflow(traced, calls(sink))
    node = {"node_type": "flow_subworkflow", "config": {"workflow_id": child}}
    execution = await ran(traced, await workflow(traced, node))

    found = spans(traced)
    parent = execution["execution_id"]
    (below,) = {key.partition(":")[0] for key in found} - {parent}
    root = found[f"{parent}:"]
    assert root["parent_id"] is None
    assert found[f"{below}:"]["parent_id"] == f"0x{span_id(parent, 'n0')}"
    assert len({span["context"]["trace_id"] for span in found.values()}) == 1
    assert sink.seen == [f"00-{root['context']['trace_id'][2:]}-{span_id(below, 'n0')}-01"]


async def test_a_request_that_is_repeated_may_come_from_another_span(traced: Api) -> None:
    path = f"/workflows/{await workflow(traced)}/execute"
    headers = {"Idempotency-Key": "once"}
    answers = [
        await traced.call("POST", path, {"community_id": COMMUNITY}, headers=headers | more)
        for more in ({"traceparent": HEADER}, {"traceparent": HEADER.replace("00f0", "11f0")}, {})
    ]

    assert [answer.status for answer in answers] == [202] * 3
    assert len({answer.data["execution_id"] for answer in answers}) == 1


async def test_an_author_may_send_a_header_of_their_own(traced: Api, sink: Sink) -> None:
    await ran(traced, await workflow(traced, calls(sink, TraceParent="mine")))

    assert sink.seen == ["mine"]


@pytest.mark.parametrize("traced", ["none"], indirect=True)
async def test_nothing_is_traced_unless_it_is_wanted(traced: Api, sink: Sink) -> None:
    execution = await ran(traced, await workflow(traced, calls(sink)), traceparent=HEADER)

    assert sink.seen == [None]
    assert "traceparent" not in execution["metadata"]
    assert spans(traced) == {}
