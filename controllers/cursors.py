"""Cursors: where a list goes on, opaque to clients.

Its one rule: a cursor is good for the list it came from. It carries a digest of that list's
filters, so one from another list is refused and not misread. It grants nothing: whatever it says,
a list shows what its reader may see.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import datetime
from uuid import UUID

import orjson

from engine.context import Json
from services.errors import InvalidCursor
from services.workflow_service import After

_DIGEST = 8


def cursor_after(after: After, filters: Json) -> str:
    """The cursor of the page that follows `after` in the list with these filters."""
    body = [_digest(filters), after.created_at.isoformat(), after.row_id]
    return base64.urlsafe_b64encode(orjson.dumps(body)).decode().rstrip("=")


def read_cursor(cursor: str, filters: Json) -> After:
    """Where the cursor points to. Raises `InvalidCursor`."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        digest, created_at, row_id = orjson.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
        after = After(datetime.fromisoformat(created_at), str(UUID(row_id)))
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise InvalidCursor from None
    if digest != _digest(filters) or after.created_at.tzinfo is None:
        raise InvalidCursor
    return after


def _digest(filters: Json) -> str:
    written = orjson.dumps(filters, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(written).hexdigest()[: 2 * _DIGEST]
