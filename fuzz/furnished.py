"""What the fuzzed service has to show: workflows, executions in every state, webhooks and the rest.

Its one rule: everything is made by the service's own API, and only ids are handed on. Without them
what is made up would name nothing that there is, and hardly get beyond `404`.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import aiohttp

from fuzz.service import Service

Known = dict[str, list[str]]
"""By the name of a path's parameter: the values that name something."""

COMMUNITY = 1
WAITING = 12
"""How many executions wait for a signal; what is made up will cancel some."""
PATIENCE_SECONDS = 30.0


def _workflow(name: str, **nodes: dict[str, Any]) -> dict[str, Any]:
    """A workflow whose nodes follow one another."""
    names = ["start", *nodes]
    return {
        "name": name,
        "community_id": COMMUNITY,
        "nodes": {"start": {"node_type": "trigger_command", "config": {"command": "!go"}}, **nodes},
        "connections": [
            {"from_node_id": one, "to_node_id": other} for one, other in pairwise(names)
        ],
    }


_CHAIN = _workflow(
    "chain",
    one={"node_type": "data_variable_set", "config": {"variables": {"x": 1}}},
    two={"node_type": "data_transform", "config": {"transformations": {"y": "x + 1"}}},
)
_WAITS = _workflow("waits", gate={"node_type": "flow_wait", "config": {"signal": "go"}})
_FAILS = _workflow(
    "fails",
    good={"node_type": "data_variable_set", "config": {"variables": {"x": 0}}},
    bad={"node_type": "data_transform", "config": {"transformations": {"y": "1 // x"}}},
)


async def furnish(service: Service) -> Known:
    """Makes it all. Raises `RuntimeError` if something is refused."""
    async with aiohttp.ClientSession(headers={"X-API-Key": service.key}) as http:
        return await _Furnisher(http, f"{service.url}/api/v1").furnish()


class _Furnisher:
    def __init__(self, http: aiohttp.ClientSession, api: str) -> None:
        self._http = http
        self._api = api

    async def furnish(self) -> Known:
        chain, waits, fails = [await self._published(each) for each in (_CHAIN, _WAITS, _FAILS)]
        draft = (await self._post("/workflows", _CHAIN))["data"]["workflow_id"]
        webhook = await self._post(
            "/workflow-management/webhooks",
            {
                "url": "https://hooks.example.org/",
                "events": ["execution.completed"],
                "community_id": COMMUNITY,
            },
        )
        condition = {"metric": "failures", "threshold": 1, "window_seconds": 60}
        alert = await self._post(
            "/workflow-management/alerts",
            {"community_id": COMMUNITY, "condition": condition, "notify": [webhook["id"]]},
        )
        key = await self._post("/api-keys", {"name": "another", "scopes": ["workflows:read"]})
        ended = [await self._run(each, "ended") for each in (chain, fails)]
        waiting = [await self._run(waits, "waiting") for _ in range(WAITING)]
        secret = f"/communities/{COMMUNITY}/secrets/token"
        body = {"value": "a secret value", "allowed_hosts": ["hooks.example.org"]}
        await self._call("PUT", secret, body)
        deliveries = await self._call(
            "GET", f"/workflow-management/webhooks/{webhook['id']}/deliveries"
        )
        return {
            "workflow_id": [chain, waits, fails, draft],
            "execution_id": [*ended, *waiting],
            "webhook_id": [webhook["id"]],
            "alert_id": [alert["id"]],
            "key_id": [key["data"]["key_id"]],
            "delivery_id": [each["id"] for each in deliveries["deliveries"]],
            "community_id": [str(COMMUNITY)],
            "secret_name": ["token"],
            "step_key": ["start", "bad", "gate"],
            "name": ["go"],
            "number": ["1"],
        }

    async def _published(self, document: dict[str, Any]) -> str:
        made = await self._post("/workflows?publish=true", document)
        return str(made["data"]["workflow_id"])

    async def _run(self, workflow_id: str, until: str) -> str:
        """Starts an execution, and waits until it has come so far."""
        begun = await self._post(f"/workflows/{workflow_id}/execute", {"community_id": COMMUNITY})
        execution = str(begun["data"]["execution_id"])
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                told = await self._call("GET", f"/workflows/executions/{execution}")
                status = told["data"]["status"]
                if status == until or (until == "ended" and status in ("completed", "failed")):
                    return execution
                await asyncio.sleep(0.05)

    async def _post(self, path: str, body: Any) -> Any:
        return await self._call("POST", path, body)

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        async with self._http.request(method, f"{self._api}{path}", json=body) as answer:
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {await answer.text()}")
            return await answer.json()
