"""Cursors of lists that go on after a row, opaque to clients.

Its one rule: what a cursor is good for is written down here, and kept by `services/cursors.py`: one
list, its filters and the caller who got it.
"""

from __future__ import annotations

from datetime import datetime

from controllers.auth import current_caller
from controllers.state import state
from engine.context import Json
from services.errors import InvalidCursor
from services.workflow_service import After


async def cursor_after(after: After, name: str, filters: Json) -> str:
    """The cursor of the page that follows `after` in the list `name` with these filters."""
    content = [after.created_at.isoformat(), after.row_id]
    return await state().cursors.seal(content, _binding(name, filters))


async def read_cursor(cursor: str, name: str, filters: Json) -> After:
    """Where the cursor points to. Raises `InvalidCursor`."""
    match await state().cursors.open(cursor, _binding(name, filters)):
        case [str(created_at), str(row_id)]:
            return After(datetime.fromisoformat(created_at), row_id)
    raise InvalidCursor


def _binding(name: str, filters: Json) -> Json:
    caller = current_caller()
    return [name, caller.user_id, caller.community_id, filters]
