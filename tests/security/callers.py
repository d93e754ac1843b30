"""Every kind of caller of the matrix, and the world in which they ask.

Each asks in a world of its own: a fresh workflow with an execution, a webhook and an alert, and the
one grant, if any, that makes the caller what they are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import jwt

from models.audit import AuditLog, AuditRow
from models.dal import AsyncDAL
from services.api_keys import NewKey
from services.caller import ADMIN, EVERYDAY_SCOPES
from services.clock import SystemClock, new_id
from tests.controllers.conftest import COMMUNITY, OWNER, SECRET_KEY, Api, greeting
from tests.controllers.test_tenants import grant, join
from tests.waiting import until
from tests.webhook_rows import a_webhook

OTHER_COMMUNITY = COMMUNITY + 1
MEMBER = 789
FLAGS = {
    "view": "can_view",
    "edit": "can_edit",
    "exec": "can_execute",
    "del": "can_delete",
    "mng": "can_manage_permissions",
}
ROLE = "mod"
_users = count(10_000)
"""A user of their own for each caller: nothing that is remembered of one is true of another."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of caller: the matrix' column, and the way in which they are that. `target` is who
    the grant is for, `credential` how they prove who they are."""

    column: str
    target: str = "user"
    credential: str = "key"
    without: str = ""
    """A scope that the credential lacks."""

    def __str__(self) -> str:
        more = [self.target] if self.column in FLAGS else []
        more += [self.credential] if self.credential != "key" else []
        more += [f"without {self.without}"] if self.without else []
        return f"{self.column} ({', '.join(more)})" if more else self.column


def kinds() -> Iterator[Kind]:
    """Every kind of caller that has all everyday scopes, or is an admin."""
    admins = ("adm", "adm2", "adm*")
    others = ("owner", "memb", "trig", "othr", "outs")
    for column in (*others, *admins):
        yield Kind(column)
    for column in FLAGS:
        for target in ("user", "role", "community"):
            yield Kind(column, target)
        yield Kind(column, "role", "token with the role")
    for column in (*others, *FLAGS):
        yield Kind(column, credential="service acting for them")
    for column in ("owner", *FLAGS):
        yield Kind(column, credential="unbound key")


@dataclass
class World:
    """What there is, and who asks. `ids` are what the placeholders of paths stand for."""

    headers: dict[str, str]
    user: int
    ids: dict[str, str] = field(default_factory=dict)

    def filled(self, text: str) -> str:
        """The text with the ids of this world."""
        for name, value in self.ids.items():
            text = text.replace(f"<{name}>", value).replace(f"<step:{name}>", value)
        assert "<" not in text, text
        return text

    def body(self, template: Any) -> Any:
        """What is sent in this world."""
        if template is None or template == "a workflow":
            return None if template is None else document()
        text = self.filled(json.dumps(template)).replace('"here"', str(COMMUNITY))
        return json.loads(text)


def document() -> dict[str, Any]:
    """A workflow that waits for a signal."""
    nodes = {
        "start": {"node_type": "trigger_command", "config": {"command": "!go"}},
        "ask": {"node_type": "flow_wait", "config": {"signal": "go"}},
    }
    connections = [{"from_node_id": "start", "to_node_id": "ask"}]
    return greeting(nodes=nodes, connections=connections)


class Worlds:
    """Makes worlds."""

    def __init__(self, api: Api, dal: AsyncDAL) -> None:
        self.api = api
        self.dal = dal

    async def make(self, kind: Kind, needs: str) -> World:
        """A world for a caller of this kind, with the things that `needs` names."""
        user = OWNER if kind.column == "owner" else next(_users)
        workflow_id = await self.api.stored(**document())
        world = World(await self._headers(kind, user), user)
        world.ids = {
            "workflow_id": workflow_id,
            "number": "1",
            "name": "go",
            "step_key": "start",
            "community_id": str(COMMUNITY),
            "user_id": str(MEMBER),
        }
        if "execution" in needs or "/events" in needs:
            world.ids["execution_id"] = await self._execution(workflow_id, kind, user)
        if "retry" in needs:
            await self._end(world.ids["execution_id"])
        if "webhook" in needs or "deliver" in needs:
            await self._webhook(world)
        if "alerts" in needs:
            await self._alert(world)
        if "members" in needs or "audit" in needs:
            await self._company()
        if "secrets" in needs:
            world.ids["secret_name"] = await self._secret()
        if "api-keys" in needs:
            world.ids["key_id"] = await self._key()
        if kind.column in FLAGS:
            await self._grant(kind, workflow_id, user)
        if needs.startswith("DELETE"):
            await grant(self.dal, workflow_id, "user", 8, "can_view")
        return world

    async def _headers(self, kind: Kind, user: int) -> dict[str, str]:
        community: int | None = COMMUNITY
        if kind.column in ("othr", "adm2"):
            community = OTHER_COMMUNITY
        if kind.column in ("outs", "adm*") or kind.credential == "unbound key":
            community = None
        scopes = {ADMIN} if kind.column.startswith("adm") else EVERYDAY_SCOPES - {kind.without}
        if kind.credential == "token with the role":
            claims = {"sub": str(user), "exp": time.time() + 600}
            token = jwt.encode(claims | {"communityId": community, "roles": [ROLE]}, SECRET_KEY)
            return {"Authorization": f"Bearer {token}"}
        if kind.credential == "service acting for them":
            service = await self.api.new_key(1, community, sorted(scopes), kind="service")
            return {"X-API-Key": service, "X-Acting-User": str(user)}
        return {"X-API-Key": await self.api.new_key(user, community, sorted(scopes))}

    async def _grant(self, kind: Kind, workflow_id: str, user: int) -> None:
        target: object = {"user": user, "role": ROLE, "community": COMMUNITY}[kind.target]
        if kind.target == "role" and kind.credential == "key":
            await join(self.dal, user, COMMUNITY, ROLE)
        await grant(self.dal, workflow_id, kind.target, target, FLAGS[kind.column])

    async def _execution(self, workflow_id: str, kind: Kind, user: int) -> str:
        """One that waits for a signal, triggered by the caller if they are one who has."""
        started = await self.api.call(
            "POST", f"/workflows/{workflow_id}/execute", {"community_id": COMMUNITY}
        )
        execution_id = str(started.data["execution_id"])
        parked = (
            "SELECT status = 'waiting' AND worker_id IS NULL FROM workflow_executions "
            "WHERE execution_id = $1"
        )
        await until(lambda: self.dal.fetchval(parked, execution_id))
        triggered = user if kind.column == "trig" else MEMBER
        await self.dal.execute(
            "UPDATE workflow_executions SET user_id = $2 WHERE execution_id = $1",
            execution_id,
            triggered,
        )
        return execution_id

    async def _end(self, execution_id: str) -> None:
        ended = await self.api.call("POST", f"/workflows/executions/{execution_id}/cancel")
        assert ended.status == 200, ended.body

    async def _webhook(self, world: World) -> None:
        webhook = await a_webhook(
            self.dal,
            community_id=COMMUNITY,
            workflow_id=world.ids["workflow_id"],
            seen_by=OWNER,
        )
        world.ids["webhook_id"] = webhook.webhook_id
        world.ids["delivery_id"] = new_id()
        await self.dal.execute(
            "INSERT INTO webhook_deliveries (delivery_id, webhook_id, event, payload, status, "
            "due_at, settled_at) VALUES ($1, $2, 'execution.failed', '{}', 'failed', NULL, now())",
            world.ids["delivery_id"],
            webhook.webhook_id,
        )

    async def _alert(self, world: World) -> None:
        body = {
            "community_id": COMMUNITY,
            "workflow_id": world.ids["workflow_id"],
            "condition": {"metric": "failures", "threshold": 1, "window_seconds": 60},
            "notify": [],
        }
        made = await self.api.call("POST", "/workflow-management/alerts", body)
        assert made.status == 201, made.body
        world.ids["alert_id"] = made.body["alert_id"]

    async def _key(self) -> str:
        """The id of a key of the community."""
        scopes = ["workflows:read"]
        new = NewKey(user_id=MEMBER, name="theirs", scopes=scopes, community_id=COMMUNITY)
        return (await self.api.keys.create(new)).key_id

    async def _secret(self) -> str:
        """The name of a secret of the community."""
        await self.dal.execute(
            "INSERT INTO community_secrets (community_id, name, ciphertext, key_id, allowed_hosts, "
            "created_by, updated_by) VALUES ($1, 'of_theirs', 'x', 'k', '{example.org}', 1, 1) "
            "ON CONFLICT DO NOTHING",
            COMMUNITY,
        )
        return "of_theirs"

    async def _company(self) -> None:
        """A member of the community, and an event that concerned it."""
        await self.dal.execute(
            "INSERT INTO community_members VALUES ($1, $2, 'old') ON CONFLICT DO NOTHING",
            COMMUNITY,
            MEMBER,
        )
        now = SystemClock().now()
        await AuditLog(self.dal).append([AuditRow(now, "AUDIT", "marked", "SUCCESS", COMMUNITY)])
