"""The secrets of communities, sealed and opened.

Its one rule: a secret is opened for one request, of its own community, to a host on its list, and
at no other time. Nothing is cached, so what was changed or removed counts from the next request on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from dataclasses import dataclass, replace

from engine.context import Json
from engine.errors import StepFailure, StoreUnavailable
from models.community_secrets import CommunitySecrets, SealedSecret
from services.errors import SecretsUnavailable
from services.key_ring import KeyRing, Unreadable
from services.secret_hosts import host_of, may_go

_ROTATED_AT_ONCE = 100
_STORE_PAUSE_SECONDS = 0.25


Judge = Callable[[str, str], str | None]


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did: how many secrets are under another key now, and which (community and
    name) are under no key of this service."""

    moved: int
    unreadable: list[tuple[int, str]]


class Vault:
    """Opens and seals with the keys of `ring`."""

    def __init__(self, secrets: CommunitySecrets, ring: KeyRing) -> None:
        self._secrets = secrets
        self._ring = ring

    def opens(self, key_id: str) -> bool:
        """Whether secrets under this key can be opened."""
        return self._ring.has(key_id)

    def sealed(
        self, community_id: int, name: str, allowed_hosts: tuple[str, ...], value: str
    ) -> SealedSecret:
        """A secret as it is stored. Raises `SecretsUnavailable` if there is no key."""
        try:
            key_id, ciphertext = self._ring.seal(value, _context(community_id, name, allowed_hosts))
        except LookupError:
            raise SecretsUnavailable from None
        return SealedSecret(community_id, name, allowed_hosts, key_id, ciphertext)

    async def opened(self, community_id: int, names: Set[str], url: str) -> dict[str, str]:
        """The values of these secrets, for a request to `url`; asks again while the database
        cannot say. Raises `StepFailure`."""
        found = {each.name: each for each in await self._fetched(community_id, names)}
        return {name: self._value(name, found.get(name), url) for name in names}

    async def judge(self, community_id: int, names: Set[str]) -> Judge:
        """Says of each of these secrets and a URL why a request there could not carry it, in
        words; None if it could. Nothing is opened. Raises `StoreUnavailable`."""
        fetched = await self._secrets.fetch(community_id, sorted(names))
        found = {each.name: each for each in fetched}

        def why_not(name: str, url: str) -> str | None:
            failure = self._refusal(name, found.get(name), url)
            return None if failure is None else failure.message

        return why_not

    async def rotate(self) -> Rotation:
        """Puts every secret that can be opened under the first key, a few at a time; the service
        may run meanwhile. Raises `SecretsUnavailable`."""
        first = self._ring.first
        if first is None:
            raise SecretsUnavailable
        moved, unreadable, after = 0, [], (-1, "")
        while some := await self._secrets.under_other_keys(first, after, limit=_ROTATED_AT_ONCE):
            for secret in some:
                after = (secret.community_id, secret.name)
                try:
                    moved += await self._secrets.replace(secret, self._resealed(secret))
                except Unreadable:
                    unreadable.append(after)
        return Rotation(moved, unreadable)

    def _resealed(self, secret: SealedSecret) -> SealedSecret:
        context = _context(secret.community_id, secret.name, secret.allowed_hosts)
        value = self._ring.open(secret.key_id, secret.ciphertext, context)
        key_id, ciphertext = self._ring.seal(value, context)
        return replace(secret, key_id=key_id, ciphertext=ciphertext)

    async def _fetched(self, community_id: int, names: Set[str]) -> list[SealedSecret]:
        while True:
            try:
                return await self._secrets.fetch(community_id, sorted(names))
            except StoreUnavailable:
                await asyncio.sleep(_STORE_PAUSE_SECONDS)

    def _value(self, name: str, secret: SealedSecret | None, url: str) -> str:
        failure = self._refusal(name, secret, url)
        if failure is not None or secret is None:
            raise failure or _unknown(name)
        context = _context(secret.community_id, secret.name, secret.allowed_hosts)
        try:
            return self._ring.open(secret.key_id, secret.ciphertext, context)
        except Unreadable:
            raise _unreadable(name) from None

    def _refusal(self, name: str, secret: SealedSecret | None, url: str) -> StepFailure | None:
        """Why a secret cannot be sent to `url`, as far as can be said without opening it."""
        if secret is None:
            return _unknown(name)
        try:
            allowed = may_go(url, secret.allowed_hosts)
        except ValueError:
            return StepFailure("BAD_URL", "the address is malformed")
        if not allowed:
            message = (
                f"the secret {name!r} may not be sent to {host_of(url)!r}, or not without https: "
                "an admin of the community can allow it"
            )
            return StepFailure("SECRET_NOT_ALLOWED", message)
        return None if self._ring.has(secret.key_id) else _unreadable(name)


def _context(community_id: int, name: str, allowed_hosts: tuple[str, ...]) -> Json:
    return ["community_secrets", community_id, name, list(allowed_hosts)]


def _unknown(name: str) -> StepFailure:
    message = f"the community has no secret {name!r}: an admin of the community can set it"
    return StepFailure("SECRET_NOT_FOUND", message)


def _unreadable(name: str) -> StepFailure:
    message = (
        f"the secret {name!r} cannot be decrypted by the service's SECRETS_KEY: "
        "an admin of the community can set it anew"
    )
    return StepFailure("SECRET_UNREADABLE", message)
