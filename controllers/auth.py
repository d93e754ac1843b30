"""Who calls: from a request's headers to a `Caller`, or 401.

Its one rule: no route is open unless it is named in `PUBLIC`, exactly. The gate stands before
every handler; `auth_required` then says which scope the operation takes.

Which JWTs are good, `services/tokens.py` says. The user of one is `sub`, `user_id` or `userId`, the
first of them that is there, and must be an integer. A `scopes` claim (a list, or a string with
spaces) is taken as it stands; without one a JWT has every scope but `admin`, and `admin` as well if
`roles` holds `admin` and `communityId` says where.

Nothing is compared to a secret byte by byte: a key is looked up by its SHA-256, which tells nothing
about the key whatever time that takes, and signatures are compared in constant time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec

from quart import Response
from werkzeug.datastructures import Headers

from controllers.errors import Unauthorized
from controllers.operation import operation
from controllers.schemas import MAX_ID
from engine.context import JsonObject
from services.api_keys import PREFIX, ApiKeyService
from services.attempts import FailedAttempts
from services.caller import ADMIN, EVERYDAY_SCOPES, SCOPES, Caller
from services.errors import Denied, NotValid, Problem, TokenRefused
from services.tokens import Verifier

P = ParamSpec("P")

PUBLIC = frozenset(
    {
        "/health",
        "/healthz",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/docs/setup.js",
        "/docs/swagger-ui.css",
        "/docs/swagger-ui-bundle.js",
    }
)
"""The routes that need no credential of a caller, by their exact rule. `/metrics` has a rule of its
own (`scrape_api.py`)."""

SCOPE_ATTRIBUTE = "_required_scope"
SOCKET_ATTRIBUTE = "_socket_action"
ANY_SCOPE = ""
"""For operations that every authenticated caller may use."""

_ACTING_USER = "X-Acting-User"
_USER_CLAIMS = ("sub", "user_id", "userId")


class Authenticator:
    """Recognises credentials, of addresses that have not failed too often."""

    def __init__(self, keys: ApiKeyService, tokens: Verifier, attempts: FailedAttempts) -> None:
        self._keys = keys
        self._tokens = tokens
        self._attempts = attempts

    async def caller(self, headers: Headers, address: str) -> Caller:
        """The caller that the headers prove. Raises `Unauthorized`, `TokenRefused`,
        `TooManyAttempts`, `Denied` for acting without being a service, `StoreUnavailable`,
        `SigningKeysUnavailable`."""
        credential, may_be_token = _credential(headers)
        self._attempts.check(address, credential)
        try:
            if may_be_token and not credential.startswith(PREFIX):
                caller = caller_of_claims(await self._tokens.claims(credential))
            else:
                caller = await self._by_key(credential)
        except (Unauthorized, TokenRefused):
            await self._attempts.failed(address)
            raise
        self._attempts.passed(credential)
        acting = headers.getlist(_ACTING_USER)
        return _acting(caller, acting) if acting else caller

    async def _by_key(self, secret: str) -> Caller:
        key = await self._keys.resolve(secret)
        if key is None:
            raise Unauthorized("The API key is unknown, expired or revoked.")
        return Caller(
            user_id=key.user_id,
            community_id=key.community_id,
            scopes=frozenset(key.scopes),
            kind="service" if key.kind == "service" else "user",
            key_id=key.key_id,
        )


def _credential(headers: Headers) -> tuple[str, bool]:
    """The one credential of a request, and whether it may be a JWT. Raises `Unauthorized`."""
    keys, bearers = headers.getlist("X-API-Key"), headers.getlist("Authorization")
    if not keys and not bearers:
        raise Unauthorized
    if len(keys) + len(bearers) > 1:
        raise Unauthorized("Send one credential: either X-API-Key or Authorization, once.")
    if keys:
        return keys[0], False
    scheme, _, token = bearers[0].partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("Authorization must be: Bearer, a space, and a key or a JWT.")
    return token, True


def caller_of_claims(claims: JsonObject) -> Caller:
    """The caller that a verified token names. Raises `Unauthorized`."""
    user_id = next((_integer(claims[name]) for name in _USER_CLAIMS if name in claims), None)
    if user_id is None:
        raise Unauthorized("The token names no user: sub, user_id or userId must be an integer.")
    community_id = None
    if claims.get("communityId") is not None:
        community_id = _integer(claims["communityId"])
        if community_id is None:
            raise Unauthorized("The token's communityId is not an integer.")
    roles = _names(claims.get("roles"))
    return Caller(
        user_id=user_id,
        community_id=community_id,
        scopes=_scopes(claims, roles, community_id),
        roles=roles,
        kind="jwt",
    )


def auth_required(
    scope: str,
) -> Callable[[Callable[P, Awaitable[Response]]], Callable[P, Awaitable[Response]]]:
    """Lets a handler run only for callers whose credential has this scope (`ANY_SCOPE`: for
    every caller). The others get 403 with the scope's name."""

    def decorate(handler: Callable[P, Awaitable[Response]]) -> Callable[P, Awaitable[Response]]:
        @wraps(handler)
        async def checked(*args: P.args, **kwargs: P.kwargs) -> Response:
            caller = current_caller()
            if scope != ANY_SCOPE and not caller.may(scope):
                raise Denied(f"This needs the scope {scope}.", {"scope": scope})
            return await handler(*args, **kwargs)

        setattr(checked, SCOPE_ATTRIBUTE, scope)
        return checked

    return decorate


def socket_required(
    scope: str, action: str
) -> Callable[[Callable[P, Awaitable[None]]], Callable[P, Awaitable[None]]]:
    """As `auth_required`, for a WebSocket whose credential may come in its first message: then
    the handler asks for it, before anything else. One that came with the handshake is checked
    here. `action` is its name in the log."""

    def decorate(handler: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
        @wraps(handler)
        async def checked(*args: P.args, **kwargs: P.kwargs) -> None:
            caller = operation().caller
            if caller is not None and not caller.may(scope):
                raise Denied(f"This needs the scope {scope}.", {"scope": scope})
            await handler(*args, **kwargs)

        setattr(checked, SCOPE_ATTRIBUTE, scope)
        setattr(checked, SOCKET_ATTRIBUTE, action)
        return checked

    return decorate


def current_caller() -> Caller:
    """Who made the current request. Raises `Unauthorized` where the gate let nobody in."""
    caller = operation().caller
    if caller is None:
        raise Unauthorized
    return caller


def _acting(caller: Caller, acting: list[str]) -> Caller:
    """A service acting for a user: from here on every check is that user's, and an admin's
    rights stay behind."""
    if caller.kind != "service":
        raise Denied(f"{_ACTING_USER} takes a service key.")
    user_id = _integer(acting[0].strip()) if len(acting) == 1 else None
    if user_id is None:
        raise NotValid([Problem(path=f"/headers/{_ACTING_USER}", message="must be a user id")])
    scopes = EVERYDAY_SCOPES if caller.is_admin else caller.scopes
    return replace(caller, user_id=user_id, scopes=scopes)


def _scopes(claims: JsonObject, roles: frozenset[str], community_id: int | None) -> frozenset[str]:
    if "scopes" in claims:
        return _names(claims["scopes"]) & SCOPES
    if ADMIN in roles and community_id is not None:
        return SCOPES
    return EVERYDAY_SCOPES


def _names(claim: Any) -> frozenset[str]:
    if isinstance(claim, str):
        return frozenset(claim.split())
    if isinstance(claim, list):
        return frozenset(name for name in claim if isinstance(name, str))
    return frozenset()


def _integer(value: Any) -> int | None:
    """An id, given as a number or in decimal digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MAX_ID else None
