"""Processes that accept executions, and processes that run them."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from tests.peer import calling, peer
from tests.processes import HOST, cluster, ends, free_port, published

SET = {"node_type": "data_transform", "config": {"transformations": {"x": "1"}}}


async def test_an_api_process_accepts_what_a_worker_process_runs(tmp_path: Path) -> None:
    async with cluster(tmp_path) as world:
        port = free_port()
        url, worker_url = world.url, f"http://{HOST}:{port}"
        api = await world.shared(ROLE="api")
        await api.says("action=serve")
        headers = {"X-API-Key": world.key()}
        async with aiohttp.ClientSession(headers=headers) as http:
            child = await published(http, url, SET)
            calls = {"node_type": "flow_subworkflow", "config": {"workflow_id": child}}
            parent = await published(http, url, calls)
            path = f"{url}/api/v1/workflows/{parent}/execute"
            started = []
            for more in ({}, {"Idempotency-Key": "one"}):
                async with http.post(path, json={"community_id": 1}, headers=more) as answer:
                    data = (await answer.json())["data"]
                    assert (answer.status, data["status"]) == (202, "pending")
                    started.append(data["execution_id"])
            worker = await world.start(ROLE="worker", PORT=str(port))
            await worker.says("action=serve")
            for execution_id in started:
                assert (await ends(http, url, execution_id))["status"] == "completed"
            again = f"{url}/api/v1/workflows/executions/{started[0]}/retry"
            async with http.post(again, json={"from": "start"}) as answer:
                assert answer.status == 202, await answer.text()
                once_more = (await answer.json())["data"]["execution_id"]
            assert (await ends(http, url, once_more))["status"] == "completed"
            statuses = {}
            expected = {
                "/healthz": 200, "/health": 200, "/metrics": 200,
                "/api/v1/workflows": 404, "/docs": 404, "/openapi.json": 404,
            }  # fmt: skip
            for path in expected:
                async with http.get(f"{worker_url}{path}") as answer:
                    statuses[path] = answer.status
            assert statuses == expected


async def test_a_failure_of_what_an_api_process_accepted_is_answered_by_a_worker_process(
    tmp_path: Path,
) -> None:
    async with peer() as outside, cluster(tmp_path) as world:
        api = await world.shared(ROLE="api")
        await api.says("action=serve")
        headers = {"X-API-Key": world.key()}
        async with aiohttp.ClientSession(headers=headers) as http:
            telling = calling(f"{outside.url}/held")
            telling["config"]["body"] = "{{ failed_execution }}"
            answering = await published(http, world.url, telling)
            refused = calling(f"{outside.url}/refused")
            failing = await published(http, world.url, refused, error_workflow_id=answering)
            path = f"{world.url}/api/v1/workflows/{failing}/execute"
            async with http.post(path, json={"community_id": 1}) as answer:
                failed = (await answer.json())["data"]["execution_id"]
            worker = await world.start(ROLE="worker", PORT=str(free_port()))
            await worker.says("action=serve")
            assert (await ends(http, world.url, failed))["error_code"] == "HTTP_STATUS"
            (told,) = await outside.called("/held")
            told.freed.set()
            state = await ends(http, world.url, told.execution_id)
            assert state["status"] == "completed"
            assert (state["workflow_id"], state["trigger_source"]) == (answering, "error")
            assert state["parent_execution_id"] == failed
            assert told.body["error_node_id"] == "n0"
            assert outside.keys == {f"{failed}:n0": 1, told.key: 1}
