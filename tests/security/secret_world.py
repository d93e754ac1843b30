"""The world of attacks on secrets: a community with a secret, and a peer that says what it is told.

Its one rule: whether a secret has got out is asked of everything at once: what the database holds
in any column, and what was logged.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from models.dal import AsyncDAL
from tests.controllers.conftest import COMMUNITY, OWNER, Api

SECRET = 'tok/en+4&c1f "0a=9b7\\é'
"""Every encoding changes something of it."""
NAME = "token"

Say = Callable[[web.Request, bytes], web.Response]

TEXT_COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns
 WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""


def silent(request: web.Request, body: bytes) -> web.Response:
    """Says nothing but that it heard."""
    return web.json_response({"heard": True})


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that the peer got."""

    path: str
    headers: dict[str, str]
    query: dict[str, str]
    body: bytes


@dataclass
class Peer:
    """Hears everything, and answers with `say`."""

    url: str = ""
    say: Say = silent
    seen: list[Seen] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.path, headers, dict(request.query), body))
        return self.say(request, body)


@asynccontextmanager
async def listening(host: str = "127.0.0.1") -> AsyncIterator[Peer]:
    """A peer on a real socket."""
    made = Peer()
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        made.url = "http://{}:{}".format(*runner.addresses[0][:2])
        yield made
    finally:
        await runner.cleanup()


@dataclass
class SecretWorld:
    """The service, its database, an admin, and the peer that the secret may go to."""

    api: Api
    dal: AsyncDAL
    peer: Peer
    admin: str

    async def keep(
        self,
        value: str = SECRET,
        *,
        name: str = NAME,
        community: int = COMMUNITY,
        hosts: tuple[str, ...] = ("127.0.0.1",),
    ) -> None:
        """Sets a secret."""
        body = {"value": value, "allowed_hosts": list(hosts)}
        key = await self.api.new_key(OWNER, None, scopes=["admin"])
        path = f"/communities/{community}/secrets/{name}"
        answer = await self.api.call("PUT", path, body, key=key)
        assert answer.status == 200, answer.body

    async def publish(self, config: dict[str, Any], **node: Any) -> str:
        """The id of a workflow that sends one request."""
        nodes = {
            "start": {"node_type": "trigger_command", "config": {"command": "!go"}},
            "send": {
                "node_type": "action_webhook",
                "config": {"url": self.peer.url + "/", "output_variable": "answer", **config},
                **node,
            },
        }
        connections = [{"from_node_id": "start", "to_node_id": "send"}]
        return await self.api.stored(nodes=nodes, connections=connections)

    async def run(self, workflow_id: str, **variables: Any) -> Any:
        """The whole state of an execution that has ended."""
        body = {"community_id": COMMUNITY, "variables": variables}
        url = f"/workflows/{workflow_id}/execute?wait=30"
        answer = await self.api.call("POST", url, body)
        assert answer.status == 200, answer.body
        return answer.data

    async def send(self, config: dict[str, Any], **variables: Any) -> Any:
        """The same, of a workflow that sends one request."""
        return await self.run(await self.publish(config), **variables)

    async def ended(self, execution_id: str) -> bool:
        """Whether an execution has completed."""
        state = await self.api.call("GET", f"/workflows/executions/{execution_id}")
        return bool(state.data["status"] == "completed")

    async def leaks(self, *values: str) -> list[str]:
        """Where any of these values, or one of its forms, can be found."""
        wanted = [form for value in values or (SECRET,) for form in forms(value)]
        found = [f"log: {form}" for form in wanted if form in self.api.log.getvalue()]
        for table, column in await self.dal.fetch(TEXT_COLUMNS):
            rows = await self.dal.fetch(f'SELECT "{column}"::text AS text FROM "{table}"')
            text = "\n".join(str(row["text"]) for row in rows)
            found += [f"{table}.{column}: {form}" for form in wanted if form in text]
        return found


def forms(value: str) -> list[str]:
    """A value as it is, as JSON has it, and in the encodings of a database's text."""
    raw = value.encode()
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return list(dict.fromkeys((value, escaped, raw.hex(), base64.b64encode(raw).decode())))
