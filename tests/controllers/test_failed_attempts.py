"""Failed attempts over HTTP: too many from one address are answered 429, unread."""

from __future__ import annotations

import secrets

from config import Config
from tests.controllers.conftest import Answer, Api

LIMIT = Config().auth_failures_per_minute


async def guess(api: Api) -> Answer:
    return await api.call("GET", "/status", key=f"wa-{secrets.token_hex(32)}")


async def exhaust(api: Api) -> Answer:
    """Guesses until the address has used up its attempts."""
    for _ in range(2 * LIMIT):
        answer = await guess(api)
        if answer.status != 401:
            return answer
    raise AssertionError("nobody minded")


async def test_guessing_ends_in_429_with_a_time_to_come_back(api: Api) -> None:
    answer = await exhaust(api)
    assert (answer.status, answer.code) == (429, "RATE_LIMIT_EXCEEDED")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["ratelimit-limit"] == str(LIMIT)
    assert answer.headers["ratelimit-remaining"] == "0"
    line = api.log.getvalue().splitlines()[-1]
    assert " AUTH community=- user=- action=status result=DENIED" in line
    assert "address=" in line


async def test_who_was_let_in_before_is_let_in_still_and_a_stranger_is_not(api: Api) -> None:
    known, stranger = api.key, await api.new_key()
    assert (await api.call("GET", "/status", key=known)).status == 200
    await exhaust(api)
    assert (await api.call("GET", "/status", key=known)).status == 200
    assert (await api.call("GET", "/status", key=stranger)).status == 429


async def test_a_request_without_a_credential_is_no_attempt(api: Api) -> None:
    for _ in range(LIMIT + 10):
        response = await api.client.get("/api/v1/status")
        assert response.status_code == 401


async def test_a_missing_scope_is_no_failed_attempt(api: Api) -> None:
    key = await api.new_key(scopes=["executions:read"])
    for _ in range(LIMIT + 10):
        assert (await api.call("GET", "/api-keys", key=key)).status == 403


async def test_what_is_public_stays_open_to_whoever_guessed(api: Api) -> None:
    await exhaust(api)
    assert (await api.call("GET", "//health", key=" ")).status == 200
