"""Proving again who calls, for streams that outlive the request they began with.

Its one rule: what is proved is the credential itself, not what was once found out about it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from quart import request
from werkzeug.datastructures import Headers

from controllers.auth import Authenticator
from controllers.state import state
from services.caller import Caller
from services.errors import Denied

CREDENTIALS = ("X-API-Key", "Authorization", "X-Acting-User")


@dataclass(frozen=True, slots=True)
class Proof:
    """Proves who some headers, which came from an `address`, are of, whenever it is called. Two
    that are equal prove the same."""

    authenticator: Authenticator
    credentials: tuple[tuple[str, str], ...] = field(repr=False)
    scope: str
    address: str

    async def __call__(self) -> Caller:
        """Raises what `Authenticator.caller` raises, and `Denied` without the scope."""
        caller = await self.authenticator.caller(Headers(list(self.credentials)), self.address)
        if not caller.may(self.scope):
            raise Denied(f"This needs the scope {self.scope}.", {"scope": self.scope})
        return caller


def prover(scope: str) -> Proof:
    """Proves the current request's caller again."""
    address = state().addresses.current()
    return proving(state().authenticator, request.headers, scope, address)


def proving(authenticator: Authenticator, headers: Headers, scope: str, address: str) -> Proof:
    """Proves who these headers, which came from this address, are of."""
    kept = tuple((name, headers[name]) for name in CREDENTIALS if name in headers)
    return Proof(authenticator, kept, scope, address)
