"""Cursors: where a list goes on, sealed.

Its one rule: a cursor is good for the list that gave it out, for the caller who got it, and for
nobody else. What it says is signed together with a description of both (HMAC-SHA256), so one that
was changed, or comes from another list, filter, order or caller, is refused and not misread. It
grants nothing: whatever it says, a list shows what its reader may see now.

The key is derived from `SECRET_KEY`; without one it is a secret that the database keeps, so that
all processes of a service take each other's cursors.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import orjson

from engine.context import Json
from models.secrets import Secrets
from models.workflows import After
from services.caller import Caller
from services.errors import InvalidCursor

PURPOSE = b"cursors of lists, version 1"
NAME = "cursors"

_SIGNATURE = 16
_LONGEST = 2_048

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """A page of a list, and the cursor of the next; None after the last."""

    rows: list[Row]
    cursor: str | None


def bound(name: str, caller: Caller, *filters: Json) -> Json:
    """What a cursor of the list `name` is bound to: the list, whose it is, its filters."""
    return [name, caller.user_id, caller.community_id, *filters]


class Cursors:
    """Seals and opens cursors. Give the same `binding` to both: what describes list and caller."""

    def __init__(self, secrets: Secrets, secret_key: str | None) -> None:
        self._secrets = secrets
        self._key = None if secret_key is None else _derived(secret_key.encode())

    async def seal(self, content: Json, binding: Json) -> str:
        """A cursor that says `content`."""
        body = orjson.dumps(content)
        signature = _signature(await self._signing_key(), body, binding)
        return base64.urlsafe_b64encode(signature + body).decode().rstrip("=")

    async def open(self, cursor: str, binding: Json) -> Json:
        """What a cursor says. Raises `InvalidCursor`."""
        if len(cursor) > _LONGEST or not cursor.isascii():
            raise InvalidCursor
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            sealed = base64.b64decode(padded, altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise InvalidCursor from None
        signature, body = sealed[:_SIGNATURE], sealed[_SIGNATURE:]
        expected = _signature(await self._signing_key(), body, binding)
        canonical = base64.urlsafe_b64encode(sealed).decode().rstrip("=")
        if not hmac.compare_digest(signature, expected) or canonical != cursor:
            raise InvalidCursor
        return orjson.loads(body)

    async def page(
        self,
        binding: Json,
        limit: int,
        cursor: str | None,
        read: Callable[[int, Json], Awaitable[list[Row]]],
        place: Callable[[Row], Json],
    ) -> Page[Row]:
        """A page of at most `limit` rows. `read(most, after)` gives those that follow a place, or
        the first ones for None, and `place` tells where a row stands. Raises `InvalidCursor`."""
        after = None if cursor is None else await self.open(cursor, binding)
        rows = await read(limit + 1, after)
        if len(rows) <= limit:
            return Page(rows, None)
        shown = rows[:limit]
        return Page(shown, await self.seal(place(shown[-1]), binding))

    async def newest_first(
        self,
        binding: Json,
        limit: int,
        cursor: str | None,
        read: Callable[[int, After | None], Awaitable[list[Row]]],
        place: Callable[[Row], After],
    ) -> Page[Row]:
        """The same, of a list whose places are an instant and an id."""

        def written(row: Row) -> Json:
            after = place(row)
            return [after.created_at.isoformat(), after.row_id]

        async def read_on(most: int, after: Json) -> list[Row]:
            return await read(most, None if after is None else _after(*after))

        return await self.page(binding, limit, cursor, read_on, written)

    async def _signing_key(self) -> bytes:
        if self._key is None:
            self._key = _derived(await self._secrets.get(NAME))
        return self._key


def _after(created_at: str, row_id: str) -> After:
    return After(datetime.fromisoformat(created_at), row_id)


def _derived(secret: bytes) -> bytes:
    return hmac.digest(secret, PURPOSE, "sha256")


def _signature(key: bytes, body: bytes, binding: Json) -> bytes:
    described = orjson.dumps(binding, option=orjson.OPT_SORT_KEYS)
    bound = hashlib.sha256(described).digest()
    return hmac.digest(key, bound + body, "sha256")[:_SIGNATURE]
