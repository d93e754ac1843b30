"""Credentials that are forged, doubled, borrowed or withdrawn, at the door of the running service.

Signatures and claims of tokens are in `tests/services/test_tokens.py` and
`tests/controllers/test_auth.py`, guessing in `tests/controllers/test_failed_attempts.py`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from composition import Running
from config import Config
from models.dal import AsyncDAL
from services.clock import new_id
from tests.controllers.conftest import COMMUNITY, OWNER, SECRET_KEY, Api
from tests.live_world import Served, served
from tests.waiting import PATIENCE_SECONDS

STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(STRANGER.public_key()))
CLAIMS = {"sub": "1", "exp": 4_102_444_800, "roles": ["admin"], "scope": "admin"}


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def unsigned(algorithm: str) -> str:
    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(CLAIMS)}."


def signed(headers: dict[str, Any], algorithm: str = "RS256", key: Any = STRANGER) -> str:
    return jwt.encode(CLAIMS, key, algorithm=algorithm, headers=headers)


FORGED = {
    "alg none": unsigned("none"),
    "alg None": unsigned("None"),
    "alg empty": unsigned(""),
    "alg HS256 without a signature": unsigned("HS256"),
    "its own key in the header": signed({"jwk": PUBLIC}),
    "its own key at an address": signed({"jku": "http://127.0.0.1:1/jwks.json", "kid": "x"}),
    "its own certificate": signed({"x5u": "http://127.0.0.1:1/x.pem", "x5c": ["MIIB"]}),
    "a path as the key's name": signed({"kid": "../../../../dev/null"}, "HS256", "\0" * 32),
    "SQL as the key's name": signed({"kid": "' UNION SELECT 'x"}, "HS256", "x" * 32),
    "a critical extension": signed(
        {"crit": ["exp"]}, "HS256", "another secret of the tests, as long"
    ),
    "an HS256 of the public key": signed({}, "HS256", PUBLIC["n"]),
    "claims that were changed": ".".join(
        [
            (honest := jwt.encode({**CLAIMS, "sub": "2"}, SECRET_KEY)).split(".")[0],
            part(CLAIMS),
            honest.split(".")[2],
        ]
    ),
    "a signature that was cut": honest[:-6],
    "five parts": f"{honest}.x.y",
    "far too long": "a" * 60_000,
}


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_opens_nothing(api: Api, name: str) -> None:
    headers = {"Authorization": f"Bearer {FORGED[name]}"}
    answer = await api.call("GET", "/workflows", key="", headers=headers)
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
async def test_a_token_out_of_its_time_opens_nothing(api: Api, claim: str) -> None:
    now = time.time()
    claims: dict[str, Any] = {"sub": str(OWNER), "exp": now + 600}
    claims |= {"exp": now - 60} if claim == "exp" else {claim: now + 600}
    headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET_KEY)}"}
    assert (await api.call("GET", "/workflows", key="", headers=headers)).status == 401


async def test_two_of_the_same_credential_are_none(api: Api) -> None:
    other = await api.new_key(OWNER + 1)
    for name, values in (
        ("X-API-Key", (api.key, other)),
        ("X-API-Key", (api.key, api.key)),
        ("Authorization", (f"Bearer {api.key}", f"Bearer {other}")),
    ):
        headers = [(name, value) for value in values]
        answer = await api.client.get("/api/v1/workflows", headers=headers)
        assert answer.status_code == 401, name


@pytest.mark.parametrize(
    "where", ["/workflows?api_key={}", "/workflows?access_token={}", "/workflows?token={}"]
)
async def test_a_key_in_the_address_is_no_credential(api: Api, where: str) -> None:
    answer = await api.call("GET", where.format(api.key), key="")
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


async def test_a_cookie_is_no_credential(api: Api) -> None:
    headers = {"Cookie": f"X-API-Key={api.key}; session={api.key}; Authorization=Bearer {api.key}"}
    assert (await api.call("GET", "/workflows", key="", headers=headers)).status == 401


@pytest.mark.parametrize("acting", ["1", str(OWNER), "0", "-1", "1,2", "admin", ""])
async def test_an_ordinary_key_acts_for_nobody_else(api: Api, acting: str) -> None:
    key = await api.new_key(OWNER + 1)
    answer = await api.call("GET", "/workflows", key=key, headers={"X-Acting-User": acting})
    assert answer.status in (400, 403)


async def test_a_key_of_one_community_finds_nothing_of_another_of_the_same_user(
    api: Api,
) -> None:
    """The owner themselves, but with a key that is bound elsewhere."""
    workflow_id = await api.stored()
    elsewhere = await api.new_key(OWNER, COMMUNITY + 1)
    theirs = await api.call("GET", f"/workflows/{workflow_id}", key=elsewhere)
    nobodys = await api.call("GET", f"/workflows/{new_id()}", key=elsewhere)
    assert (theirs.status, theirs.body) == (404, nobodys.body)
    assert (await api.call("GET", "/workflows", key=elsewhere)).data == []


async def test_no_key_makes_one_that_may_do_more(api: Api) -> None:
    bound = await api.new_key(scopes=["admin"])
    for wish in (
        {"community_id": COMMUNITY + 1, "scopes": ["workflows:read"]},
        {"kind": "service", "scopes": ["admin"], "community_id": COMMUNITY + 1},
    ):
        answer = await api.call("POST", "/api-keys", {"name": "more", **wish}, key=bound)
        assert answer.status == 403, answer.body
    everyday = await api.call("POST", "/api-keys", {"name": "x", "scopes": ["admin"]})
    assert everyday.status == 403


@pytest.fixture
async def world(service: Running, database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    config = Config(database_url=database_url, data_dir=tmp_path, shutdown_grace_seconds=1)
    async with served(service, config) as world:
        yield world


async def test_a_socket_of_a_revoked_key_is_cut_off(
    world: Served, api: Api, service: Running
) -> None:
    secret = await api.new_key()
    key = await api.keys.resolve(secret)
    assert key is not None
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": secret}) as http,
        http.ws_connect(world.socket) as socket,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await socket.send_json({"subscribe": {}})
        assert json.loads((await socket.receive()).data)["type"] == "subscribed"
        await service.state.authenticator._keys.revoke(key.key_id)
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1008


async def test_a_stream_of_a_grant_taken_away_tells_nothing_more(
    world: Served, api: Api, dal: AsyncDAL
) -> None:
    """The grant is what showed the workflow; without it its events are another's."""
    workflow_id = await api.stored()
    path, target = f"/workflows/{workflow_id}/permissions", f"user&target_id={OWNER + 1}"
    gift = {"permission_type": "user", "target_id": OWNER + 1, "can_view": True}
    await api.call("PUT", path, gift)
    reader = await api.new_key(OWNER + 1)
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": reader}) as http,
        http.ws_connect(world.socket) as socket,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await socket.send_json({"subscribe": {"workflow_id": workflow_id}})
        assert json.loads((await socket.receive()).data)["type"] == "subscribed"
        await api.call("DELETE", f"{path}?permission_type={target}")
        await socket.send_json({"subscribe": {"workflow_id": workflow_id}})
        told = json.loads((await socket.receive()).data)
        assert (told["type"], told["error_code"]) == ("error", "PERMISSION_DENIED")
