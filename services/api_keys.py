"""API keys: made, recognised, listed, rotated, revoked.

Its one rule: a key is shown once, when it is made; what is stored is its SHA-256 and a prefix.
256 random bits need no slow hash: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from models.api_keys import ApiKey, ApiKeys, KeyFilter
from models.workflows import After
from services.cache import TtlCache
from services.caller import SCOPES
from services.errors import KeyNotActive, KeyUnknown

PREFIX = "wa-"
SHOWN = len(PREFIX) + 8
CACHE_SECONDS = 1.0
"""How long a revoked key may go on working in another process that has not heard of it."""

DAY_SECONDS = 86_400
GRACE_SECONDS = DAY_SECONDS
LONGEST_GRACE_SECONDS = 30 * DAY_SECONDS
"""How long a rotated key goes on working beside its successor: unless told otherwise, at most."""

KeyState = Literal["active", "rotated", "expired", "revoked"]

_FORM = re.compile(r"wa-[0-9a-f]{64}")
_TOUCH_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key is to be good for. `expires_days` None: until it is revoked."""

    user_id: int
    name: str
    scopes: Sequence[str]
    kind: str = "user"
    community_id: int | None = None
    created_by: int | None = None
    expires_days: int | None = None


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key just made: the only time that `secret` is known."""

    key_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class Rotated:
    """A successor, its secret and the key it replaces, which works until its `expires_at`."""

    made: ApiKey
    secret: str
    old: ApiKey


class ApiKeyService:
    """The keys of the service. `now` and `new_id` are the clock and the source of ids."""

    def __init__(
        self,
        keys: ApiKeys,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        ttl_seconds: float = CACHE_SECONDS,
    ) -> None:
        self._keys = keys
        self._now = now
        self._new_id = new_id
        self._found: TtlCache[bytes, ApiKey | None] = TtlCache(ttl_seconds=ttl_seconds)

    async def start(self) -> None:
        """Hears from now on of keys that end elsewhere. Raises `StoreUnavailable`.

        The notification is a hint that makes it instant; the cache's time makes it certain.
        """
        await self._keys.on_end(lambda _: self._forget())

    async def resolve(self, secret: str) -> ApiKey | None:
        """The living key that this secret is; None for anything else. Raises
        `StoreUnavailable`."""
        if _FORM.fullmatch(secret) is None:
            return None
        key_hash = digest(secret)
        key = await self._found.get(key_hash, lambda: self._load(key_hash))
        if key is not None and key.expires_at is not None and key.expires_at <= self._now():
            return None
        return key

    async def create(self, new: NewKey, *, secret: str | None = None) -> MadeKey:
        """Makes a key, of this secret if it was made before (`new_secret`). Raises `ValueError`
        for an unknown scope or kind, or none."""
        unknown = sorted(set(new.scopes) - SCOPES)
        if unknown or not new.scopes:
            named = f"unknown scope {unknown[0]!r}" if unknown else "a key needs a scope"
            raise ValueError(f"{named}; the scopes are {', '.join(sorted(SCOPES))}")
        if new.kind not in ("user", "service"):
            raise ValueError(f"kind is 'user' or 'service', not {new.kind!r}")
        if new.expires_days is not None and new.expires_days < 1:
            raise ValueError("expires_days must be at least 1")
        secret = secret or new_secret()
        key_id = self._new_id()
        lifetime = None if new.expires_days is None else timedelta(days=new.expires_days)
        await self._keys.insert(
            key_id=key_id,
            prefix=secret[:SHOWN],
            key_hash=digest(secret),
            name=new.name,
            kind=new.kind,
            user_id=new.user_id,
            community_id=new.community_id,
            scopes=sorted(set(new.scopes)),
            created_by=new.created_by,
            expires_at=None if lifetime is None else self._now() + lifetime,
        )
        return MadeKey(key_id, secret)

    async def revoke(self, key_id: str) -> ApiKey:
        """Ends a key's life: at once in this process, within a second elsewhere. Returns it as
        it is then. Raises `KeyUnknown`."""
        if not await self._keys.revoke(key_id):
            raise KeyUnknown
        self._forget()
        revoked = await self._keys.get(key_id)
        if revoked is None:
            raise KeyUnknown
        return revoked

    async def rotate(
        self, key_id: str, *, grace_seconds: int = GRACE_SECONDS, by: int | None = None
    ) -> Rotated:
        """Makes a successor with the same rights and as long a life. The old key works for
        `grace_seconds` more, 0 to `LONGEST_GRACE_SECONDS`, but not beyond its own end.

        Raises `KeyUnknown`, `KeyNotActive`, `ValueError`.
        """
        if not 0 <= grace_seconds <= LONGEST_GRACE_SECONDS:
            raise ValueError(f"grace_seconds must be from 0 to {LONGEST_GRACE_SECONDS}")
        secret = new_secret()
        done = await self._keys.rotate(
            key_id,
            new_id=self._new_id(),
            prefix=secret[:SHOWN],
            key_hash=digest(secret),
            created_by=by,
            grace_seconds=grace_seconds,
        )
        if done is None:
            raise KeyUnknown if await self._keys.get(key_id) is None else KeyNotActive
        self._forget()
        return Rotated(made=done[0], secret=secret, old=done[1])

    async def get(self, key_id: str) -> ApiKey | None:
        """One key, living or not."""
        return await self._keys.get(key_id)

    async def page(self, narrow: KeyFilter, limit: int, after: After | None = None) -> list[ApiKey]:
        """A page of the keys, newest first."""
        return await self._keys.page(narrow, limit=limit, after=after)

    def state_of(self, key: ApiKey) -> KeyState:
        """What has become of a key; `rotated` while it still works beside its successor."""
        if key.revoked_at is not None:
            return "revoked"
        if key.expires_at is not None and key.expires_at <= self._now():
            return "expired"
        return "active" if key.rotated_to is None else "rotated"

    async def list(self) -> list[ApiKey]:
        """The keys, without their secrets."""
        return await self._keys.list()

    async def any(self) -> bool:
        """Whether a key was ever made."""
        return await self._keys.any()

    def _forget(self) -> None:
        self._found.drop_where(lambda _: True)

    async def _load(self, key_hash: bytes) -> ApiKey | None:
        key = await self._keys.find(key_hash)
        if key is not None and _is_stale(key.last_used_at, self._now()):
            await self._keys.touch(key.key_id)
        return key


def new_secret() -> str:
    """A fresh key."""
    return PREFIX + secrets.token_hex(32)


def digest(secret: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(secret.encode()).digest()


def _is_stale(last_used_at: datetime | None, now: datetime) -> bool:
    return last_used_at is None or now - last_used_at >= _TOUCH_EVERY
