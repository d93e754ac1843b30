"""API keys over the API: who may see, make, rotate and end which.

Its one rule: nobody gets more out of it than they brought. A caller bound to a community reaches
that community's keys alone; a key gets no scope and no community that its maker has not.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial

from models.api_keys import ApiKey, KeyFilter
from models.workflows import After
from services.api_keys import ApiKeyService, MadeKey, NewKey, Rotated
from services.caller import Caller
from services.cursors import Cursors, Page, bound
from services.errors import Denied, KeyUnknown

__all__ = ["ApiKey", "KeyAdmin", "KeyFilter"]


class KeyAdmin:
    """What callers with the scope `admin` do with keys."""

    def __init__(self, keys: ApiKeyService, cursors: Cursors) -> None:
        self.keys = keys
        self._cursors = cursors

    async def create(self, caller: Caller, new: NewKey) -> tuple[ApiKey, MadeKey]:
        """Makes a key. Without a community it gets the caller's own, if they are bound to one.
        Raises `Denied`, `ValueError`."""
        if new.community_id is None:
            new = replace(new, community_id=caller.community_id)
        if not _reaches(caller, new.community_id):
            raise Denied(
                f"Your credential is bound to community {caller.community_id}; it makes keys for "
                "that one only.",
                {"community_id": caller.community_id},
            )
        missing = sorted(scope for scope in new.scopes if not caller.may(scope))
        if missing:
            raise Denied("A key may not have a scope that you have not.", {"scopes": missing})
        made = await self.keys.create(replace(new, created_by=caller.user_id))
        return await self.get(caller, made.key_id), made

    async def get(self, caller: Caller, key_id: str) -> ApiKey:
        """One key. Raises `KeyUnknown`, also for one out of reach."""
        key = await self.keys.get(key_id)
        if key is None:
            raise KeyUnknown
        if not _reaches(caller, key.community_id):
            raise KeyUnknown(denied=True)
        return key

    async def page(
        self, caller: Caller, narrow: KeyFilter, *, limit: int, cursor: str | None = None
    ) -> Page[ApiKey]:
        """A page of the keys within reach, newest first. Raises `InvalidCursor`."""
        binding = bound("api keys", caller, narrow.community_id, narrow.user_id)
        if caller.community_id is not None:
            if narrow.community_id not in (None, caller.community_id):
                return Page([], None)
            narrow = replace(narrow, community_id=caller.community_id)
        return await self._cursors.newest_first(
            binding,
            limit,
            cursor,
            partial(self.keys.page, narrow),
            lambda row: After(row.created_at, row.key_id),
        )

    async def revoke(self, caller: Caller, key_id: str) -> ApiKey:
        """Ends a key's life, at once in this process and within a second in every other; one
        that has ended stays as it is. Raises `KeyUnknown`."""
        key = await self.get(caller, key_id)
        if key.revoked_at is not None:
            return key
        with suppress(KeyUnknown):  # somebody else may be faster
            await self.keys.revoke(key_id)
        return await self.get(caller, key_id)

    async def rotate(self, caller: Caller, key_id: str, grace_seconds: int) -> Rotated:
        """Replaces a key by one with the same rights. Raises `KeyUnknown`, `KeyNotActive`,
        `Denied`."""
        key = await self.get(caller, key_id)
        missing = sorted(scope for scope in key.scopes if not caller.may(scope))
        if missing:
            raise Denied("A key may not have a scope that you have not.", {"scopes": missing})
        return await self.keys.rotate(key_id, grace_seconds=grace_seconds, by=caller.user_id)


def _reaches(caller: Caller, community_id: int | None) -> bool:
    return caller.community_id is None or caller.community_id == community_id
