"""The smallest world an API test needs: the whole service on an empty database, and a client."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol

from app import create_app
from composition import Running, running
from config import Config
from models.api_keys import ApiKeys
from models.dal import AsyncDAL
from services.api_keys import ApiKeyService, NewKey
from services.caller import EVERYDAY_SCOPES
from services.clock import SystemClock, new_id

SECRET_KEY = "a secret of the tests, long enough"
SECRETS_KEY = b"a key of the tests, of 32 bytes."
COMMUNITY = 123
OWNER = 456


def greeting(**changes: Any) -> dict[str, Any]:
    """A valid workflow: a trigger and a message."""
    return {
        "name": "Greet",
        "community_id": COMMUNITY,
        "nodes": {
            "start": {"node_type": "trigger_command", "config": {"command": "!hello"}},
            "greet": {
                "node_type": "action_chat_message",
                "config": {"message": "Hello, {{ username }}!"},
            },
        },
        "connections": [{"from_node_id": "start", "to_node_id": "greet"}],
        **changes,
    }


@dataclass
class Answer:
    """An answer, read."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def data(self) -> Any:
        return self.body["data"]

    @property
    def code(self) -> Any:
        return self.body.get("error_code")


@dataclass
class Api:
    """The service as a client sees it; `key` is whose eyes are looked through."""

    app: Quart
    keys: ApiKeyService
    log: io.StringIO
    key: str = ""
    client: TestClientProtocol = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.app.test_client()

    async def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Answer:
        """Sends one request below `/api/v1`, or to `path` itself if it begins with `//`."""
        sent = dict(headers or {})
        credential = self.key if key is None else key
        if credential:
            sent.setdefault("X-API-Key", credential)
        url = path[1:] if path.startswith("//") else f"/api/v1{path}"
        if json is not None:
            options["json"] = json
        response = await self.client.open(url, method=method, headers=sent, **options)
        is_json = response.mimetype == "application/json"
        body = await response.get_json() if is_json else await response.get_data(as_text=True)
        return Answer(response.status_code, dict(response.headers), body)

    async def new_key(
        self,
        user: int = OWNER,
        community: int | None = COMMUNITY,
        scopes: Sequence[str] = tuple(EVERYDAY_SCOPES),
        **more: Any,
    ) -> str:
        """A key for a user."""
        new = NewKey(user_id=user, community_id=community, scopes=scopes, name="test", **more)
        return (await self.keys.create(new)).secret

    async def stored(self, *, publish: bool = True, **changes: Any) -> str:
        """The id of a fresh workflow of the current key's."""
        answer = await self.call("POST", f"/workflows?publish={publish}", greeting(**changes))
        assert answer.status == 201, answer.body
        return str(answer.data["workflow_id"])


@pytest.fixture
def log() -> io.StringIO:
    """What the service has logged and printed."""
    return io.StringIO()


@pytest.fixture
async def service(database_url: str, tmp_path: Path, log: io.StringIO) -> AsyncIterator[Running]:
    """The whole service on an empty database."""
    config = Config(
        database_url=database_url,
        data_dir=tmp_path,
        secret_key=SECRET_KEY,
        secrets_key=(SECRETS_KEY,),
        max_body_bytes=65_536,
        max_batch_body_bytes=262_144,
        shutdown_grace_seconds=1,
    )
    async with running(config, log) as service:
        yield service


@pytest.fixture
async def api(
    service: Running, database_url: str, tmp_path: Path, dal: AsyncDAL, log: io.StringIO
) -> Api:
    """The service, seen by the owner of what the test makes."""
    config = Config(
        database_url=database_url,
        data_dir=tmp_path,
        max_body_bytes=65_536,
        max_batch_body_bytes=262_144,
    )
    app = create_app(config, service=service)
    keys = ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)
    api = Api(app, keys, log)
    api.key = await api.new_key()
    return api
