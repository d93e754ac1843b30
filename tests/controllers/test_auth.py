"""Who calls: keys, bearer keys, JWTs, services that act for users."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest

from controllers.auth import Authenticator, caller_of_claims
from controllers.errors import Unauthorized
from services.api_keys import ApiKeyService
from services.attempts import FailedAttempts
from services.caller import EVERYDAY_SCOPES, SCOPES
from services.errors import TokenRefused
from services.tokens import NoTokens
from tests.controllers.conftest import COMMUNITY, OWNER, SECRET_KEY, Api

LATER = 4_102_444_800  # 2100-01-01
NOBODY = " "


def token(secret: str = SECRET_KEY, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"sub": str(OWNER), "exp": LATER, **claims}, secret, algorithm=algorithm)


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}", "X-API-Key": ""}


async def status_of(api: Api, headers: dict[str, str]) -> tuple[int, Any]:
    sent = {name: value for name, value in headers.items() if value}
    response = await api.client.get("/api/v1/status", headers=sent)
    return response.status_code, (await response.get_json()).get("error_code")


async def test_a_key_is_taken_as_header_or_as_bearer(api: Api) -> None:
    assert await status_of(api, {"X-API-Key": api.key}) == (200, None)
    assert await status_of(api, bearer(api.key)) == (200, None)


async def test_two_credentials_at_once_are_none(api: Api) -> None:
    headers = {**bearer(token()), "X-API-Key": api.key}
    assert await status_of(api, headers) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "bearer x", "Bearer a.b.c", "wa-" + "0" * 64],
)
async def test_what_is_no_credential_is_401(api: Api, authorization: str) -> None:
    assert await status_of(api, {"Authorization": authorization}) == (401, "UNAUTHORIZED")


async def test_a_jwt_is_taken(api: Api) -> None:
    assert await status_of(api, bearer(token())) == (200, None)


def unsigned() -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part({'sub': '1', 'exp': LATER})}."


@pytest.mark.parametrize(
    "forged",
    [
        token(secret="another secret of the tests, as long"),
        token(exp=int(time.time()) - 60),
        jwt.encode({"sub": "1"}, SECRET_KEY, algorithm="HS256"),
        token(secret=SECRET_KEY * 2, algorithm="HS512"),
        token(sub="ada"),
        token(communityId="everywhere"),
        unsigned(),
    ],
)
async def test_a_jwt_that_is_forged_expired_or_says_nothing_is_401(api: Api, forged: str) -> None:
    assert await status_of(api, bearer(forged)) == (401, "UNAUTHORIZED")


async def test_without_a_secret_no_jwt_is_taken() -> None:
    from werkzeug.datastructures import Headers

    no_keys: ApiKeyService = None  # type: ignore[assignment]  # unused
    authenticator = Authenticator(no_keys, NoTokens(), FailedAttempts(None))
    with pytest.raises(TokenRefused, match="not accepted"):
        await authenticator.caller(Headers({"Authorization": f"Bearer {token()}"}), "192.0.2.1")


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        ({"sub": "5"}, 5),
        ({"sub": 5}, 5),
        ({"user_id": 6}, 6),
        ({"userId": "7"}, 7),
        ({"sub": "5", "user_id": 6}, 5),
    ],
)
def test_the_user_is_the_first_claim_that_is_there(claims: dict[str, Any], user: int) -> None:
    assert caller_of_claims(claims).user_id == user


@pytest.mark.parametrize("claims", [{}, {"sub": True}, {"sub": "-1"}, {"sub": 2**63}, {"sub": "x"}])
def test_a_token_without_an_integer_user_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized):
        caller_of_claims(claims)


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({}, EVERYDAY_SCOPES),
        ({"roles": ["admin"]}, EVERYDAY_SCOPES),
        ({"roles": ["admin"], "communityId": 3}, SCOPES),
        ({"scopes": "workflows:read executions:read"}, {"workflows:read", "executions:read"}),
        ({"scopes": ["admin", "nonsense"]}, {"admin"}),
        ({"scopes": []}, set()),
    ],
)
def test_the_scopes_of_a_jwt(claims: dict[str, Any], scopes: set[str]) -> None:
    assert caller_of_claims({"sub": 1, **claims}).scopes == scopes


async def test_a_missing_scope_is_named(api: Api) -> None:
    key = await api.new_key(scopes=["executions:read"])
    answer = await api.call("GET", "/workflows", key=key)
    assert (answer.status, answer.code) == (403, "PERMISSION_DENIED")
    assert answer.body["details"] == {"scope": "workflows:read"}


async def test_a_service_acts_with_the_users_permissions(api: Api) -> None:
    workflow_id = await api.stored()
    key = await api.new_key(user=1, scopes=["admin"], kind="service")
    url = f"/workflows/{workflow_id}"
    assert (await api.call("GET", url, key=key)).status == 200
    for user, status in ((OWNER, 200), (OWNER + 1, 403)):
        headers = {"X-Acting-User": str(user)}
        assert (await api.call("GET", url, key=key, headers=headers)).status == status


async def test_only_a_service_may_act_for_others(api: Api) -> None:
    answer = await api.call("GET", "/status", headers={"X-Acting-User": "1"})
    assert (answer.status, answer.code) == (403, "PERMISSION_DENIED")


async def test_acting_for_nobody_is_refused(api: Api) -> None:
    key = await api.new_key(kind="service")
    answer = await api.call("GET", "/status", key=key, headers={"X-Acting-User": "ada"})
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


async def test_the_owner_is_who_the_service_acts_for(api: Api) -> None:
    key = await api.new_key(user=1, kind="service")
    body = {"name": "x", "community_id": COMMUNITY, "nodes": {}, "connections": []}
    answer = await api.call("POST", "/workflows", body, key=key, headers={"X-Acting-User": "77"})
    assert answer.data["created_by"] == 77
