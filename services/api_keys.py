"""API keys: made, recognised, listed, revoked.

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

from models.api_keys import ApiKey, ApiKeys
from services.cache import TtlCache
from services.caller import SCOPES
from services.errors import KeyUnknown

PREFIX = "wa-"
SHOWN = len(PREFIX) + 8
CACHE_SECONDS = 1.0
"""How long a revoked key may go on working in another process."""

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

    async def revoke(self, key_id: str) -> None:
        """Ends a key's life: at once in this process, within a second elsewhere. Raises
        `KeyUnknown`."""
        if not await self._keys.revoke(key_id):
            raise KeyUnknown
        self._found.drop_where(lambda _: True)

    async def list(self) -> list[ApiKey]:
        """The keys, without their secrets."""
        return await self._keys.list()

    async def any(self) -> bool:
        """Whether a key was ever made."""
        return await self._keys.any()

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
