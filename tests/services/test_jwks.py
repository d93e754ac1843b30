"""The keys of a JWKS: fetched once for all, kept while the endpoint is away, else replaced."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from services.errors import SigningKeysUnavailable
from services.http_client import AiohttpClient, HttpLimits
from services.jwks import MAX_SET_BYTES, KeySet, fetch_from, keys_of
from tests.services.jwks_endpoint import Endpoint, Lines, endpoint
from tests.waiting import PATIENCE_SECONDS, until


def key(kid: str | None) -> dict[str, Any]:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    found: dict[str, Any] = json.loads(ECAlgorithm.to_jwk(public))
    return found if kid is None else {**found, "kid": kid}


ONE, TWO = key("one"), key("two")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@asynccontextmanager
async def fetched(
    served: Endpoint, clock: Clock, lines: Lines | None = None, **times: float
) -> AsyncIterator[KeySet]:
    limits = HttpLimits(max_response_bytes=MAX_SET_BYTES)
    async with AiohttpClient(None, limits=limits) as http:
        fetch = fetch_from(http, served.url)
        keys = KeySet(fetch, lines or Lines(), clock=clock, **times)
        try:
            yield keys
        finally:
            await keys.stop()


async def known(keys: KeySet, key_id: str) -> bool:
    return await keys.find(key_id, "ES256") is not None


async def test_many_requests_at_once_share_one_fetch() -> None:
    async with endpoint({"keys": [ONE]}) as served, fetched(served, Clock()) as keys:
        assert all(await asyncio.gather(*[known(keys, "one") for _ in range(50)]))
        assert served.asked == 1


async def test_a_new_key_is_found_and_made_up_ids_cost_the_endpoint_nothing() -> None:
    clock = Clock()
    async with endpoint({"keys": [ONE]}) as served, fetched(served, clock) as keys:
        assert await known(keys, "one")
        served.document = {"keys": [ONE, TWO]}
        for number in range(50):
            assert not await known(keys, f"made up {number}")
        assert served.asked == 1
        clock.seconds += 10
        assert await known(keys, "two")
        assert served.asked == 2


@pytest.mark.parametrize("broken", [{"status": 500}, {"document": {"keys": []}}, {"document": 7}])
async def test_while_the_endpoint_is_broken_the_last_set_counts(broken: dict[str, Any]) -> None:
    clock, lines = Clock(), Lines()
    async with endpoint({"keys": [ONE]}) as served, fetched(served, clock, lines) as keys:
        assert await known(keys, "one")
        for name, value in broken.items():
            setattr(served, name, value)
        for _ in range(3):
            clock.seconds += 3600
            assert not await known(keys, "two")
            assert await known(keys, "one")
        assert lines.troubles >= 3


async def test_a_known_key_does_not_wait_while_the_set_is_refreshed() -> None:
    clock = Clock()
    hung = 100 * PATIENCE_SECONDS
    async with (
        endpoint({"keys": [ONE]}) as served,
        fetched(served, clock, fetch_seconds=hung) as keys,
    ):
        assert await known(keys, "one")
        served.free.clear()
        clock.seconds += 601
        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in range(20):
                assert await known(keys, "one")
            await until(lambda: served.asked == 2)


async def test_a_withdrawn_key_ends_with_the_next_refresh() -> None:
    clock = Clock()
    async with endpoint({"keys": [ONE, TWO]}) as served, fetched(served, clock) as keys:
        assert await known(keys, "one")
        served.document = {"keys": [TWO]}
        clock.seconds += 601

        async def withdrawn() -> bool:
            return not await known(keys, "one")

        await until(withdrawn)


async def test_an_endpoint_that_hangs_holds_a_request_for_a_bounded_time() -> None:
    clock = Clock()
    async with endpoint({"keys": [ONE]}) as served:
        served.free.clear()
        async with fetched(served, clock, fetch_seconds=0.2) as keys:
            for _ in range(3):
                with pytest.raises(SigningKeysUnavailable):
                    await known(keys, "one")
            assert served.asked <= 1
            served.free.set()

            async def found() -> bool:
                clock.seconds += 10
                with suppress(SigningKeysUnavailable):  # a slow machine takes longer, too
                    return await known(keys, "one")
                return False

            await until(found)


async def test_an_endpoint_that_is_not_there_is_said_to_be_so() -> None:
    served = Endpoint({}, url="http://127.0.0.1:1/jwks.json")
    async with fetched(served, Clock()) as keys:
        with pytest.raises(SigningKeysUnavailable):
            await known(keys, "one")


async def test_a_set_too_large_is_not_taken() -> None:
    document = {"keys": [ONE], "pad": "x" * MAX_SET_BYTES}
    async with endpoint(document) as served, fetched(served, Clock()) as keys:
        with pytest.raises(SigningKeysUnavailable):
            await known(keys, "one")


async def test_a_caller_that_goes_away_does_not_take_the_others_answer_with_it() -> None:
    async with endpoint({"keys": [ONE]}) as served, fetched(served, Clock()) as keys:
        served.free.clear()
        first, second = (asyncio.ensure_future(known(keys, "one")) for _ in range(2))
        await until(lambda: served.asked)
        first.cancel()
        served.free.set()
        assert await second


def weak() -> dict[str, Any]:
    public = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    found: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(public))
    return found


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {"kty": "oct", "k": "c2VjcmV0"},
        {**ONE, "use": "enc"},
        {**ONE, "alg": "ES384"},
        {**ONE, "crv": "P-384"},
        {**ONE, "d": "AQAB"},
        {**ONE, "x": "!"},
        {"kty": "RSA", "n": "AQAB"},
        weak(),
    ],
)
def test_a_key_that_cannot_be_trusted_is_passed_over(entry: Any) -> None:
    assert [found.key_id for found in keys_of({"keys": [entry, ONE]})] == ["one"]
    with pytest.raises(ValueError, match="no key for"):
        keys_of({"keys": [entry]})


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": [ONE] * 101}])
def test_what_is_no_jwks_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="JWKS"):
        keys_of(document)


async def test_without_an_id_only_a_lone_key_is_meant() -> None:
    for count, found in ((1, True), (2, False)):
        document = {"keys": [key(None) for _ in range(count)]}
        async with endpoint(document) as served, fetched(served, Clock()) as keys:
            assert (await keys.find(None, "ES256") is not None) is found
