"""JWTs: one algorithm family by configuration, whatever the token says of itself."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from services.errors import TokenRefused
from services.jwks import KeySet
from services.tokens import (
    LONGEST_TOKEN,
    NoTokens,
    PublicKeyTokens,
    SecretTokens,
    TokenPolicy,
    verifier,
)
from tests.services.jwks_endpoint import Endpoint, Lines, endpoint

SECRET = "a secret of the tests, long enough"
LATER = 4_102_444_800  # 2100-01-01
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def published(key: Any, kid: str) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}


DOCUMENT = {
    "keys": [
        published(RSA, "r"),
        published(EC, "e"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"},
        {**published(OTHER_RSA, "x"), "use": "enc"},
    ]
}


def token(key: Any, algorithm: str, kid: str | None = None, **claims: Any) -> str:
    headers = {} if kid is None else {"kid": kid}
    body = {"sub": "7", "exp": LATER, **claims}
    body = {name: value for name, value in body.items() if value is not None}
    return jwt.encode(body, key, algorithm=algorithm, headers=headers)


@pytest.fixture
async def public() -> AsyncIterator[PublicKeyTokens]:
    """Verifies with the keys of `DOCUMENT`."""

    async def fetch() -> Any:
        return DOCUMENT

    keys = KeySet(fetch, Lines(), clock=time.monotonic)
    yield PublicKeyTokens(keys, TokenPolicy())
    await keys.stop()


@pytest.mark.parametrize(
    "good",
    [
        token(RSA, "RS256", "r"),
        token(EC, "ES256", "e"),
        token(RSA, "RS256"),
        token(EC, "ES256"),
    ],
)
async def test_a_token_signed_with_a_published_key_is_good(
    public: PublicKeyTokens, good: str
) -> None:
    assert (await public.claims(good))["sub"] == "7"


PEM = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def confused() -> str:
    """HS256 with the public key as its secret: the classic confusion of algorithms."""
    forged = jwt.encode({"sub": "7", "exp": LATER}, "x" * 32, algorithm="HS256")
    head, body, _ = forged.split(".")
    signature = jwt.get_algorithm_by_name("HS256").sign(f"{head}.{body}".encode(), PEM)
    return f"{head}.{body}.{jwt.utils.base64url_encode(signature).decode()}"


@pytest.mark.parametrize(
    "bad",
    [
        confused(),
        token(SECRET, "HS256", "r"),
        token(SECRET, "HS256", "s"),
        token(OTHER_RSA, "RS256", "r"),
        token(OTHER_RSA, "RS256", "x"),
        token(OTHER_RSA, "RS256", "unknown"),
        token(RSA, "RS512", "r"),
        token(RSA, "PS256", "r"),
        token(RSA, "RS256", "e"),
        token(EC, "ES256", "r"),
        token(RSA, "RS256", "r", exp=None),
        token(RSA, "RS256", "r", exp=int(time.time()) - 60),
        token(RSA, "RS256", "r", nbf=LATER),
        token(RSA, "RS256", "r", exp="soon"),
        token(RSA, "RS256", "r", pad="x" * LONGEST_TOKEN),
        "a.b.c",
        "..",
    ],
)
async def test_what_no_published_key_signed_is_refused(public: PublicKeyTokens, bad: str) -> None:
    with pytest.raises(TokenRefused) as raised:
        await public.claims(bad)
    assert bad not in str(raised.value)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_a_secret_verifies_hs256_alone(algorithm: str) -> None:
    tokens = SecretTokens(SECRET, TokenPolicy())
    assert (await tokens.claims(token(SECRET, "HS256")))["sub"] == "7"
    for bad in (token(SECRET * 2, algorithm), token(RSA, "RS256", "r")):
        with pytest.raises(TokenRefused):
            await tokens.claims(bad)


async def test_clocks_may_differ_by_the_leeway_and_no_more() -> None:
    ended = token(SECRET, "HS256", exp=int(time.time()) - 60)
    assert await SecretTokens(SECRET, TokenPolicy(leeway_seconds=3600)).claims(ended)
    with pytest.raises(TokenRefused, match="expired"):
        await SecretTokens(SECRET, TokenPolicy(leeway_seconds=5)).claims(ended)


@pytest.mark.parametrize(
    ("policy", "claim", "right", "wrong"),
    [
        (TokenPolicy(issuer="https://id.example"), "iss", "https://id.example", "https://x"),
        (TokenPolicy(audience="flows"), "aud", ["flows", "more"], "mail"),
    ],
)
async def test_issuer_and_audience_are_asked_for_where_configured(
    policy: TokenPolicy, claim: str, right: Any, wrong: Any
) -> None:
    tokens = SecretTokens(SECRET, policy)
    assert await tokens.claims(token(SECRET, "HS256", **{claim: right}))
    for value in (wrong, None):
        with pytest.raises(TokenRefused):
            await tokens.claims(token(SECRET, "HS256", **{claim: value}))


async def test_an_audience_is_no_matter_where_none_is_configured() -> None:
    assert await SecretTokens(SECRET, TokenPolicy()).claims(token(SECRET, "HS256", aud="mail"))


async def test_without_secret_and_jwks_every_token_is_refused() -> None:
    async with verifier(TokenPolicy(), None, None, Lines()) as tokens:
        assert isinstance(tokens, NoTokens)
        with pytest.raises(TokenRefused):
            await tokens.claims(token(SECRET, "HS256"))


async def test_where_a_jwks_is_named_the_secret_verifies_nothing() -> None:
    async with endpoint(DOCUMENT) as served:
        async with verifier(TokenPolicy(), SECRET, served.url, Lines()) as tokens:
            assert await tokens.claims(token(EC, "ES256", "e"))
            with pytest.raises(TokenRefused):
                await tokens.claims(token(SECRET, "HS256"))
        assert isinstance(served, Endpoint)
        assert served.asked == 1
