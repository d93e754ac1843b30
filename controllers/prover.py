"""Proving again who calls, for streams that outlive the request they began with.

Its one rule: what is proved is the credential itself, not what was once found out about it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from quart import request
from werkzeug.datastructures import Headers

from controllers.auth import Authenticator
from controllers.state import state
from services.caller import Caller
from services.errors import Denied

CREDENTIALS = ("X-API-Key", "Authorization", "X-Acting-User")


def prover(scope: str) -> Callable[[], Awaitable[Caller]]:
    """Proves the current request's caller again, whenever it is called."""
    address = state().addresses.current()
    return proving(state().authenticator, request.headers, scope, address)


def proving(
    authenticator: Authenticator, headers: Headers, scope: str, address: str
) -> Callable[[], Awaitable[Caller]]:
    """Proves who these headers, which came from this address, are of. What it gives raises what
    `Authenticator.caller` raises, and `Denied` without the scope."""
    kept = Headers([(name, headers[name]) for name in CREDENTIALS if name in headers])

    async def prove() -> Caller:
        caller = await authenticator.caller(kept, address)
        if not caller.may(scope):
            raise Denied(f"This needs the scope {scope}.", {"scope": scope})
        return caller

    return prove
