"""JWTs: from a token to its verified claims.

Its one rule: the configuration says which algorithm counts, never the token. There is one family
at a time: HS256 with a secret, or RS256 and ES256 with the public keys of a JWKS. What verifies a
signature of one kind is never handed to the check of another.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from engine.context import JsonObject
from services.errors import TokenRefused
from services.http_client import AiohttpClient, HttpLimits
from services.jwks import MAX_SET_BYTES, KeySet, Trouble, fetch_from

LONGEST_TOKEN = 8_192
HS256 = "HS256"


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """What a token must be besides signed. `leeway_seconds`: how far clocks may differ."""

    leeway_seconds: int = 5
    issuer: str | None = None
    audience: str | None = None


class Verifier(Protocol):
    """Whatever tells good tokens from bad ones."""

    async def claims(self, token: str) -> JsonObject:
        """The claims of a good token. Raises `TokenRefused`, `SigningKeysUnavailable`."""


class NoTokens:
    """Refuses every token: neither a secret nor a JWKS is configured."""

    async def claims(self, token: str) -> JsonObject:
        raise TokenRefused("JWTs are not accepted here; use an API key.")


class SecretTokens:
    """HS256 with a shared secret."""

    def __init__(self, secret: str, policy: TokenPolicy) -> None:
        self._secret = secret
        self._policy = policy

    async def claims(self, token: str) -> JsonObject:
        return _decode(token, self._secret, HS256, self._policy)


class PublicKeyTokens:
    """RS256 and ES256 with the keys of a JWKS."""

    def __init__(self, keys: KeySet, policy: TokenPolicy) -> None:
        self._keys = keys
        self._policy = policy

    async def claims(self, token: str) -> JsonObject:
        if len(token) > LONGEST_TOKEN:
            raise TokenRefused
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError):
            raise TokenRefused from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or not isinstance(key_id, str | None):
            raise TokenRefused
        key = await self._keys.find(key_id, algorithm)
        if key is None:
            raise TokenRefused("The token is signed with a key that is not known here.")
        return _decode(token, key.public, key.algorithm, self._policy)


@asynccontextmanager
async def verifier(
    policy: TokenPolicy, secret: str | None, jwks_url: str | None, log: Trouble
) -> AsyncIterator[Verifier]:
    """What verifies JWTs under this configuration. Where a JWKS is named, the secret verifies
    none: one family at a time."""
    if jwks_url is None:
        yield NoTokens() if secret is None else SecretTokens(secret, policy)
        return
    limits = HttpLimits(max_response_bytes=MAX_SET_BYTES)
    # The operator has named the endpoint, so it needs no guard against what authors might reach.
    async with AiohttpClient(None, limits=limits) as http:
        keys = KeySet(fetch_from(http, jwks_url), log, clock=time.monotonic)
        keys.start()
        try:
            yield PublicKeyTokens(keys, policy)
        finally:
            await keys.stop()


def _decode(token: str, key: Any, algorithm: str, policy: TokenPolicy) -> JsonObject:
    if len(token) > LONGEST_TOKEN:
        raise TokenRefused
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=policy.issuer,
            audience=policy.audience,
            leeway=policy.leeway_seconds,
            options={
                "require": ["exp"],
                "verify_sub": False,  # it may be a number here; `caller_of_claims` reads it
                "verify_aud": policy.audience is not None,
                "verify_iss": policy.issuer is not None,
            },
        )
    except jwt.ExpiredSignatureError:
        raise TokenRefused("The token has expired.") from None
    except jwt.MissingRequiredClaimError as error:
        raise TokenRefused(f"The token has no {error.claim} claim.") from None
    except jwt.InvalidIssuerError:
        raise TokenRefused("The token is from another issuer.") from None
    except jwt.InvalidAudienceError:
        raise TokenRefused("The token is for another audience.") from None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
        raise TokenRefused from None
